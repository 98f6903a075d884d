//! How a container of the agent is named at the keeper, and known again.

use std::fmt;
use std::str::FromStr;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use skerry_keeper_protocol::{ContainerKey, Identity};
use skerry_registry::Digest;
use skerry_types::{AllocationId, ContainerName, WallTime};

/// First real-time signal that programs may use, as libc counts them.
const SIGRTMIN: i32 = 34;
const SIGNAL_MAX: i32 = 64;

/// Which container of which allocation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerRef {
    /// The allocation.
    pub allocation: AllocationId,
    /// The container in it.
    pub container: ContainerName,
}

impl fmt::Display for ContainerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.allocation, self.container)
    }
}

/// What the keeper stores with a container. Variants are only ever appended: a keeper outlives the agent that wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stored {
    V1 {
        allocation: AllocationId,
        container: ContainerName,
        attempt: u32,
        stop_signal: i32,
        asked_at: WallTime,
    },
}

/// One start of one container, and how it is asked to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) container: ContainerRef,
    pub(super) attempt: u32,
    pub(super) stop_signal: i32,
    /// When it was asked for: what its log holds from then on is its own. The keeper notes the start itself only after the first
    /// lines may have been written.
    pub(super) asked_at: WallTime,
}

impl Start {
    /// As the keeper stores it; it fits by the lengths of its names.
    pub(super) fn encode(&self) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
        let ContainerRef { allocation, container } = self.container.clone();
        let Self { attempt, stop_signal, asked_at, .. } = *self;
        let bytes =
            postcard::to_stdvec(&Stored::V1 { allocation, container, attempt, stop_signal, asked_at })?;
        Ok(Identity::try_from(bytes)?)
    }

    /// `None` when the bytes are not from an agent that this one understands.
    pub(super) fn decode(identity: &Identity) -> Option<Self> {
        let Stored::V1 { allocation, container, attempt, stop_signal, asked_at } =
            postcard::from_bytes(identity.as_bytes()).ok()?;
        Some(Self { container: ContainerRef { allocation, container }, attempt, stop_signal, asked_at })
    }
}

/// The key of one start at the keeper. Two long names together pass a key's limit: then a digest stands for the container's.
pub(super) fn key(
    container: &ContainerRef,
    attempt: u32,
) -> Result<ContainerKey, Box<dyn std::error::Error + Send + Sync>> {
    let ContainerRef { allocation, container } = container;
    let plain = format!("{allocation}.{container}.{attempt}");
    if let Ok(key) = ContainerKey::try_from(plain) {
        return Ok(key);
    }
    let digest = Digest::of(container.as_str().as_bytes()).hex();
    Ok(ContainerKey::try_from(format!("{allocation}.{}.{attempt}", &digest[..16]))?)
}

/// The signal that an image names (`SIGQUIT`, `QUIT`, `3`, `SIGRTMIN+3`); `SIGTERM` for nothing or nonsense.
pub(super) fn stop_signal(text: &str) -> i32 {
    let bare = text.strip_prefix("SIG").unwrap_or(text);
    let named = || Signal::from_str(&format!("SIG{bare}")).ok().map(|signal| signal as i32);
    let real_time =
        || SIGRTMIN.checked_add(bare.strip_prefix("RTMIN")?.strip_prefix('+').unwrap_or("0").parse().ok()?);
    let number = text.parse::<i32>().ok().or_else(named).or_else(real_time);
    number.filter(|number| (1..=SIGNAL_MAX).contains(number)).unwrap_or(Signal::SIGTERM as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(allocation: &str, container: &str) -> ContainerRef {
        ContainerRef {
            allocation: AllocationId::new(allocation).unwrap(),
            container: ContainerName::new(container).unwrap(),
        }
    }

    #[test]
    fn an_identity_reads_back() {
        let start = Start {
            container: container("web-0-1", "main"),
            attempt: 3,
            stop_signal: 3,
            asked_at: WallTime(7),
        };
        assert_eq!(Start::decode(&start.encode().unwrap()), Some(start));
        assert_eq!(Start::decode(&Identity::try_from(vec![9, 9]).unwrap()), None);
    }

    #[test]
    fn keys_fit_whatever_the_names() {
        let check = |allocation: &str, name: &str, expect: &str| {
            assert_eq!(key(&container(allocation, name), 7).unwrap().as_str(), expect);
        };
        check("web-0-1", "main", "web-0-1.main.7");
        let (long, name) = ("a".repeat(88), "b".repeat(63));
        let key_of = |name: &str| key(&container(&long, name), u32::MAX).unwrap();
        assert_ne!(key_of(&name), key_of(&"c".repeat(63)));
        assert!(key_of(&name).as_str().starts_with(&long));
    }

    #[test]
    fn stop_signals_are_names_or_numbers() {
        let check = |text: &str, expect: i32| assert_eq!(stop_signal(text), expect, "{text:?}");
        check("", 15);
        check("SIGQUIT", 3);
        check("QUIT", 3);
        check("9", 9);
        check("SIGRTMIN+3", 37);
        check("RTMIN", 34);
        check("SIGRTMIN+99", 15);
        check("0", 15);
        check("SIGNONSENSE", 15);
    }
}
