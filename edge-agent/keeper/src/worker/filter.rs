//! System call filters, translated once and kept.
//!
//! Translating a list of three hundred names takes longer than all mounts of a container together, and containers have few
//! different lists. So the first worker that meets one leaves the kernel's form of it in a file, and the others load that. The
//! files lie in the keeper's run directory, where only root writes, and go with a reboot.

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::libc;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek};
use std::path::Path;

/// Files that are kept: far more than the capability sets that a node's containers have.
const KEPT_MAX: usize = 64;
/// Bytes of one instruction of a filter (`struct sock_filter`).
const INSTRUCTION: usize = 8;
/// Instructions that the kernel takes (`BPF_MAXINSNS`).
const INSTRUCTIONS_MAX: usize = 4096;
/// A binary tree over the call's number, which the kernel also walks for each call that it looks up in advance.
const BINARY_TREE: u32 = 2;
/// Changed when the same list is to be translated otherwise.
const TRANSLATION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1\n");

/// Why a filter cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error("cannot make the system call filter")]
    Translate(#[from] SeccompError),
    #[error("cannot make the system call filter")]
    Export(#[source] io::Error),
    #[error("the system call filter has {0} bytes, which is no filter")]
    Shape(usize),
}

/// A filter in the kernel's form.
#[derive(Clone)]
pub(super) struct Filter(Vec<libc::sock_filter>);

impl std::fmt::Debug for Filter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Filter of {} instructions", self.0.len())
    }
}

