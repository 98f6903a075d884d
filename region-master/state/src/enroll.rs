//! What children that want to join ask for and are told.

use serde::{Deserialize, Serialize};
use skerry_types::{NodeName, RegionName, SiteName};

/// What somebody with a join token wants to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrollWish {
    /// A node of this region.
    Node {
        /// The name it wants.
        node: NodeName,
        /// The site it wants, if it says so.
        site: Option<SiteName>,
    },
    /// A region below this one.
    Region {
        /// The name it wants.
        region: RegionName,
    },
}

/// A child that may have a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    /// A node.
    Node {
        /// Its name.
        node: NodeName,
        /// Its site.
        site: SiteName,
    },
    /// A region.
    Region {
        /// Its name.
        region: RegionName,
    },
}

/// Why a child may not have a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrollRefusal {
    /// No such token, or the secret is not its.
    #[error("the join token is not known here: make one with 'skerry token create'")]
    TokenUnknown,
    /// It ran out.
    #[error("the join token ran out: make another with 'skerry token create'")]
    TokenExpired,
    /// Enough nodes joined with it.
    #[error(
        "the join token was used {uses} times, as often as it may be: make another with 'skerry token create'"
    )]
    TokenUsedUp {
        /// How often it may be used.
        uses: u32,
    },
    /// The token is for another site.
    #[error("the join token is for site '{site}', not '{wanted}'")]
    OtherSite {
        /// What the node asked for.
        wanted: SiteName,
        /// What the token is for.
        site: SiteName,
    },
    /// The token is for nodes, and a region showed it.
    #[error(
        "the join token is for nodes of site '{site}': make one for a region with 'skerry token create --region'"
    )]
    NotForRegions {
        /// What the token is for.
        site: SiteName,
    },
    /// The token is for a region, and a node showed it.
    #[error("the join token is for a region: make one for nodes with 'skerry token create --site SITE'")]
    NotForNodes,
    /// The token is for another region.
    #[error("the join token is for region '{region}', not '{wanted}'")]
    OtherRegion {
        /// What the region asked for.
        wanted: RegionName,
        /// What the token is for.
        region: RegionName,
    },
    /// Another region of the tree has the name.
    #[error(
        "the tree has a region '{region}' already: choose another name, or remove that one with 'skerry delete region {region}'"
    )]
    RegionNameTaken {
        /// The name.
        region: RegionName,
    },
    /// The region was removed.
    #[error("region '{region}' was removed: join it again with a new token")]
    RegionRemoved {
        /// The name.
        region: RegionName,
    },
    /// Another node has the name.
    #[error(
        "the region has a node '{node}' already: choose another name, or remove that one with 'skerry delete node {node}'"
    )]
    NameTaken {
        /// The name.
        node: NodeName,
    },
    /// The node was removed.
    #[error("node '{node}' was removed from the region: join it again with a new token")]
    Removed {
        /// The name.
        node: NodeName,
    },
    /// A bound of the region.
    #[error("the region holds {count} {what}, the most it may")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
    },
}
