//! A site as it is written.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Scalar, api_version, is_false, scalar};
use crate::limits;

/// A site: where its nodes are, and what its link is like.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Site {
    /// The version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(schema_with = "api_version")]
    pub(crate) api_version: String,
    /// What the document describes.
    #[schemars(schema_with = "kind")]
    pub(crate) kind: String,
    /// Its name and labels.
    pub(crate) metadata: Metadata,
    /// Where it is, and what its link is like.
    #[serde(default)]
    pub(crate) spec: SiteSpec,
}

fn kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["Site"] })
}

/// Its name and labels.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// Name: a DNS label, unique in its region.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub(crate) name: String,
    /// Labels; placement sees them as `site.LABEL`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::LABELS_MAX))]
    pub(crate) labels: BTreeMap<String, Scalar>,
}

/// Where a site is, and what its link is like.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct SiteSpec {
    /// IANA time zone such as `Europe/Oslo`; UTC when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timezone: Option<String>,
    /// Latitude and longitude in degrees, as in `59.91,10.75`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) point: Option<String>,
    /// What its link to the rest of the federation is like.
    #[serde(skip_serializing_if = "Link::is_default")]
    pub(crate) link: Link,
}

/// What a site's link to the rest of the federation is like.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct Link {
    /// Whether traffic is paid for by amount.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) metered: bool,
    /// What a megabyte costs, to six decimals of any unit of money that is the same for all sites.
    #[schemars(schema_with = "scalar::decimal")]
    pub(crate) cost_per_mb: String,
}

impl Default for Link {
    fn default() -> Self {
        Self { metered: false, cost_per_mb: "0".to_owned() }
    }
}

impl Link {
    fn is_default(&self) -> bool {
        !self.metered && self.cost_per_mb == "0"
    }
}
