//! How a workload goes from one generation to the next, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skerry_types::{UpdatePolicy, show_duration};

use super::scalar;
use crate::limits;

/// How it goes from one generation to the next.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Update {
    /// In which manner: instances are replaced some at a time.
    pub(crate) strategy: Strategy,
    /// Instances that may be down at a time.
    #[schemars(range(min = 0, max = limits::INSTANCES_MAX))]
    pub(crate) max_unavailable: u32,
    /// Instances that may run beside the asked number at a time.
    #[schemars(range(min = 0, max = limits::INSTANCES_MAX))]
    pub(crate) max_surge: u32,
    /// Instances that go first and are waited for.
    #[schemars(range(min = 0, max = limits::INSTANCES_MAX))]
    pub(crate) canary: u32,
    /// Whether well canaries are followed by the rest without being told.
    pub(crate) auto_promote: bool,
    /// Whether a failed update goes back to the last generation that was well.
    pub(crate) auto_revert: bool,
    /// How long an instance must be ready to count as well: 3s when absent and every container has a probe, 10s otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) min_healthy: Option<String>,
    /// How long an update may go without another instance becoming well.
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) deadline: String,
    /// The order in which a fleet goes; everything at once when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::WAVES_MAX))]
    pub(crate) waves: Vec<Wave>,
    /// Failures, in hundredths of what was tried, at which a fleet's update stops.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) abort_percent: u32,
    /// When instances may be touched, by their site's clock; at any time when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<Window>,
    /// Instances of one site that may be under way at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::INSTANCES_MAX))]
    pub(crate) per_site: Option<u32>,
}

impl Default for Update {
    fn default() -> Self {
        let policy = UpdatePolicy::default();
        Self {
            strategy: Strategy::Rolling,
            max_unavailable: policy.max_unavailable,
            max_surge: policy.max_surge,
            canary: policy.canary,
            auto_promote: policy.auto_promote,
            auto_revert: policy.auto_revert,
            min_healthy: None,
            deadline: show_duration(policy.deadline),
            waves: Vec::new(),
            abort_percent: policy.abort_percent,
            window: None,
            per_site: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Strategy {
    Rolling,
}

/// A part of a fleet that is updated before the next part begins.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Wave {
    /// Selector of nodes; all when absent.
    #[serde(rename = "match", default, skip_serializing_if = "String::is_empty")]
    pub(crate) matches: String,
    /// How many instances on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::INSTANCES_MAX))]
    pub(crate) count: Option<u32>,
    /// How many hundredths of them; all when neither is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) percent: Option<u32>,
    /// How long all of it must be well before the next wave begins.
    #[serde(default = "zero")]
    #[schemars(regex(pattern = scalar::DURATION))]
    pub(crate) healthy_for: String,
}

fn zero() -> String {
    "0s".to_owned()
}

/// A time of day.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Window {
    /// Days of the week on which it opens; all when absent.
    #[serde(default = "every_day")]
    #[schemars(length(min = 1, max = 7))]
    pub(crate) days: Vec<Day>,
    /// When it opens, as in `02:00`.
    #[schemars(schema_with = "scalar::time_of_day")]
    pub(crate) from: String,
    /// When it closes, on the next day if that comes earlier; a whole day later if it is the same.
    #[schemars(schema_with = "scalar::time_of_day")]
    pub(crate) to: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    pub(crate) const ALL: [Self; 7] =
        [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];
}

fn every_day() -> Vec<Day> {
    Day::ALL.to_vec()
}
