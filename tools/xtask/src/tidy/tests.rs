use super::graph::{self, Metadata};
use super::{Finding, manifest, source};

/// A package and what it depends on, each with its kind.
type Listed<'a> = (&'a str, &'a [(&'a str, Option<&'a str>)]);

fn metadata(packages: &[Listed<'_>]) -> Metadata {
    let listed: Vec<_> = packages
        .iter()
        .map(|(name, deps)| {
            let dependencies: Vec<_> =
                deps.iter().map(|(name, kind)| serde_json::json!({"name": name, "kind": kind})).collect();
            serde_json::json!({"id": name, "name": name, "dependencies": dependencies})
        })
        .collect();
    let nodes: Vec<_> = packages
        .iter()
        .map(|(name, deps)| {
            let deps: Vec<_> = deps
                .iter()
                .map(|(name, kind)| serde_json::json!({"pkg": name, "dep_kinds": [{"kind": kind}]}))
                .collect();
            serde_json::json!({"id": name, "deps": deps})
        })
        .collect();
    let members: Vec<_> = packages
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| name.starts_with("skerry") || *name == "xtask")
        .collect();
    serde_json::from_value(
        serde_json::json!({"packages": listed, "workspace_members": members, "resolve": {"nodes": nodes}}),
    )
    .unwrap()
}

