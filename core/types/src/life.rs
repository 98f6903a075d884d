//! The life of a workload after it is placed: health, updates, disconnection, schedules, scale.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::PortName;

/// How a node looks whether a container is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What is done.
    pub check: ProbeCheck,
    /// From the end of one look to the beginning of the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Failures in a row after which the container counts as not well: 1 at least.
    pub failures: u32,
    /// From its start, a container that never was well is not judged for this long.
    pub grace: Duration,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeCheck {
    /// `GET path` on the port answers with a status of 200 to 399.
    Http {
        /// A declared port.
        port: PortName,
        /// Path and query, from `/`.
        path: String,
    },
    /// A connection to the port is taken.
    Tcp {
        /// A declared port.
        port: PortName,
    },
    /// A command in the container ends with code 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// Probes of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// A container that is not well by this one is ended, and starts again as its policy says. It is ready only while well.
    pub health: Option<Probe>,
    /// A container that is not well by this one is not ready, and is left alone.
    pub ready: Option<Probe>,
}

/// How a job is worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPolicy {
    /// Instances that may run at a time: 1 at least.
    pub parallelism: u32,
    /// How often a failed instance is tried again.
    pub retries: u32,
    /// From its first apply to the end of all; `None` for as long as it takes.
    pub deadline: Option<Duration>,
}

/// When the instances of a `cron` workload run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Five fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// By which clock on the wall.
    pub timezone: TimeZone,
    /// What happens when the last run goes on still.
    pub overlap: Overlap,
    /// How late a run may start; one that is missed by more is left out. `None`: however late, the newest one only.
    pub starting_deadline: Option<Duration>,
}

/// By which clock on the wall a schedule goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeZone {
    /// The site's own.
    Site,
    /// An IANA name such as `Europe/Oslo`.
    Named(String),
}

/// What happens when a run is due while the last one goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    /// Both run.
    Allow,
    /// The due one is left out.
    Forbid,
    /// The older one is ended.
    Replace,
}

/// How a workload goes from one generation to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatePolicy {
    /// Instances that may be down at a time.
    pub max_unavailable: u32,
    /// Instances that may run beside the count at a time.
    pub max_surge: u32,
    /// Instances that go first and are waited for; zero for none.
    pub canary: u32,
    /// Whether well canaries are followed by the rest without being told.
    pub auto_promote: bool,
    /// Whether a failed update goes back to the last generation that was well.
    pub auto_revert: bool,
    /// How long an instance must be ready to count as well.
    pub min_healthy: Duration,
    /// How long an update may go without another instance becoming well.
    pub deadline: Duration,
    /// The order in which the fleet goes; one wave of everything when empty.
    pub waves: Vec<Wave>,
    /// Failed members, in hundredths of those that were tried, at which a fleet's update stops: 1 to 100.
    pub abort_percent: u32,
    /// When members may be touched, by their site's clock; at any time when `None`.
    pub window: Option<Window>,
    /// Members of one site that may be under way at a time; `None` for no bound but `max_unavailable`.
    pub per_site: Option<u32>,
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self {
            max_unavailable: 1,
            max_surge: 0,
            canary: 0,
            auto_promote: true,
            auto_revert: false,
            min_healthy: Duration::ZERO,
            deadline: Duration::from_mins(10),
            waves: Vec::new(),
            abort_percent: 100,
            window: None,
            per_site: None,
        }
    }
}

/// A part of a fleet that is updated before the next part begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Members on nodes that match; all when empty.
    pub matches: crate::Selector,
    /// How many of them.
    pub size: WaveSize,
    /// How long all of it must be well before the next wave begins.
    pub healthy_for: Duration,
}

/// How much of what matches is in a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaveSize {
    /// As many.
    Count(u32),
    /// Hundredths, rounded up: 1 to 100.
    Percent(u32),
}

/// A time of day at which members may be touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Bit 0 is Monday, bit 6 is Sunday.
    pub days: u8,
    /// Minute of the day at which it opens.
    pub from_minute: u16,
    /// Minutes that it is open, into the next day if need be: 1 to 1440.
    pub minutes: u16,
}

