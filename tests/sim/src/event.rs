//! What can happen next.

use skerry_agent_state::{Failure, OpId, Outcome};
use skerry_region_state::LinkId;
use skerry_types::ExitKind;
use skerry_wire::{ToChild, ToParent};

/// Which node, by its place in the world.
pub(crate) type NodeAt = usize;

/// Which master, by its place in the world; the root is the first.
pub(crate) type MasterAt = usize;

/// Who has a disk, and maybe a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Master(MasterAt),
    Node(NodeAt),
}

/// An end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Parent,
    Child,
}

/// What travels on a link.
#[derive(Debug, Clone)]
pub(crate) enum Parcel<Message> {
    Open,
    Message(Message),
    Close,
}

/// Something that will happen. `life` is of the process that waits for it: one that died meanwhile waits for nothing.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Commit {
        party: Party,
        life: u64,
    },
    Space(Party),
    /// A party has one at most.
    Timer(Party),
    Dial {
        party: Party,
        life: u64,
    },
    Up(LinkId, Parcel<ToParent>),
    Down(LinkId, Parcel<ToChild>),
    Lost(LinkId, Side),
    Heal(Party),
    Inventory {
        node: NodeAt,
        life: u64,
        keeper: u64,
    },
    Execute {
        node: NodeAt,
        life: u64,
        op: OpId,
    },
    Answer {
        node: NodeAt,
        life: u64,
        op: OpId,
        result: Result<Outcome, Failure>,
    },
    Ends {
        node: NodeAt,
        pid: u32,
        kind: ExitKind,
    },
    /// The keeper looks at a container whose lease may have ended. There is one for each that runs by a lease.
    LeaseEnds {
        node: NodeAt,
        pid: u32,
    },
    Confess {
        node: NodeAt,
        life: u64,
        pid: u32,
    },
    EndCopy(NodeAt),
    Mishap,
    BootAgent(NodeAt),
    BootKeeper(NodeAt),
    BootMaster(MasterAt),
    Operator,
    Fault,
    Stage,
}
