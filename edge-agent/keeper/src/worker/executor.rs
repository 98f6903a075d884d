//! The last steps inside the container: find the program, and become it.

use super::ahead::Orders;
use super::filter::Filter;
use super::limits::Limit;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use rustix::fs::{Access, AtFlags, CWD};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

/// Runs the spec's process, under the limits and the system call filter that libcontainer was not given.
///
/// libcontainer's own takes a program for executable only if others may execute it; this one asks the kernel whether
/// the container's user may.
#[derive(Clone, Debug, Default)]
pub(super) struct Payload {
    pub(super) entry: Entry,
    pub(super) filter: Option<Filter>,
}

/// What is written from within the container when all else is done.
#[derive(Clone, Debug, Default)]
pub(super) enum Entry {
    #[default]
    Nothing,
    /// Limits that count what makes the container, too.
    Limits(Rc<[Limit]>),
    /// What the worker hands over: the way into the cgroup, and such limits.
    Awaited(Rc<Orders>),
}

impl Entry {
    fn apply(&self) -> Result<(), String> {
        match self {
            Self::Nothing => Ok(()),
            Self::Limits(limits) => put_into_force(limits),
            Self::Awaited(orders) => {
                let received = orders.receive::<Vec<(PathBuf, String)>>();
                let received = received.map_err(|error| format!("cannot read the limits: {error}"))?;
                let (texts, files) = received.ok_or("the worker has ended")?;
                if texts.len() != files.len() {
                    return Err(format!("{} files for {} limits", files.len(), texts.len()));
                }
                let limit = |((path, value), file)| Limit { file: File::from(file), path, value };
                put_into_force(&texts.into_iter().zip(files).map(limit).collect::<Vec<_>>())?;
                // From here on its cgroup tells where it is, and it outlives the worker.
                rustix::process::set_parent_process_death_signal(None).map_err(|error| error.to_string())
            }
        }
    }
}

fn put_into_force(limits: &[Limit]) -> Result<(), String> {
    limits.iter().try_for_each(Limit::apply).map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

impl Executor for Payload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (program, words) = resolve(spec).map_err(ExecutorError::Other)?;
        // The environment and the descriptors are the process's own by this point; the call returns only to fail.
        let error = Command::new(&program).arg0(&words[0]).args(&words[1..]).exec();
        let message = format!("cannot execute {}: {error}", program.display());
        // The create has succeeded by this point, so the container's log is where this can be found.
        drop(writeln!(std::io::stderr(), "skerry-keeper: {message}"));
        Err(ExecutorError::Other(message))
    }

    /// Called when all else is done and an error still makes the create fail: capabilities are given up, the files of the limits
    /// are open since before.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let limited = self.entry.apply();
        let filter = || self.filter.as_ref().map_or(Ok(()), Filter::enforce);
        let filtered =
            limited.and_then(|()| filter().map_err(|error| format!("cannot filter system calls: {error}")));
        filtered.and_then(|()| resolve(spec).map(drop)).map_err(ExecutorValidationError::ArgValidationError)
    }
}

/// The program's path inside the container, and its words.
fn resolve(spec: &Spec) -> Result<(PathBuf, &[String]), String> {
    let process = spec.process().as_ref().ok_or("the spec has no process")?;
    let words = process.args().as_deref().filter(|words| !words.is_empty()).ok_or("no command is given")?;
    let program = words[0].as_str();
    if program.contains('/') {
        return executable(Path::new(program)).map(|()| (program.into(), words));
    }
    let environment = process.env().as_deref().unwrap_or_default();
    let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let mut refusal = format!("command {program:?} is not in PATH {path:?}");
    for directory in path.split(':') {
        let candidate = Path::new(directory).join(program);
        match executable(&candidate) {
            Ok(()) => return Ok((candidate, words)),
            Err(reason) if candidate.is_file() => refusal = reason,
            Err(_) => {}
        }
    }
    Err(refusal)
}

fn executable(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Err(format!("command {} is a directory", path.display()));
    }
    // Effective ids: the container's user is set by this point, but real and effective ids may differ.
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| format!("command {} cannot be executed: {error}", path.display()))
}
