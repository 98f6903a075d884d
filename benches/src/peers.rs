//! Other runtimes, with the same root file system.
//!
//! runc and crun get the least they can do with: a new network namespace without an interface in it, no overlay, a detached
//! container whose output is a file. The same limits apply.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skerry_ground::{Host, output, until};

use crate::stage::LIMIT;
use crate::start::{now_ms, parse_first_instruction};

/// A low-level runtime with a bundle, ready to start containers one after the other.
///
/// It is called by a shell that stands by in a mount namespace of its own: there, version 2 of cgroups is out of sight on machines
/// that have both mounted, which crun takes for neither.
#[derive(Debug)]
pub(crate) struct Peer {
    program: &'static str,
    bundle: PathBuf,
    state: PathBuf,
    cgroup: String,
    shell: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

const SHELL: &str =
    "umount /sys/fs/cgroup/unified 2>/dev/null; while read -r line; do eval \"$line\"; echo $?; done";

impl Peer {
    /// Makes a peer of `runc` or `crun` on a host.
    pub(crate) fn new(program: &'static str, host: &Host, rootfs: &Path) -> Result<Self> {
        let bundle = host.memory().join(program);
        make_bundle(&bundle, rootfs)?;
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", SHELL]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().context("starting a shell")?;
        let orders = shell.stdin.take().context("the shell has no input")?;
        let answers = BufReader::new(shell.stdout.take().context("the shell has no output")?);
        let (state, cgroup) = (host.memory().join(format!("{program}-state")), host.cgroup().to_owned());
        Ok(Self { program, bundle, state, cgroup, shell, orders, answers })
    }

    /// Starts one container and removes it; milliseconds from before the program's start to the first instruction.
    pub(crate) fn first_instruction_ms(&mut self, number: usize) -> Result<f64> {
        let id = format!("{}-{number}", self.program);
        set_cgroup(&self.bundle, &format!("/{}/{id}", self.cgroup))?;
        let said = self.bundle.join("output");
        File::create(&said).context("making the output file")?;
        let (program, state) = (self.program, self.state.display().to_string());
        let (bundle, output) = (self.bundle.display().to_string(), said.display().to_string());
        let before = now_ms();
        let code = self.order(&format!(
            "{program} --root {state} run --detach --bundle {bundle} {id} </dev/null >{output} 2>&1"
        ))?;
        let text = || fs::read_to_string(&said).unwrap_or_default();
        ensure!(code == "0", "{program}: exit code {code}: {}", text());
        let what = format!("the first line of {id}");
        let first = until(&what, LIMIT, || Ok(parse_first_instruction(&text())))?;
        let code = self.order(&format!("{program} --root {state} delete --force {id}"))?;
        ensure!(code == "0", "{program} delete: exit code {code}");
        Ok(first - before)
    }

    /// Has the shell run a line; gives its exit code.
    fn order(&mut self, line: &str) -> Result<String> {
        writeln!(self.orders, "{line}").context("writing to the shell")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).context("reading from the shell")?;
        Ok(answer.trim().to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It waits for orders and nothing else.
        self.shell.kill().and_then(|()| self.shell.wait().map(drop)).ok();
    }
}

fn make_bundle(bundle: &Path, rootfs: &Path) -> Result<()> {
    fs::create_dir_all(bundle).context("making the bundle")?;
    output(Command::new("runc").args(["spec", "--bundle"]).arg(bundle))?;
    edit(bundle, |config| {
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/hello", "run"]);
        // Raising a limit needs a capability that not every machine gives.
        config["process"]["rlimits"] = json!([]);
        config["root"] = json!({"path": rootfs, "readonly": true});
        config["linux"]["resources"]["memory"] = json!({"limit": 32 << 20});
        config["linux"]["resources"]["pids"] = json!({"limit": 50});
    })
}

fn set_cgroup(bundle: &Path, cgroup: &str) -> Result<()> {
    edit(bundle, |config| config["linux"]["cgroupsPath"] = json!(cgroup))
}

fn edit(bundle: &Path, change: impl FnOnce(&mut Value)) -> Result<()> {
    let path = bundle.join("config.json");
    let mut config = serde_json::from_slice(&fs::read(&path)?).context("reading the bundle")?;
    change(&mut config);
    fs::write(&path, config.to_string()).context("writing the bundle")
}
