//! Where instances may and should go, as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;

/// Where instances may and should go.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Placement {
    /// Selector that a node must match, such as `site.tier in (edge,metro), node.memory_mb>=2048`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) require: String,
    /// Selectors whose nodes are preferred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::PREFER_MAX))]
    pub(crate) prefer: Vec<Preference>,
    /// What instances are spread over evenly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::SPREAD_MAX))]
    pub(crate) spread: Vec<Spread>,
    /// Taints of nodes that do not keep the workload away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::TOLERATE_MAX))]
    pub(crate) tolerate: Vec<String>,
    /// Places to be near to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::NEAR_MAX))]
    pub(crate) near: Vec<Near>,
    /// Workloads of the tenant to be beside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::AFFINITY_MAX))]
    pub(crate) affinity: Vec<Affinity>,
    /// Workloads of the tenant to be apart from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = limits::AFFINITY_MAX))]
    pub(crate) anti_affinity: Vec<Affinity>,
}

impl Placement {
    pub(super) fn is_empty(&self) -> bool {
        self.require.is_empty()
            && self.prefer.is_empty()
            && self.spread.is_empty()
            && self.tolerate.is_empty()
            && self.near.is_empty()
            && self.affinity.is_empty()
            && self.anti_affinity.is_empty()
    }
}

/// A soft wish.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Preference {
    /// Selector of the preferred nodes.
    #[serde(rename = "match")]
    pub(crate) matches: String,
    /// How much; a negative weight keeps instances away.
    #[serde(default = "weight")]
    #[schemars(range(min = -limits::WEIGHT_MAX, max = limits::WEIGHT_MAX))]
    pub(crate) weight: i32,
}

/// A wish for evenness.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Spread {
    /// `site`, `node`, or an attribute such as `node.rack`.
    pub(crate) by: String,
    /// Largest difference between two counts; given, it is a must rather than a wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::INSTANCES_MAX))]
    pub(crate) max_skew: Option<u32>,
}

/// A place to be near to: a point or a site.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Near {
    /// Latitude and longitude in degrees, as in `59.91,10.75`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) point: Option<String>,
    /// Name of a site that has a point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub(crate) site: Option<String>,
    /// How much.
    #[serde(default = "weight")]
    #[schemars(range(min = 1, max = limits::WEIGHT_MAX))]
    pub(crate) weight: i32,
}

/// Workloads to be beside or apart from.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Affinity {
    /// Selector of workloads of the tenant, by their labels.
    #[serde(rename = "match")]
    pub(crate) matches: String,
    /// The same or another what: `site`, `node`, or an attribute such as `node.rack`.
    pub(crate) by: String,
    /// How much; a must when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::WEIGHT_MAX))]
    pub(crate) weight: Option<i32>,
}

fn weight() -> i32 {
    limits::DEFAULT_WEIGHT
}
