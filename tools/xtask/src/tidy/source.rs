//! Rules about the text of source files and the names of paths.

use std::path::Path;

use super::Finding;

/// Longest Rust file, in lines. Every codebase that went past it regrets the file that did.
const MAX_LINES: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// Folders of the crates that never do IO; `tidy::graph` holds the same list by package name.
const BRAIN_FOLDERS: &[&str] = &[
    "core/types/",
    "core/manifest/",
    "core/wire/",
    "region-master/allocator/",
    "region-master/state/",
    "edge-agent/state/",
];

/// What a brain must not name: files, sockets, clocks, threads, the environment. Time and randomness come in as values.
const IO_PATHS: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::process",
    "std::thread",
    "std::env::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
];

/// Files that may name a host.
const HOST_EXCEPTIONS: &[&str] = &[
    // Cargo writes where a crate came from.
    "Cargo.lock",
    // The one registry whose images are named after another host than the one that serves them.
    "core/registry/src/endpoint.rs",
];

/// Rules for every Rust file. `name` is its path from the root.
pub(super) fn rust_file(name: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(length(name, text));
    found.extend(crate_doc(name, text));
    let is_brain = BRAIN_FOLDERS.iter().any(|folder| name.starts_with(folder)) && !is_test_file(name);
    let shipped = shipped_lines(text);
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{name}:{}", number + 1);
        let code = code_of(line);
        for word in unfinished() {
            if line.contains(&word) {
                found.push(Finding::new(
                    place(),
                    format!("`{word}` does not reach main: finish it or drop it"),
                ));
            }
        }
        if code.contains(concat!("#[", "ignore")) {
            found.push(Finding::new(place(), "a test that is not run proves nothing: run it or remove it"));
        }
        if code.contains("allow(") && code.contains(concat!("missing_", "docs")) {
            found.push(Finding::new(place(), "every public item is documented: no crate opts out"));
        }
        if let Some(word) = empty_definition(code) {
            found.push(Finding::new(place(), format!("`{word}` says nothing: name what it holds or does")));
        }
        if is_brain && number < shipped {
            found.extend(IO_PATHS.iter().filter(|path| code.contains(*path)).map(|path| {
                Finding::new(
                    place(),
                    format!("a brain names {path}: let its shell do it and pass the value in"),
                )
            }));
        }
    }
    found
}

/// Rules for every text file.
pub(super) fn any_file(name: &str, text: &str) -> Vec<Finding> {
    if HOST_EXCEPTIONS.contains(&name) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for host in hosts() {
            if line.contains(&host) {
                found.push(Finding::new(
                    format!("{name}:{}", number + 1),
                    format!("names the host {host}: use registry.example or the machine's own configuration"),
                ));
            }
        }
        for path in machine_paths() {
            if line.contains(&path) {
                found.push(Finding::new(
                    format!("{name}:{}", number + 1),
                    format!("`{path}` exists on one machine only"),
                ));
            }
        }
    }
    found
}

/// Rules for the path itself.
pub(super) fn names_of_path(name: &str) -> Vec<Finding> {
    Path::new(name)
        .iter()
        .filter_map(|part| Path::new(part).file_stem()?.to_str())
        .filter(|stem| EMPTY_NAMES.contains(stem))
        .map(|stem| Finding::new(name, format!("`{stem}` says nothing: name the file for what it holds")))
        .collect()
}

fn length(name: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let generated = text.starts_with("// @generated");
    (lines > MAX_LINES && !name.ends_with("/tests.rs") && !generated)
        .then(|| Finding::new(name, format!("{lines} lines; split it by idea, {MAX_LINES} at most")))
}

/// The root file of a crate says what the crate is for.
fn crate_doc(name: &str, text: &str) -> Option<Finding> {
    let is_root = name.ends_with("/src/lib.rs") || name.ends_with("/src/main.rs");
    let doc: String =
        text.lines().take_while(|line| line.starts_with("//!")).flat_map(|line| line[3..].chars()).collect();
    (is_root && doc.trim().len() < 40)
        .then(|| Finding::new(name, "the crate's doc must say its purpose, what it lacks and where to start"))
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/") || name.contains("/examples/")
}

/// Lines before the file's own test module, which stands last in a file.
fn shipped_lines(text: &str) -> usize {
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let opens = |line: &str| line.trim_start().starts_with("mod ") && line.ends_with('{');
        if line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(|(_, next)| opens(next)) {
            return number;
        }
    }
    usize::MAX
}

/// The line without its comment. A `//` inside of a string cuts it short, which only makes the rules milder.
fn code_of(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The empty name that a line defines as a module or type, if it does.
fn empty_definition(code: &str) -> Option<&str> {
    let code = code.trim_start();
    let code = code.strip_prefix("pub").map_or(code, |rest| {
        let rest = rest.trim_start();
        rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest)
    });
    let (keyword, rest) = code.trim_start().split_once(' ')?;
    let word = rest.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    let empty = match keyword {
        "mod" => EMPTY_NAMES.contains(&word),
        "struct" | "enum" | "trait" | "type" => {
            ["Manager", "Helper", "Helpers", "Util", "Utils", "Misc"].iter().any(|tail| word.ends_with(tail))
        }
        _ => false,
    };
    empty.then_some(word)
}

// The words below are put together here so that this file does not trip over its own rules.

fn unfinished() -> Vec<String> {
    [("TO", "DO"), ("FIX", "ME"), ("to", "do!("), ("unimple", "mented!("), ("db", "g!(")]
        .into_iter()
        .map(|(head, tail)| format!("{head}{tail}"))
        .collect()
}

fn hosts() -> Vec<String> {
    [
        ("crates", ".io"),
        ("docker", ".io"),
        ("docker", ".com"),
        ("ghcr", ".io"),
        ("quay", ".io"),
        ("gcr", ".io"),
        ("deb.debian", ".org"),
    ]
    .into_iter()
    .map(|(head, tail)| format!("{head}{tail}"))
    .collect()
}

fn machine_paths() -> Vec<String> {
    [("/wo", "rk/main"), ("/wo", "rk/shared"), ("/root", "/."), ("/home", "/")]
        .into_iter()
        .map(|(head, tail)| format!("{head}{tail}"))
        .collect()
}
