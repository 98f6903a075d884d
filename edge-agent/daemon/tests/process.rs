//! The program itself, as far as it goes without a master: the end-to-end tests have the rest.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output};

use skerry_link::{JoinToken, RootHash};
use skerry_store::RedbStore;

fn agent(data: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skerry-agent"));
    // Nothing of the machine that runs the test.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let config = data.join("agent.toml");
    if !config.exists() {
        std::fs::write(&config, "").unwrap();
    }
    command.args(words).arg("--config").arg(config).arg("--data-dir").arg(data);
    command.output().unwrap()
}

/// Runs the agent, which must fail with this exit code and say all of this.
fn check_failure(data: &Path, words: &[&str], code: i32, parts: &[&str]) {
    let output = agent(data, words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{words:?} says nothing of '{part}': {said}");
    }
}

fn token(addresses: &[&str]) -> String {
    let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    JoinToken::generate(RootHash([7; 32]), addresses).unwrap().to_text()
}

#[test]
fn version_needs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = agent(dir.path(), &["version"]);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("skerry-agent {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_node_that_never_joined_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let parts = ["not enrolled", "skerry-agent join --token", dir.path().to_str().unwrap()];
    check_failure(dir.path(), &["run"], 1, &parts);
    check_failure(dir.path(), &["join"], 1, &["no join token", "skerry token create"]);
}

#[test]
fn a_second_agent_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let _first = RedbStore::open(dir.path().join("ledger")).unwrap();
    check_failure(dir.path(), &["run"], 1, &["another skerry-agent runs on", "--data-dir"]);
}

#[test]
fn a_useless_token_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let cut = token(&["127.0.0.1:7444"]);
    check_failure(dir.path(), &["join", "--token", &cut[..cut.len() - 3]], 2, &["join token"]);
    check_failure(dir.path(), &["join", "--token", "K10:nonsense"], 2, &["must begin with"]);
    let nowhere = token(&[]);
    check_failure(dir.path(), &["join", "--token", &nowhere], 1, &["--master HOST"]);
    let unresolved = token(&["master.invalid:7444"]);
    check_failure(
        dir.path(),
        &["join", "--token", &unresolved],
        1,
        &["cannot resolve", "tried master.invalid:7444"],
    );
}

#[test]
fn a_mistake_in_the_file_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("agent.toml"), "node = 'n1'\nmaster = 'x'\n").unwrap();
    check_failure(dir.path(), &["run"], 1, &["agent.toml", "line 2", "unknown field `master`", "masters"]);
}

#[test]
fn an_archive_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("image.tar");
    std::fs::write(&file, "not a tar").unwrap();
    let file = file.to_str().unwrap();
    check_failure(dir.path(), &["image", "import", file], 1, &[file]);
    check_failure(dir.path(), &["image", "import", "/absent.tar"], 1, &["/absent.tar"]);
}
