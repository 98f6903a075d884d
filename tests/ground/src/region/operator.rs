use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{SOON, Said};
use crate::{Namespace, Process, binary};

/// A person with the `skerry` command and a context file, somewhere on the wan.
#[derive(Debug, Clone)]
pub struct Operator {
    namespace: Namespace,
    context: PathBuf,
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

    /// Runs `skerry` and gives its standard output. Any exit code but 0 is an error with what it said.
    pub fn skerry(&self, arguments: &[&str]) -> Result<String> {
        Ok(self.run(arguments)?.ok()?.out)
    }

    /// Runs `skerry` and gives what it said, whatever its exit code.
    pub fn run(&self, arguments: &[&str]) -> Result<Said> {
        self.run_with(arguments, "")
    }

    /// As [`Operator::run`], with this on standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Result<Said> {
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
        let ended = child.wait_with_output().context("waiting for skerry")?;
        Ok(Said::of(format!("skerry {}", arguments.join(" ")), &ended))
    }

    /// Starts a command that goes on, such as `logs -f`; what it says goes to `log`.
    pub fn start(&self, arguments: &[&str], log: &Path) -> Result<Process> {
        Process::start("skerry", self.command(arguments)?, log)
    }

    /// Applies manifests; it must succeed.
    pub fn apply(&self, manifests: &[&dyn Display]) -> Result<Said> {
        let text: Vec<String> = manifests.iter().map(ToString::to_string).collect();
        self.run_with(&["apply", "-f", "-"], &text.join("\n---\n"))?.ok()
    }

    /// Applies a manifest that is wrong in some way, and gives what was said; it must fail.
    pub fn apply_refused(&self, manifest: &str) -> Result<Said> {
        self.run_with(&["apply", "-f", "-"], manifest)?.exits(1)
    }

    /// `skerry wait SUBJECT --for GOAL`, which must succeed within `limit`.
    pub fn wait(&self, subject: &str, goal: &str, limit: Duration) -> Result<()> {
        let limit = format!("{}ms", limit.as_millis());
        let said = self.run(&["wait", subject, "--for", goal, "--timeout", &limit])?;
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
        self.skerry(&["delete", "workload", workload, "--wait", "--timeout", "60s"]).map(drop)
    }

    /// `skerry get WHAT -o json` as a list; `what` may hold flags, such as `allocations --workload web`.
    pub fn list(&self, what: &str) -> Result<Vec<Value>> {
        let mut arguments = vec!["get"];
        arguments.extend(what.split(' '));
        arguments.extend(["-o", "json"]);
        let text = self.skerry(&arguments)?;
        match serde_json::from_str(&text)
            .with_context(|| format!("reading what `skerry get {what}` prints"))?
        {
            Value::Array(items) => Ok(items),
            one => Ok(vec![one]),
        }
    }

    /// The allocations of a workload that are not stopped, here and below.
    pub fn allocations(&self, workload: &str) -> Result<Vec<Value>> {
        let mut found = self.list(&format!("allocations --workload {workload} -A"))?;
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
        self.skerry(&["logs", of])
    }

    /// A join token for this many nodes of a site.
    pub fn token(&self, site: &str, uses: u32) -> Result<String> {
        let uses = uses.to_string();
        Ok(self.skerry(&["token", "create", "--site", site, "--uses", &uses])?.trim().to_owned())
    }

    /// A join token for a region below.
    pub fn region_token(&self, region: &str) -> Result<String> {
        Ok(self.skerry(&["token", "create", "--region", region])?.trim().to_owned())
    }

    /// All tables, for messages about what went wrong.
    pub fn whole_state(&self) -> String {
        let table = |kind: &str| match self.run(&["get", kind, "-A", "-o", "wide"]) {
            Ok(said) => format!("\n--- {kind}\n{}{}", said.out, said.err),
            Err(error) => format!("\n--- {kind}: {error:#}"),
        };
        ["regions", "nodes", "workloads", "allocations", "events"].map(table).concat()
    }
}