/// What happens to instances whose node or region is not heard from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDisconnect {
    /// After this long a replacement starts elsewhere; `None`: never.
    pub replace_after: Option<Duration>,
    /// Which of the two stays when the node returns.
    pub on_return: OnReturn,
    /// After this long without a link the node stops the instance itself; `None`: never.
    pub stop_after: Option<Duration>,
}

/// Which of two stays when a node returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnReturn {
    /// The one that was cut off, if it is well; else the other.
    #[default]
    KeepOriginal,
    /// The replacement, if it is well; else the other.
    KeepNew,
    /// The one that is well; of two, the one that ran longer.
    KeepHealthiest,
}

/// How the count of a service follows its load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Fewest instances.
    pub min: u32,
    /// Most instances.
    pub max: u32,
    /// What is held at its target.
    pub target: ScaleTarget,
    /// The count goes down only to the most that was asked for within this time.
    pub stabilization: Duration,
    /// Most instances added or taken away in one step.
    pub step: u32,
}

/// What scaling holds at its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScaleTarget {
    /// Hundredths of the requested processor time, over all instances.
    Cpu(u32),
    /// Hundredths of the requested memory, over all instances.
    Memory(u32),
    /// A gauge that instances publish: its sum over all instances for each instance, in thousandths.
    Metric {
        /// Its name.
        name: String,
        /// What each instance should have.
        value_milli: u64,
    },
}

/// How far a region may take its part of a workload to the share's generation. The workload's owner decides that for all regions; one
/// that is cut off goes on within what it was last told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Whether anything may move.
    pub hold: Hold,
    /// Instances that may go first; only they until `promoted`.
    pub canaries: u32,
    /// Whether the others may follow.
    pub promoted: bool,
    /// Waves that may go, counted from the first.
    pub waves: u32,
    /// How many members of the region each wave takes, from the first; those of later waves are not dealt out yet.
    pub sizes: Vec<u32>,
    /// Instances of a job that may run at a time.
    pub parallelism: u32,
    /// Whether it takes back a generation that failed, so that there is nothing to go back to.
    pub reverts: bool,
}

/// Whether a move goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// It does.
    Moves,
    /// An operator holds it.
    Paused,
    /// It was given up: what has moved stays, nothing more moves.
    GivenUp,
}

impl Leave {
    /// No bound but those of the workload's own policy in each region.
    pub const FREE: Self = Self {
        hold: Hold::Moves,
        canaries: 0,
        promoted: true,
        waves: u32::MAX,
        sizes: Vec::new(),
        parallelism: u32::MAX,
        reverts: false,
    };
}

impl Default for Leave {
    fn default() -> Self {
        Self::FREE
    }
}

/// How far a region is with its part of a workload, the regions below it included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartProgress {
    /// Instances.
    pub total: u32,
    /// Those with a copy of the share's generation.
    pub updated: u32,
    /// Those that may move, or have, and are not well yet.
    pub under_way: u32,
    /// Those whose copy has been ready for `min_healthy`.
    pub settled: u32,
    /// Those that are not heard from and have not moved.
    pub deferred: u32,
    /// Those whose copy fails.
    pub failed: u32,
    /// Those that wait for their maintenance window.
    pub waiting: u32,
    /// Whether all canaries that it was given are well.
    pub canaries_well: bool,
    /// Waves, counted from the first, whose members here have been well for as long as the wave asks.
    pub waves_done: u32,
    /// Whom the first wave that is not dealt out could take here; `None` while that is not known.
    pub matching: Option<WaveMembers>,
    /// Whether nothing is left to do, but for those that are not heard from for longer than a moment.
    pub done: bool,
}

/// Members that a wave could take: they match it, and are in none before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveMembers {
    /// Which wave, from 0: as many as have been dealt out.
    pub wave: u32,
    /// How many there are.
    pub members: u32,
}
