use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use skerry_ground::{Namespace, Process, binary};

use crate::{SOON, Workload};

/// A person with the `skerry` command and a context file, somewhere on the wan.
#[derive(Debug, Clone)]
pub struct Operator {
    namespace: Namespace,
    context: PathBuf,
}

/// What a command said.
#[derive(Debug, Clone)]
pub struct Said {
    /// The command line, for messages.
    pub line: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Itself if the exit code is 0, else an error with all it said.
    pub fn ok(self) -> Result<Self> {
        self.exits(0)
    }

    /// Itself if it ended with this code, else an error with all it said.
    pub fn exits(self, code: i32) -> Result<Self> {
        ensure!(self.code == code, "exit code {code} expected: {self:?}");
        Ok(self)
    }

    /// Itself if each of these is in what it said on either stream, else an error with all it said.
    pub fn says(self, parts: &[&str]) -> Result<Self> {
        for part in parts {
            let found = self.out.contains(part) || self.err.contains(part);
            ensure!(found, "{part:?} is not in what `{}` said:\n{}{}", self.line, self.out, self.err);
        }
        Ok(self)
    }
}

impl Operator {
    /// One who works from inside of `namespace` with a context file.
    pub fn new(namespace: &Namespace, context: impl Into<PathBuf>) -> Self {
        Self { namespace: namespace.clone(), context: context.into() }
    }

    /// The context file.
    pub fn context(&self) -> &Path {
        &self.context
    }

    /// A command line of `skerry`, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.namespace.command(binary("skerry")?);
        command.args(arguments).env("SKERRY_CONFIG", &self.context).env("NO_COLOR", "1");
        Ok(command)
    }

    /// Runs `skerry` and gives what it said, whatever its exit code.
    pub fn skerry(&self, arguments: &[&str]) -> Result<Said> {
        self.skerry_with(arguments, "")
    }

    /// As [`Operator::skerry`], with this on standard input.
    pub fn skerry_with(&self, arguments: &[&str], input: &str) -> Result<Said> {
        let mut child = self
            .command(arguments)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting skerry")?;
        let mut stdin = child.stdin.take().context("the command has no standard input")?;
        // One that does not read its input may have ended already.
        stdin.write_all(input.as_bytes()).ok();
        drop(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().context("waiting for skerry")?;
        Ok(Said {
            line: format!("skerry {}", arguments.join(" ")),
            code: status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&stdout).into_owned(),
            err: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    /// Starts a command that goes on, such as `logs -f`; what it says goes to `log`.
    pub fn start(&self, arguments: &[&str], log: &Path) -> Result<Process> {
        Process::start("skerry", self.command(arguments)?, log)
    }

    /// Applies workloads; it must succeed.
    pub fn apply(&self, workloads: &[&Workload]) -> Result<Said> {
        let text: Vec<String> = workloads.iter().map(ToString::to_string).collect();
        self.skerry_with(&["apply", "-f", "-"], &text.join("\n---\n"))?.ok()
    }

    /// Applies a manifest that is wrong in some way, and gives what was said; it must fail.
    pub fn apply_refused(&self, manifest: &str) -> Result<Said> {
        self.skerry_with(&["apply", "-f", "-"], manifest)?.exits(1)
    }

    /// `skerry wait`, which must succeed within `limit`.
    pub fn wait(&self, subject: &str, goal: &str, limit: Duration) -> Result<()> {
        let limit = format!("{}ms", limit.as_millis());
        let said = self.skerry(&["wait", subject, "--for", goal, "--timeout", &limit])?;
        if said.code != 0 {
            bail!("{subject} is not {goal} after {limit}: {}{}", said.err, self.whole_state());
        }
        Ok(())
    }

    /// Waits until a workload runs.
    pub fn running(&self, workload: &str) -> Result<()> {
        self.wait(&format!("workload/{workload}"), "running", SOON)
    }

    /// Deletes a workload and waits until nothing of it is left.
    pub fn delete(&self, workload: &str) -> Result<()> {
        self.skerry(&["delete", "workload", workload, "--wait", "--timeout", "60s"])?.ok().map(drop)
    }

    /// A list as JSON, such as `allocations --workload web`.
    pub fn list(&self, what: &str) -> Result<Vec<Value>> {
        let mut arguments = vec!["get"];
        arguments.extend(what.split(' '));
        arguments.extend(["-o", "json"]);
        let said = self.skerry(&arguments)?.ok()?;
        let value: Value = serde_json::from_str(&said.out).context("reading the list")?;
        match value {
            Value::Array(items) => Ok(items),
            one => Ok(vec![one]),
        }
    }

    /// The allocations of a workload that are not stopped.
    pub fn allocations(&self, workload: &str) -> Result<Vec<Value>> {
        let mut found = self.list(&format!("allocations --workload {workload}"))?;
        found.retain(|one| one.get("phase").and_then(Value::as_str) != Some("stopped"));
        Ok(found)
    }

    /// The one allocation of a workload.
    pub fn allocation(&self, workload: &str) -> Result<Value> {
        let mut found = self.allocations(workload)?;
        ensure!(found.len() == 1, "{workload} has {} allocations, not one: {found:?}", found.len());
        found.pop().context("the list has an entry")
    }

    /// Everything that `logs` prints of an allocation or `workload/NAME`.
    pub fn logs(&self, of: &str) -> Result<String> {
        Ok(self.skerry(&["logs", of])?.ok()?.out)
    }

    /// All tables, for messages about what went wrong.
    pub fn whole_state(&self) -> String {
        let table = |kind: &str| match self.skerry(&["get", kind, "-o", "wide"]) {
            Ok(said) => format!("\n--- {kind}\n{}{}", said.out, said.err),
            Err(error) => format!("\n--- {kind}: {error:#}"),
        };
        ["nodes", "workloads", "allocations", "events"].map(table).concat()
    }
}
