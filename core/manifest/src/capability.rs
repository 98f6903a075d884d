//! Names of the kernel's capabilities.

use crate::problem::Problem;
use crate::words;

/// All that Linux has had since 5.9, without `CAP_`, in the kernel's order (capabilities(7)).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability at once; only to take away.
const ALL: &str = "ALL";

/// The capability's name without `CAP_`; `ALL` where `all` says so.
pub(crate) fn read(text: &str, all: bool) -> Result<&'static str, Problem> {
    let name = text.strip_prefix("CAP_").unwrap_or(text);
    if name == ALL {
        return if all { Ok(ALL) } else { Err(Problem::EveryCapability) };
    }
    NAMES.into_iter().find(|known| *known == name).ok_or_else(|| Problem::Capability {
        name: text.to_owned(),
        nearest: words::did_you_mean(name, NAMES),
    })
}
