//! Processes by identity rather than by number.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::ioctl;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, wait};
use skerry_keeper_protocol::{ExitStatus, ProcessIdentity};
use std::io;
use std::path::Path;

/// First version of the kernel's `struct pidfd_info`; a later kernel fills as much as the caller knows.
#[derive(Default)]
#[repr(C)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const PIDFD_GET_INFO: ioctl::Opcode = ioctl::opcode::read_write::<PidfdInfo>(0xff, 11);
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    zombie: bool,
    parent: u32,
    start_ticks: u64,
    exit_code: Option<i32>,
}

/// The start time of process `pid` in clock ticks since boot.
pub(crate) fn start_ticks(pid: u32) -> io::Result<u64> {
    Ok(read_stat(pid)?.start_ticks)
}

/// Opens `process`, or says that it is gone: not there, or another process under its number.
pub(crate) fn open(process: ProcessIdentity) -> io::Result<Option<OwnedFd>> {
    let pidfd = match pidfd_open(raw_pid(process.pid)?, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The descriptor is pinned before the start time is read, so the two cannot name different processes.
    match read_stat(process.pid) {
        Ok(stat) if stat.start_ticks == process.start_ticks => Ok(Some(pidfd)),
        _ => Ok(None),
    }
}

/// Reaps one child that has ended, whoever it is; children of dead children come here too, as this process is their
/// subreaper.
pub(crate) fn next_ended_child() -> io::Result<Option<(u32, ExitStatus)>> {
    match wait(WaitOptions::NOHANG) {
        Ok(None) | Err(Errno::CHILD) => Ok(None),
        Ok(Some((pid, status))) => {
            Ok(Some((pid.as_raw_nonzero().get().unsigned_abs(), status_from_wait(status.as_raw()))))
        }
        Err(error) => Err(error.into()),
    }
}

/// How `process`, which may be anyone's child, ended, if its parent has not reaped it.
pub(crate) fn unreaped_exit(process: ProcessIdentity) -> Option<ExitStatus> {
    let stat = read_stat(process.pid).ok()?;
    if !stat.zombie || stat.start_ticks != process.start_ticks {
        return None;
    }
    stat.exit_code.map(status_from_wait)
}

/// How the process behind `pidfd` ended, if its parent has reaped it and the kernel (6.15 and later) still tells.
pub(crate) fn reaped_exit(pidfd: &OwnedFd) -> Option<ExitStatus> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the operation's number carries the size of `PidfdInfo`, and the kernel writes at most that many bytes, all
    // of which are plain integers; the borrow of `info` ends with the call.
    #[expect(unsafe_code, reason = "no safe wrapper reads the exit status behind a pidfd")]
    let done = unsafe { ioctl::ioctl(pidfd, ioctl::Updater::<PIDFD_GET_INFO, PidfdInfo>::new(&mut info)) };
    (done.is_ok() && info.mask & PIDFD_INFO_EXIT != 0).then(|| status_from_wait(info.exit_code))
}

/// Whether this process will reap `pid`.
pub(crate) fn is_own_child(pid: u32) -> bool {
    read_stat(pid).is_ok_and(|stat| stat.parent == std::process::id())
}

/// `pid` as the system calls take it.
pub(crate) fn raw_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a process id"))
}

/// The id of this boot of the node; a record from another boot names no living process.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// An exit status out of the form that wait(2) gives.
pub(crate) const fn status_from_wait(status: i32) -> ExitStatus {
    match status & 0x7f {
        0 => ExitStatus::Code((status >> 8) & 0xff),
        signal => ExitStatus::Signal(signal),
    }
}

fn read_stat(pid: u32) -> io::Result<Stat> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read(Path::new(&path))?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("cannot read {path}")))
}

/// The command name stands in parentheses and may hold anything, so fields count from the last one.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(&text[end + 1..]).ok()?.split_whitespace().collect();
    // proc(5) numbers the fields from 1, and the state, which comes first here, is the third.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        zombie: matches!(field(3)?, "Z" | "X"),
        parent: field(4)?.parse().ok()?,
        start_ticks: field(22)?.parse().ok()?,
        exit_code: field(52).and_then(|code| code.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_hostile_command_name() {
        let mut text = b"42 (a) Z (\xff) S 7 ".to_vec();
        text.extend((5..22).flat_map(|n| format!("{n} ").into_bytes()));
        text.extend(b"99887 ");
        text.extend((23..52).flat_map(|n| format!("{n} ").into_bytes()));
        text.extend(b"256\n");
        let expect = Stat { zombie: false, parent: 7, start_ticks: 99_887, exit_code: Some(256) };
        assert_eq!(parse_stat(&text), Some(expect));
        assert_eq!(parse_stat(b"42 (x) S 7"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn wait_statuses() {
        assert_eq!(status_from_wait(3 << 8), ExitStatus::Code(3));
        assert_eq!(status_from_wait(9), ExitStatus::Signal(9));
        assert_eq!(status_from_wait(0x8b), ExitStatus::Signal(11));
    }

    #[test]
    fn a_reused_process_id_is_not_opened() {
        let pid = std::process::id();
        let start_ticks = start_ticks(pid).unwrap();
        assert!(open(ProcessIdentity { pid, start_ticks }).unwrap().is_some());
        assert!(open(ProcessIdentity { pid, start_ticks: start_ticks + 1 }).unwrap().is_none());
    }
}