fn whats(found: &[Finding]) -> String {
    found.iter().map(|finding| format!("{} {}", finding.place, finding.what)).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn breach(found: &[Finding], expect: &str) {
    assert!(whats(found).contains(expect), "wanted a finding with {expect:?}, found:\n{}", whats(found));
}

#[test]
fn the_workspace_is_tidy() {
    let found = super::findings(&skerry_ground::workspace_root()).unwrap();
    assert!(found.is_empty(), "\n{}", whats(&found));
}

#[test]
fn imports_follow_the_allow_list() {
    let good = metadata(&[
        ("skerry-types", &[]),
        ("skerry-wire", &[("skerry-types", None)]),
        ("skerry-ground", &[]),
        ("skerry-link", &[("skerry-wire", None), ("skerry-ground", Some("dev"))]),
    ]);
    assert_eq!(graph::check(&good), vec![]);

    for (package, import) in [
        ("skerry-types", "skerry-wire"),
        ("skerry-wire", "skerry-link"),
        ("skerry-agent", "skerry-api"),
        ("skerry-runtime", "skerry-region-state"),
        ("skerry-master", "skerry-runtime"),
        ("skerry-master", "skerry-keeper-protocol"),
        ("skerry-agent", "skerry-master"),
        ("skerry-sim", "skerry-agent"),
        ("skerry-link", "skerry-ground"),
    ] {
        let bad = metadata(&[(package, &[(import, None)]), (import, &[])]);
        breach(&graph::check(&bad), &format!("{package} may not import {import}"));
    }
    breach(&graph::check(&metadata(&[("skerry-extra", &[])])), "not on the import allow-list");
    let dev = metadata(&[("skerry-types", &[("skerry-ground", Some("dev"))]), ("skerry-ground", &[])]);
    breach(&graph::check(&dev), "skerry-types may not import skerry-ground");
}

#[test]
fn brains_reach_no_io() {
    let direct = metadata(&[("skerry-region-state", &[("tokio", None)]), ("tokio", &[])]);
    breach(&graph::check(&direct), "reaches tokio (through skerry-region-state)");
    let through =
        metadata(&[("skerry-wire", &[("middle", None)]), ("middle", &[("mio", None)]), ("mio", &[])]);
    breach(&graph::check(&through), "reaches mio (through middle)");
    let in_tests = metadata(&[("skerry-wire", &[("tempfile", Some("dev"))]), ("tempfile", &[])]);
    assert_eq!(graph::check(&in_tests), vec![]);
    let shell = metadata(&[("skerry-link", &[("tokio", None)]), ("tokio", &[])]);
    assert_eq!(graph::check(&shell), vec![]);
}

#[test]
fn brain_sources_name_no_io() {
    for line in [
        "use std::fs;",
        "let now = Instant::now();",
        "let wall = std::time::SystemTime::now();",
        "std::thread::spawn(f);",
        "use std::net::TcpStream;",
        "use std::process::Command;",
        "std::env::var(\"X\")",
    ] {
        breach(&source::rust_file("core/wire/src/a.rs", line), "a brain names");
        breach(&source::rust_file("edge-agent/state/src/a.rs", line), "a brain names");
        assert_eq!(source::rust_file("core/link/src/a.rs", line), vec![], "{line}");
        assert_eq!(source::rust_file("core/wire/tests/a.rs", line), vec![], "{line}");
    }
    let in_test_module = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
    assert_eq!(source::rust_file("core/wire/src/a.rs", in_test_module), vec![]);
    let after_a_declaration = "#[cfg(test)]\nmod tests;\nuse std::fs;\n";
    breach(&source::rust_file("core/wire/src/a.rs", after_a_declaration), "a brain names");
    assert_eq!(source::rust_file("core/wire/src/a.rs", "use std::net::IpAddr; // not std::fs"), vec![]);
}

#[test]
fn files_have_a_length() {
    let long = "fn a() {}\n".repeat(501);
    breach(&source::rust_file("core/link/src/a.rs", &long), "501 lines");
    assert_eq!(source::rust_file("core/link/src/a.rs", &"fn a() {}\n".repeat(500)), vec![]);
    assert_eq!(source::rust_file("core/link/src/tests.rs", &long), vec![]);
    assert_eq!(source::rust_file("core/link/src/a.rs", &format!("// @generated\n{long}")), vec![]);
}

#[test]
fn names_say_something() {
    breach(&source::names_of_path("core/link/src/utils.rs"), "`utils` says nothing");
    breach(&source::names_of_path("core/common/src/lib.rs"), "`common` says nothing");
    assert_eq!(source::names_of_path("core/link/src/commons_grant.rs"), vec![]);
    for line in [
        "mod helpers;",
        "pub mod misc {",
        "pub(crate) struct LinkManager {",
        "enum PathUtils {",
        "trait Helper {",
    ] {
        breach(&source::rust_file("core/link/src/a.rs", line), "says nothing");
    }
    for line in ["use libcgroups::common::CgroupManager;", "struct Management;", "let manager = 1;"] {
        assert_eq!(source::rust_file("core/link/src/a.rs", line), vec![], "{line}");
    }
}

#[test]
fn nothing_unfinished_is_kept() {
    for line in [
        concat!("// TO", "DO: later"),
        concat!("// FIX", "ME"),
        concat!("to", "do!()"),
        concat!("unimple", "mented!()"),
        concat!("db", "g!(x)"),
    ] {
        breach(&source::rust_file("core/link/src/a.rs", line), "does not reach main");
    }
    breach(&source::rust_file("core/link/src/a.rs", concat!("#[ig", "nore]")), "a test that is not run");
    breach(
        &source::rust_file("core/link/src/a.rs", concat!("#[ig", "nore = \"slow\"]")),
        "a test that is not run",
    );
}

#[test]
fn documentation_cannot_be_switched_off() {
    breach(
        &source::rust_file("core/link/src/a.rs", concat!("#![allow(missing_", "docs)]")),
        "no crate opts out",
    );
    breach(&source::rust_file("core/link/src/lib.rs", "//! Link.\nfn a() {}"), "the crate's doc must say");
    breach(
        &manifest::root("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n").unwrap(),
        "missing_docs must be on",
    );
    breach(
        &manifest::root("[workspace.lints.rust]\nmissing_docs = \"allow\"\n").unwrap(),
        "missing_docs must be on",
    );
    assert_eq!(manifest::root("[workspace.lints.rust]\nmissing_docs = \"warn\"\n").unwrap(), vec![]);
    breach(
        &manifest::member("core/link/Cargo.toml", "[package]\nname = \"x\"\n").unwrap(),
        "`[lints] workspace = true`",
    );
    let own = "[lints.rust]\nunsafe_code = \"warn\"\n";
    breach(&manifest::member("edge-agent/keeper/Cargo.toml", own).unwrap(), "`[lints] workspace = true`");
    let with_docs = format!("{own}missing_docs = \"warn\"\n");
    assert_eq!(manifest::member("edge-agent/keeper/Cargo.toml", &with_docs).unwrap(), vec![]);
}

#[test]
fn dependencies_have_reasons_in_one_place() {
    let root = |lines: &str| {
        format!("[workspace.lints.rust]\nmissing_docs = \"warn\"\n\n[workspace.dependencies]\n{lines}")
    };
    breach(&manifest::root(&root("hex = \"0.4\"\n")).unwrap(), "hex: say in a comment why");
    breach(&manifest::root(&root("# Group.\na = \"1\"\n\nb = \"1\"\n")).unwrap(), "b: say in a comment why");
    assert_eq!(
        manifest::root(&root("hex = \"0.4\" # digests as text\n# Group.\na = \"1\"\nb = \"1\"\n")).unwrap(),
        vec![]
    );
    assert_eq!(manifest::root(&root("skerry-types = { path = \"core/types\" }\n")).unwrap(), vec![]);
    let member = "[lints]\nworkspace = true\n[dependencies]\nhex = \"0.4\"\n";
    breach(&manifest::member("core/link/Cargo.toml", member).unwrap(), "hex: name the version once");
}

#[test]
fn files_name_no_host_and_no_machine() {
    for text in [
        concat!("docker", ".io/library/nginx"),
        concat!("https://deb.debian", ".org/debian"),
        concat!("crates", ".io"),
    ] {
        breach(&source::any_file("docs/a.md", text), "names the host");
        assert_eq!(source::any_file("Cargo.lock", text), vec![]);
    }
    breach(&source::any_file("docs/a.md", concat!("cd /wo", "rk/main")), "exists on one machine only");
    breach(&source::any_file("docs/a.md", concat!("/home", "/me/x")), "exists on one machine only");
    assert_eq!(source::any_file("docs/a.md", "registry.example/nginx:1.22"), vec![]);
}
