//! `config` and the context file.

use std::os::unix::fs::PermissionsExt as _;

use crate::fake_master::Script;
use crate::skerry::Desk;

#[test]
fn contexts_are_added_listed_and_chosen() {
    let desk = Desk::new(Script::default());
    let pair = desk.authority.sign("operator");
    desk.write("key.pem", &pair.key);
    desk.write("cert.pem", &pair.cert);
    let address = desk.master.address.to_string();
    let files = ["--ca", "ca.pem", "--cert", "cert.pem", "--key", "key.pem"];
    let mut add =
        vec!["config", "add-context", "south", "--server", &address, "--config", "deep/er/config.toml"];
    add.extend(files);
    let said = desk.run(&add);
    assert_eq!(said.code, 0, "{said:?}");
    let mode = std::fs::metadata(desk.path("deep/er/config.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let with = |args: &[&str]| {
        let mut args = args.to_vec();
        args.extend(["--config", "deep/er/config.toml"]);
        desk.run(&args)
    };
    assert_eq!(with(&["config", "current-context"]).out, "south\n");
    assert!(with(&["version"]).out.contains("region north"), "the paths hold from anywhere");

    let mut second = vec!["config", "add-context", "west", "--server", "h"];
    second.extend(files);
    assert_eq!(with(&second).code, 0);
    assert_eq!(with(&["config", "get-contexts", "-o", "name"]).out, "south\nwest\n");
    assert_eq!(with(&["config", "use-context", "west"]).code, 0);
    let table = with(&["config", "get-contexts"]).out;
    assert!(table.lines().any(|line| line.starts_with('*') && line.contains("https://h:7443")), "{table}");
    assert!(with(&["version", "--context", "south"]).out.contains("server"));
    with(&["config", "use-context", "east"]).failed(1, &["no context 'east'", "south, west"]);
}

#[test]
fn a_context_file_that_cannot_be_used_is_told() {
    let desk = Desk::new(Script::default());
    desk.run(&["get", "nodes", "--config", "absent.toml"])
        .failed(1, &["no context file absent.toml", "skerry-master init"]);
    desk.write("broken.toml", "current-context = \n");
    desk.run(&["get", "nodes", "--config", "broken.toml"])
        .failed(1, &["broken.toml is not a context file", "line 1"]);
    desk.write("unknown.toml", "[contexts.a]\nserver='h'\nca='x'\ncert='x'\nkey='x'\nport=1\n");
    desk.run(&["get", "nodes", "--config", "unknown.toml"]).failed(1, &["port"]);
    desk.run(&["get", "nodes", "--context", "south"]).failed(1, &["no context 'south'", "it has north"]);
    desk.write("config.toml", "current-context='a'\n[contexts.a]\nserver='h'\nca='x'\ncert='x'\nkey='x'\n");
    desk.run(&["get", "nodes"]).failed(1, &["cannot read the CA certificate (ca)"]);
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    let desk = Desk::new(Script::default());
    let said = desk.run(&["version"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(desk.path("config.toml"), open).unwrap();
    let said = desk.run(&["version"]);
    assert_eq!(said.code, 0);
    assert!(said.err.starts_with("warning: others can read the key in "), "{}", said.err);
}
