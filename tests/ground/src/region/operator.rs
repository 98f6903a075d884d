use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Namespace, binary, output};

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
        output(&mut self.command(arguments)?)
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

    /// `skerry wait SUBJECT --for GOAL`, which must succeed within `limit`.
    pub fn wait(&self, subject: &str, goal: &str, limit: Duration) -> Result<()> {
        let limit = format!("{}ms", limit.as_millis());
        let waited = self.skerry(&["wait", subject, "--for", goal, "--timeout", &limit]);
        waited.map(drop).map_err(|error| {
            let lists = ["nodes", "workloads", "allocations", "events"];
            let state =
                lists.map(|what| self.skerry(&["get", what, "-o", "wide"]).unwrap_or_default()).join("\n");
            error.context(format!("{subject} is not {goal}; the master says:\n{state}"))
        })
    }

    /// A join token for this many nodes of a site.
    pub fn token(&self, site: &str, uses: u32) -> Result<String> {
        let uses = uses.to_string();
        Ok(self.skerry(&["token", "create", "--site", site, "--uses", &uses])?.trim().to_owned())
    }
}