impl Filter {
    /// The filter of `list`, from `directory` if it is kept there; else it is translated and left there. `None` when the list
    /// has something that only libcontainer does.
    pub(super) fn of(list: &LinuxSeccomp, directory: &Path) -> Result<Option<Self>, FilterError> {
        if !is_plain(list) {
            return Ok(None);
        }
        let key = format!("{TRANSLATION}{list:?}");
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let path = directory.join(format!("{:016x}", hasher.finish()));
        let file = std::fs::read(&path).ok();
        if let Some(kept) = file.and_then(|file| Self::parse(whole(file.strip_prefix(key.as_bytes())?)?)) {
            return Ok(Some(kept));
        }
        let bytes = translate(list)?;
        // Without the file the next worker translates again, and that is all.
        drop(keep(directory, &path, key.as_bytes(), &bytes));
        Self::parse(&bytes).map(Some).ok_or(FilterError::Shape(bytes.len()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let instructions = bytes.len() / INSTRUCTION;
        if !bytes.len().is_multiple_of(INSTRUCTION) || instructions == 0 || instructions > INSTRUCTIONS_MAX {
            return None;
        }
        let instruction = |bytes: &[u8]| {
            let [c0, c1, jt, jf, k @ ..] = <[u8; INSTRUCTION]>::try_from(bytes).ok()?;
            Some(libc::sock_filter { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes(k) })
        };
        bytes.chunks_exact(INSTRUCTION).map(instruction).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Puts this process under the filter, for ever. It must have given up new privileges before.
    pub(super) fn enforce(&self) -> io::Result<()> {
        let length = u16::try_from(self.0.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len: length, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the kernel reads `len` instructions through the pointer, which are there, and writes nothing.
        #[expect(unsafe_code, reason = "no safe wrapper loads a filter")]
        let loaded =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if loaded == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// What follows its own length.
fn whole(rest: &[u8]) -> Option<&[u8]> {
    let (length, bytes) = rest.split_first_chunk::<4>()?;
    (usize::try_from(u32::from_le_bytes(*length)).ok()? == bytes.len()).then_some(bytes)
}

/// Puts a file in place at once, so that no worker reads half of one.
fn keep(directory: &Path, path: &Path, key: &[u8], bytes: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    if std::fs::read_dir(directory)?.count() >= KEPT_MAX {
        return Ok(());
    }
    let staged = path.with_extension(std::process::id().to_string());
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?.to_le_bytes();
    std::fs::write(&staged, [key, &length, bytes].concat())?;
    std::fs::rename(&staged, path)
}

/// Whether this module translates all of `list`. Flags and notifications are left to libcontainer.
fn is_plain(list: &LinuxSeccomp) -> bool {
    let actions = list.syscalls().iter().flatten().map(LinuxSyscall::action);
    let mut actions = actions.chain([list.default_action()]);
    list.flags().as_ref().is_none_or(Vec::is_empty)
        && list.architectures().iter().flatten().all(|name| architecture(*name).is_some())
        && actions.all(|name| action(name, None).is_some())
        && list.syscalls().iter().flatten().all(|rule| !compares_twice(rule))
}

/// libseccomp takes one comparison of an argument in a rule.
fn compares_twice(rule: &LinuxSyscall) -> bool {
    let indices: Vec<usize> = rule.args().iter().flatten().map(LinuxSeccompArg::index).collect();
    indices.iter().enumerate().any(|(at, index)| indices[..at].contains(index))
}

fn translate(list: &LinuxSeccomp) -> Result<Vec<u8>, FilterError> {
    let default = action(list.default_action(), list.default_errno_ret()).unwrap_or(ScmpAction::KillProcess);
    let mut context = ScmpFilterContext::new(default)?;
    for name in list.architectures().iter().flatten() {
        context.add_arch(architecture(*name).unwrap_or(ScmpArch::Native))?;
    }
    context.set_ctl_optimize(BINARY_TREE)?;
    for rule in list.syscalls().iter().flatten() {
        let wanted = action(rule.action(), rule.errno_ret()).unwrap_or(default);
        if wanted == default {
            continue;
        }
        let comparisons: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(comparison).collect();
        // A name that this machine does not know is of a call that it does not have.
        for call in rule.names().iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
            if comparisons.is_empty() {
                context.add_rule(wanted, call)?;
            } else {
                context.add_rule_conditional(wanted, call, &comparisons)?;
            }
        }
    }
    export(&context).map_err(FilterError::Export)
}

fn export(context: &ScmpFilterContext) -> io::Result<Vec<u8>> {
    let memory = rustix::fs::memfd_create("filter", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    context.export_bpf(&file).map_err(io::Error::other)?;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// With the two values in the order in which libcontainer takes them, as bundles are written for it.
fn comparison(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let operator = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        LinuxSeccompOperator::ScmpCmpLt => ScmpCompareOp::Less,
        LinuxSeccompOperator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        LinuxSeccompOperator::ScmpCmpEq => ScmpCompareOp::Equal,
        LinuxSeccompOperator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        LinuxSeccompOperator::ScmpCmpGt => ScmpCompareOp::Greater,
        LinuxSeccompOperator::ScmpCmpMaskedEq => ScmpCompareOp::MaskedEqual(arg.value_two().unwrap_or(0)),
    };
    // An index has one digit; one that has more is refused by libseccomp.
    ScmpArgCompare::new(u32::try_from(arg.index()).unwrap_or(u32::MAX), operator, arg.value())
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Option<ScmpAction> {
    let errno = errno.and_then(|number| i32::try_from(number).ok()).unwrap_or(libc::EPERM);
    match action {
        LinuxSeccompAction::ScmpActAllow => Some(ScmpAction::Allow),
        LinuxSeccompAction::ScmpActErrno => Some(ScmpAction::Errno(errno)),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            Some(ScmpAction::KillThread)
        }
        LinuxSeccompAction::ScmpActKillProcess => Some(ScmpAction::KillProcess),
        LinuxSeccompAction::ScmpActLog => Some(ScmpAction::Log),
        LinuxSeccompAction::ScmpActTrap => Some(ScmpAction::Trap),
        LinuxSeccompAction::ScmpActTrace | LinuxSeccompAction::ScmpActNotify => None,
    }
}

/// The architectures that nodes have.
fn architecture(name: Arch) -> Option<ScmpArch> {
    match name {
        Arch::ScmpArchNative => Some(ScmpArch::Native),
        Arch::ScmpArchX86_64 => Some(ScmpArch::X8664),
        Arch::ScmpArchAarch64 => Some(ScmpArch::Aarch64),
        Arch::ScmpArchRiscv64 => Some(ScmpArch::Riscv64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn list(names: &[&str]) -> LinuxSeccomp {
        serde_json::from_value(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_NATIVE"],
            "syscalls": [
                {"names": names, "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_LT"}]},
            ],
        }))
        .unwrap()
    }

    fn files(directory: &Path) -> usize {
        std::fs::read_dir(directory).map_or(0, Iterator::count)
    }

    fn bytes(filter: &Filter) -> Vec<(u16, u8, u8, u32)> {
        filter.0.iter().map(|one| (one.code, one.jt, one.jf, one.k)).collect()
    }

    #[test]
    fn a_kept_filter_is_the_translated_one() {
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("filters");
        let first = Filter::of(&list(&["read", "write"]), &kept).unwrap().unwrap();
        assert_eq!(files(&kept), 1);
        let again = Filter::of(&list(&["read", "write"]), &kept).unwrap().unwrap();
        assert_eq!(bytes(&first), bytes(&again));
        let other = Filter::of(&list(&["read"]), &kept).unwrap().unwrap();
        assert_ne!(bytes(&first), bytes(&other));
        assert_eq!(files(&kept), 2);
    }

    #[test]
    fn what_is_not_this_lists_filter_is_not_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let wanted = Filter::of(&list(&["read"]), directory.path()).unwrap().unwrap();
        let path = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&whole[..0], &whole[..whole.len() - INSTRUCTION], &whole[1..], b"other list"] {
            std::fs::write(&path, damaged).unwrap();
            let again = Filter::of(&list(&["read"]), directory.path()).unwrap().unwrap();
            assert_eq!(bytes(&wanted), bytes(&again));
            assert_eq!(std::fs::read(&path).unwrap(), whole, "it is written anew");
        }
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..KEPT_MAX {
            std::fs::write(directory.path().join(number.to_string()), "").unwrap();
        }
        assert!(Filter::of(&list(&["read"]), directory.path()).unwrap().is_some());
        assert_eq!(files(directory.path()), KEPT_MAX);
    }

    #[test]
    fn what_only_libcontainer_does_is_left_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let check = |change: serde_json::Value| {
            let mut list = serde_json::to_value(list(&["read"])).unwrap();
            for (name, value) in change.as_object().unwrap() {
                list[name] = value.clone();
            }
            let list = serde_json::from_value(list).unwrap();
            assert!(Filter::of(&list, directory.path()).unwrap().is_none(), "{change}");
        };
        check(json!({"flags": ["SECCOMP_FILTER_FLAG_LOG"]}));
        check(json!({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}));
        check(json!({"architectures": ["SCMP_ARCH_S390X"]}));
        let twice = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_NE"}, {"index": 0, "value": 2, "op": "SCMP_CMP_NE"}]);
        check(json!({"syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": twice}]}));
    }
}
