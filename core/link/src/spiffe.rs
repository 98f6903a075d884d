//! SPIFFE ids: who a certificate speaks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use skerry_types::{IdError, NodeName, RegionName, SiteName};

/// Longest trust domain the SPIFFE standard allows.
const DOMAIN_MAX: usize = 255;
/// Longest user name; the same bound as every other name.
const USER_MAX: usize = 63;

/// Why a text is not an id of this federation's shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Not a `spiffe://` URI.
    #[error("'{text}' does not begin with 'spiffe://'")]
    Scheme {
        /// The text, cut to a readable length.
        text: String,
    },
    /// The trust domain is empty, too long or has a character outside `a-z 0-9 . _ -`.
    #[error("trust domain '{text}' must be 1 to 255 of lower-case letters, digits, '.', '_' and '-'")]
    Domain {
        /// The text, cut to a readable length.
        text: String,
    },
    /// The user name is empty, too long, a dot path or has a character outside `A-Z a-z 0-9 . _ -`.
    #[error("user name '{text}' must be 1 to 63 of letters, digits, '.', '_' and '-', and not '.' or '..'")]
    User {
        /// The text, cut to a readable length.
        text: String,
    },
    /// The path is none of the three shapes.
    #[error("'{text}' is not /region/R, /region/R/site/S/node/N or /user/U")]
    Path {
        /// The path, cut to a readable length.
        text: String,
    },
    /// A name in the path is not one.
    #[error(transparent)]
    Name(#[from] IdError),
}

/// The federation that an id belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// Checks and wraps a trust domain.
    pub fn new(text: impl Into<String>) -> Result<Self, SpiffeError> {
        let text = text.into();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if text.is_empty() || text.len() > DOMAIN_MAX || !text.bytes().all(allowed) {
            return Err(SpiffeError::Domain { text: shown(&text) });
        }
        Ok(Self(text.into_boxed_str()))
    }

    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A person or a tool that operates the federation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(Box<str>);

impl UserName {
    /// Checks and wraps a user name.
    pub fn new(text: impl Into<String>) -> Result<Self, SpiffeError> {
        let text = text.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let dots = text == "." || text == "..";
        if text.is_empty() || text.len() > USER_MAX || dots || !text.bytes().all(allowed) {
            return Err(SpiffeError::User { text: shown(&text) });
        }
        Ok(Self(text.into_boxed_str()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = SpiffeError;
            fn from_str(text: &str) -> Result<Self, SpiffeError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = SpiffeError;
            fn try_from(text: String) -> Result<Self, SpiffeError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into_string()
            }
        }
    };
}

text_type!(TrustDomain);
text_type!(UserName);

/// Who a certificate speaks for: a region's master, a node or a user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SpiffeId {
    /// `spiffe://DOMAIN/region/R`: the master of a region.
    Region {
        /// The federation.
        domain: TrustDomain,
        /// The region.
        region: RegionName,
    },
    /// `spiffe://DOMAIN/region/R/site/S/node/N`: the agent of a node.
    Node {
        /// The federation.
        domain: TrustDomain,
        /// The region that enrolled the node.
        region: RegionName,
        /// The site the node stands in.
        site: SiteName,
        /// The node.
        node: NodeName,
    },
    /// `spiffe://DOMAIN/user/U`: a person or a tool.
    User {
        /// The federation.
        domain: TrustDomain,
        /// The user.
        user: UserName,
    },
}

impl SpiffeId {
    /// The federation that the id belongs to.
    pub fn domain(&self) -> &TrustDomain {
        match self {
            Self::Region { domain, .. } | Self::Node { domain, .. } | Self::User { domain, .. } => domain,
        }
    }

    /// What kind of holder this is, as a word for people: `region`, `node` or `user`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Region { .. } => "region",
            Self::Node { .. } => "node",
            Self::User { .. } => "user",
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region { domain, region } => write!(f, "spiffe://{domain}/region/{region}"),
            Self::Node { domain, region, site, node } => {
                write!(f, "spiffe://{domain}/region/{region}/site/{site}/node/{node}")
            }
            Self::User { domain, user } => write!(f, "spiffe://{domain}/user/{user}"),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| SpiffeError::Scheme { text: shown(text) })?;
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        let domain = TrustDomain::new(domain)?;
        let segments: Vec<&str> = path.split('/').take(7).collect();
        match segments[..] {
            ["region", region] => Ok(Self::Region { domain, region: region.parse()? }),
            ["region", region, "site", site, "node", node] => {
                Ok(Self::Node { domain, region: region.parse()?, site: site.parse()?, node: node.parse()? })
            }
            ["user", user] => Ok(Self::User { domain, user: user.parse()? }),
            _ => Err(SpiffeError::Path { text: shown(path) }),
        }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeError;
    fn try_from(text: String) -> Result<Self, SpiffeError> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

/// Text of a stranger, cut so that an error stays readable.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_shapes_and_nothing_else() {
        let check = |text: &str, good: bool| {
            let parsed = text.parse::<SpiffeId>();
            assert_eq!(parsed.is_ok(), good, "{text}: {parsed:?}");
            if let Ok(id) = parsed {
                assert_eq!(id.to_string(), text);
            }
        };
        check("spiffe://edge.example/region/north", true);
        check("spiffe://edge.example/region/north/site/oslo/node/n1", true);
        check("spiffe://edge.example/user/Ada.L_1-x", true);
        check("spiffe://edge.example/region/north/", false);
        check("spiffe://edge.example/region/north/site/oslo", false);
        check("spiffe://edge.example/region/north/site/oslo/node/n1/x", false);
        check("spiffe://edge.example/region/../site/oslo/node/n1", false);
        check("spiffe://edge.example/user/..", false);
        check("spiffe://edge.example/user/a%2fb", false);
        check("spiffe://edge.example/user/a b", false);
        check("spiffe://edge.example", false);
        check("spiffe:///region/north", false);
        check("spiffe://Edge/region/north", false);
        check("spiffe://edge:1/region/north", false);
        check("https://edge.example/region/north", false);
        check("", false);
    }

    #[test]
    fn lengths_are_bounded() {
        assert!(TrustDomain::new("a".repeat(255)).is_ok());
        assert!(TrustDomain::new("a".repeat(256)).is_err());
        assert!(UserName::new("a".repeat(63)).is_ok());
        assert!(UserName::new("a".repeat(64)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_quietly(text in "(spiffe://)?[a-z./]{0,40}|\\PC{0,80}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn what_is_written_reads_back(region in "[a-z0-9]{1,63}", site in "[a-z0-9]{1,63}", node in "[a-z0-9]{1,63}") {
            let id = SpiffeId::Node {
                domain: TrustDomain::new("edge.example").unwrap(),
                region: region.parse().unwrap(),
                site: site.parse().unwrap(),
                node: node.parse().unwrap(),
            };
            prop_assert_eq!(id.to_string().parse::<SpiffeId>().unwrap(), id);
        }
    }
}
