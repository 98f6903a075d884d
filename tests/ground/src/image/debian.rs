//! Packages of the machine's own Debian release, unpacked without running any of their scripts.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::layer::EPOCH;
use crate::{output, run_command};

/// The packages and all they depend on, as one uncompressed tar archive.
pub(super) fn extract(packages: &[String]) -> Result<Vec<u8>> {
    let release = release()?;
    let work = std::env::temp_dir().join(format!("skerry-packages-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    let archive = run_mmdebstrap(packages, &release, &work);
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    archive
}

fn run_mmdebstrap(packages: &[String], release: &str, work: &std::path::Path) -> Result<Vec<u8>> {
    let sources = sources(release, &apt_files()?);
    let mut arguments = Vec::new();
    for (ending, text) in [("list", sources.lines), ("sources", sources.stanzas)] {
        if !text.is_empty() {
            let path = work.join(format!("own.{ending}"));
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            arguments.push(path);
        }
    }
    ensure!(!arguments.is_empty(), "apt has no source for {release}: packages cannot be had");
    let archive = work.join("root.tar");
    let mut command = Command::new("mmdebstrap");
    command.env("SOURCE_DATE_EPOCH", EPOCH.to_string()).env("TMPDIR", work);
    command.args(["--quiet", "--variant=extract"]).arg(format!("--include={}", packages.join(",")));
    for line in apt_options()? {
        command.arg(format!("--aptopt={line}"));
    }
    run_command(command.arg(release).arg(&archive).args(arguments))?;
    fs::read(&archive).context("reading what mmdebstrap made")
}

fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(line.context("/etc/os-release names no Debian release")?.trim_matches('"').to_owned())
}

/// What the machine's apt is told beyond its sources to reach them: proxies and certificates.
fn apt_options() -> Result<Vec<String>> {
    let dump = output(Command::new("apt-config").arg("dump"))?;
    let wanted = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("acquire::http") && (line.contains("proxy") || line.contains("::ca"))
    };
    Ok(dump.lines().filter(wanted).map(str::to_owned).collect())
}

fn apt_files() -> Result<Vec<PathBuf>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        for entry in entries {
            files.push(entry.context("listing the apt sources")?.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The machine's apt sources of one release, in both of apt's formats.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sources {
    lines: String,
    stanzas: String,
}

fn sources(release: &str, files: &[PathBuf]) -> Sources {
    let mut sources = Sources::default();
    for path in files {
        let Ok(text) = fs::read_to_string(path) else { continue };
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("list") => sources.lines += &lines_of(release, &text),
            Some("sources") => sources.stanzas += &stanzas_of(release, &text),
            _ => {}
        }
    }
    sources
}

/// Whether a suite is the release or one of its own pockets: other vendors name suites as they like.
fn is_suite_of(release: &str, suite: &str) -> bool {
    let rest = suite.strip_prefix(release);
    rest.is_some_and(|rest| matches!(rest, "" | "-updates" | "-security" | "/updates" | "-proposed-updates"))
}

fn lines_of(release: &str, text: &str) -> String {
    let chosen = text.lines().filter(|line| line.starts_with("deb ")).filter(|line| {
        // Options in brackets stand before the address and may hold spaces.
        let rest = line.split_once("] ").map_or(&line[4..], |(_, rest)| rest);
        rest.split_whitespace().nth(1).is_some_and(|suite| is_suite_of(release, suite))
    });
    chosen.flat_map(|line| [line, "\n"]).collect()
}

fn stanzas_of(release: &str, text: &str) -> String {
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    let chosen = text.split("\n\n").filter(|stanza| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
        let binary = field("Types:").is_some_and(|types| types.split_whitespace().any(|kind| kind == "deb"));
        let off = field("Enabled:").is_some_and(|value| value.trim() == "no");
        let suites = field("Suites:").unwrap_or_default();
        binary && !off && suites.split_whitespace().any(|suite| is_suite_of(release, suite))
    });
    chosen.flat_map(|stanza| [stanza.trim(), "\n\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_is_taken_from_the_sources() {
        let list = "deb http://mirror.example/debian trixie main\n\
                    deb [arch=amd64 signed-by=/k.gpg] https://vendor.example/apt vendor-trixie main\n\
                    deb [ arch=amd64 ] http://mirror.example/debian trixie-updates main\n\
                    # deb http://mirror.example/debian trixie-security main\n\
                    deb-src http://mirror.example/debian trixie main\n";
        assert_eq!(
            lines_of("trixie", list),
            "deb http://mirror.example/debian trixie main\n\
             deb [ arch=amd64 ] http://mirror.example/debian trixie-updates main\n"
        );
        let stanzas = "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie trixie-updates\n\n\
                       Types: deb\nURIs: https://vendor.example\nSuites: stable\n\n\
                       Types: deb\nEnabled: no\nURIs: http://old.example\nSuites: trixie\n";
        assert_eq!(
            stanzas_of("trixie", stanzas),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie trixie-updates\n\n"
        );
    }
}
