//! Running the command.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::authority::{Authority, Pair};
use crate::fake_master::{FakeMaster, Script};

/// Longest time that anything takes here.
const DEADLINE: Duration = Duration::from_secs(20);

/// A master and a person with a context for it.
pub(crate) struct Desk {
    pub(crate) master: FakeMaster,
    pub(crate) authority: Authority,
    folder: TempDir,
}

/// What the command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Desk {
    pub(crate) fn new(script: Script) -> Self {
        let authority = Authority::new();
        let master = FakeMaster::start(script, &authority.sign("skerry-master"), &authority);
        let desk = Self { master, authority, folder: tempfile::tempdir().unwrap() };
        let operator = desk.authority.sign("operator");
        desk.context(&desk.master.address.to_string(), desk.authority.pem(), &operator);
        desk
    }

    /// Writes the context file.
    pub(crate) fn context(&self, server: &str, ca: &str, operator: &Pair) {
        self.write("ca.pem", ca);
        self.write("operator.pem", &operator.cert);
        let key = &operator.key;
        self.write(
            "config.toml",
            &format!(
                "current-context = \"north\"\n[contexts.north]\nserver = \"{server}\"\nca = \"ca.pem\"\ncert = \"operator.pem\"\nkey = \"\"\"\n{key}\"\"\"\n"
            ),
        );
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skerry"));
        command.args(args).env("SKERRY_CONFIG", self.path("config.toml")).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    /// Runs it with a text on its standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Said {
        use std::io::Write as _;
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        said(child.wait_with_output().unwrap())
    }

    /// Starts it with nobody at the other end of its output.
    pub(crate) fn start_unread(&self, args: &[&str]) -> Child {
        let mut child = self.command(args).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        child
    }

    /// Starts it and reads along.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).spawn().unwrap();
        let lines = |source: Box<dyn std::io::Read + Send>| {
            let (send, receive) = mpsc::channel();
            std::thread::spawn(move || {
                for line in BufReader::new(source).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
            receive
        };
        let out = lines(Box::new(child.stdout.take().unwrap()));
        let err = lines(Box::new(child.stderr.take().unwrap()));
        Running { child, out, err }
    }
}

/// A command that goes on. It is ended with the value.
pub(crate) struct Running {
    child: Child,
    out: mpsc::Receiver<String>,
    err: mpsc::Receiver<String>,
}

impl Running {
    /// The next line of data.
    pub(crate) fn line(&self) -> String {
        self.out.recv_timeout(DEADLINE).expect("a line in time")
    }

    /// The next message.
    pub(crate) fn message(&self) -> String {
        self.err.recv_timeout(DEADLINE).expect("a message in time")
    }

    /// Waits for its end.
    pub(crate) fn code(&mut self) -> i32 {
        self.child.wait().unwrap().code().expect("it ended by itself")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().expect("it ended by itself"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Said {
    /// Checks the exit code, and that each text was said on standard error.
    pub(crate) fn failed(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for text in texts {
            assert!(self.err.contains(text), "no '{text}' in:\n{}", self.err);
        }
    }
}
