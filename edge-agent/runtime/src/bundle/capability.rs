//! Which capabilities a container has.

use skerry_types::Capabilities;

use super::BundleError;

/// Enough to start as root, bind low ports, give files away and drop to another user; nothing that touches the node.
const DEFAULT: [&str; 8] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
];

/// Every capability of Linux (linux/capability.h).
const KNOWN: [&str; 41] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

/// A container's capabilities, sorted, named `CAP_…`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CapabilitySets {
    /// What it may ever have.
    pub(super) bounding: Vec<&'static str>,
    /// What the spec added by name: a user other than root keeps these over `execve` (ambient set), as it was asked for.
    pub(super) added: Vec<&'static str>,
}

/// Applies a spec's changes to the default set: first what is dropped, then what is added.
pub(super) fn resolve(changes: &Capabilities) -> Result<CapabilitySets, BundleError> {
    let dropped = changes.drop.iter().filter(|name| *name != "ALL").map(|name| known(name));
    let dropped = dropped.collect::<Result<Vec<_>, _>>()?;
    let drops_all = changes.drop.iter().any(|name| name == "ALL");
    let mut added = changes.add.iter().map(|name| known(name)).collect::<Result<Vec<_>, _>>()?;
    added.sort_unstable();
    added.dedup();
    let kept = DEFAULT.into_iter().filter(|name| !drops_all && !dropped.contains(name));
    let mut bounding: Vec<_> = kept.chain(added.iter().copied()).collect();
    bounding.sort_unstable();
    bounding.dedup();
    Ok(CapabilitySets { bounding, added })
}

/// The kernel's name of a capability that a spec names with or without `CAP_`.
fn known(name: &str) -> Result<&'static str, BundleError> {
    let bare = name.strip_prefix("CAP_").unwrap_or(name);
    let is_it =
        |known: &&&str| known.strip_prefix("CAP_").is_some_and(|known| known.eq_ignore_ascii_case(bare));
    KNOWN.iter().find(is_it).copied().ok_or_else(|| BundleError::UnknownCapability { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_apply_to_a_small_default() {
        let check = |add: &[&str], drop: &[&str], expect: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            let sets = resolve(&Capabilities { add: owned(add), drop: owned(drop) }).unwrap();
            assert_eq!(sets.bounding, expect, "add {add:?}, drop {drop:?}");
        };
        check(&[], &[], &DEFAULT);
        check(&[], &["ALL"], &[]);
        check(&["NET_RAW"], &["ALL"], &["CAP_NET_RAW"]);
        check(&["CAP_NET_RAW", "chown", "CHOWN"], &["ALL"], &["CAP_CHOWN", "CAP_NET_RAW"]);
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let changes = Capabilities { add: vec!["NET_BINDSERVICE".to_owned()], drop: Vec::new() };
        assert!(
            matches!(resolve(&changes), Err(BundleError::UnknownCapability { name }) if name == "NET_BINDSERVICE")
        );
        let all = Capabilities { add: vec!["ALL".to_owned()], drop: Vec::new() };
        assert!(resolve(&all).is_err(), "a container that may do everything is asked for name by name");
    }

    #[test]
    fn the_list_is_sorted_and_holds_the_default() {
        assert!(KNOWN.is_sorted());
        assert!(DEFAULT.iter().all(|name| KNOWN.contains(name)));
    }
}
