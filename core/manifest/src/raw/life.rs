//! The life of a workload, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skerry_types::show_duration;

use super::scalar;
use crate::limits;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Life {
    #[default]
    Service,
    Job,
    Cron,
    Daemon,
}

impl Life {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Job => "job",
            Self::Cron => "cron",
            Self::Daemon => "daemon",
        }
    }

    /// Whether its runs come to an end.
    pub(crate) fn ends(self) -> bool {
        matches!(self, Self::Job | Self::Cron)
    }
}

/// What happens when a container ends.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Restart {
    /// After which ends it starts again; `always` when absent, and `never` for a job or cron workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<RestartWhen>,
    /// Wait before the first restart; it doubles with each.
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) backoff: String,
    /// Longest wait.
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) max_backoff: String,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: None,
            backoff: show_duration(limits::DEFAULT_BACKOFF),
            max_backoff: show_duration(limits::DEFAULT_MAX_BACKOFF),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RestartWhen {
    Always,
    OnFailure,
    Never,
}

/// How a job is worked off.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Job {
    /// Instances that may run at a time; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::INSTANCES_MAX))]
    pub(crate) parallelism: Option<u32>,
    /// How often a failed instance is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = limits::RETRIES_MAX))]
    pub(crate) retries: Option<u32>,
    /// From its first apply to the end of all instances; as long as it takes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) deadline: Option<String>,
}

/// When a cron workload runs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Schedule {
    /// Minute, hour, day of month, month and day of week, as in `0 3 * * mon-fri`.
    pub(crate) cron: String,
    /// By which clock on the wall: `site` for the site's own, or an IANA name such as `Europe/Oslo`.
    #[serde(default = "site")]
    pub(crate) timezone: String,
    /// What happens when the last run goes on still: both run, the due one is left out, or the older one is ended.
    #[serde(default)]
    pub(crate) overlap: Overlap,
    /// How late a run may start; the newest missed run starts however late when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) starting_deadline: Option<String>,
}

/// The word for the site's own time zone.
pub(crate) const SITE: &str = "site";

/// What stands for no time at all.
pub(crate) const NEVER: &str = "never";

fn site() -> String {
    SITE.to_owned()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overlap {
    Allow,
    #[default]
    Forbid,
    Replace,
}

/// What happens to instances that are not heard from.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct OnDisconnect {
    /// After this long a replacement starts elsewhere, or `never`; `10m` when absent, `never` for a daemon or cron workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = scalar::DURATION_OR_NEVER))]
    pub(crate) replace_after: Option<String>,
    /// Which of the two stays when the node returns.
    pub(crate) on_return: OnReturn,
    /// After this long without a link the node stops the instance itself; `never` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = scalar::DURATION_OR_NEVER))]
    pub(crate) stop_after: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the words of the manifest")]
pub(crate) enum OnReturn {
    #[default]
    KeepOriginal,
    KeepNew,
    KeepHealthiest,
}

/// How the number of a service's instances follows its load: one of cpu, memory and metric is held at its target.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Scale {
    /// Fewest instances.
    #[schemars(range(min = 1, max = limits::INSTANCES_MAX))]
    pub(crate) min: u32,
    /// Most instances.
    #[schemars(range(min = 1, max = limits::INSTANCES_MAX))]
    pub(crate) max: u32,
    /// Part of the reserved processor time that should be used, as in `70%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::percent")]
    pub(crate) cpu: Option<String>,
    /// Part of the reserved memory that should be used, as in `70%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "scalar::percent")]
    pub(crate) memory: Option<String>,
    /// A gauge that instances publish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metric: Option<Metric>,
    /// The number goes down only to the most that was asked for within this time.
    #[serde(default = "stabilization")]
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) stabilization: String,
    /// Most instances added or taken away in one step.
    #[serde(default = "step")]
    #[schemars(range(min = 1, max = limits::INSTANCES_MAX))]
    pub(crate) step: u32,
}

fn stabilization() -> String {
    show_duration(limits::DEFAULT_STABILIZATION)
}

fn step() -> u32 {
    limits::DEFAULT_STEP
}

/// A gauge that instances publish.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Metric {
    /// Its name.
    pub(crate) name: String,
    /// What each instance should have, to three decimals.
    #[schemars(schema_with = "scalar::decimal")]
    pub(crate) value: String,
}
