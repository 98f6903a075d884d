//! The two messages. Postcard enums: variants are only appended, and no variant changes its shape.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skerry_types::{NodeName, RegionName, SiteName, WallTime};

use crate::token::{TokenId, TokenSecret};

/// Longest request or answer: a chain and roots of eight certificates of 1 KiB each, twice over.
pub(crate) const MESSAGE_MAX: usize = 16 * 1024;
/// How long each side waits for the other's message; enough for a round trip of 2 s with losses. The master's brain commits to
/// its store in between.
pub(crate) const MESSAGE_WAIT: Duration = Duration::from_secs(20);

/// What a node or a region asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Call {
    /// A first certificate.
    Join { token: TokenId, secret: TokenSecret, csr_der: Vec<u8>, node: NodeName, site: Option<SiteName> },
    /// Another certificate for the key of the one that is shown in the handshake.
    Renew { csr_der: Vec<u8> },
    /// A CA certificate for a region.
    JoinRegion { token: TokenId, secret: TokenSecret, csr_der: Vec<u8>, region: RegionName },
    /// Another CA certificate for the key of the CA that signed the certificate that is shown in the handshake.
    RenewRegion { csr_der: Vec<u8> },
}

/// What the master answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Granted(Grant),
    Refused(Refusal),
}

/// A certificate, and what its holder needs besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The chain as DER, leaf first, root left out.
    pub chain: Vec<Vec<u8>>,
    /// The federation's roots as DER.
    pub roots: Vec<Vec<u8>>,
    /// The master's time.
    pub master_time: WallTime,
}

/// A no, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The kind, for programs.
    pub kind: RefusalKind,
    /// Particulars for people; may be empty.
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printable: String =
            self.detail.chars().take(512).map(|c| if c.is_control() { ' ' } else { c }).collect();
        match printable.as_str() {
            "" => write!(f, "{}", self.kind),
            detail => write!(f, "{} ({detail})", self.kind),
        }
    }
}

macro_rules! refusal_kinds {
    ($($(#[$doc:meta])* $name:ident => $text:literal;)*) => {
        /// Why a master gives no certificate.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum RefusalKind {
            $($(#[$doc])* $name,)*
        }

        impl fmt::Display for RefusalKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }

        #[cfg(test)]
        const ALL_KINDS: &[RefusalKind] = &[$(RefusalKind::$name,)*];
    };
}

refusal_kinds! {
    /// No such token, or its secret does not match; which of both is not said.
    TokenWrong => "the join token is not one of this master's: create one with `skerry token create`";
    /// Its time is over.
    TokenExpired => "the join token has expired: create one with `skerry token create`";
    /// All its uses are taken.
    TokenUsedUp => "the join token is used up: create one with `skerry token create`, or with more --uses";
    /// It is for another site.
    TokenForAnotherSite => "the join token is for another site";
    /// Another node has the name.
    NameTaken => "a node of this name is enrolled with another key: choose another name, or delete that node first";
    /// A renewal with another key than the certificate's.
    KeyChanged => "a certificate is only renewed for the same key: join again with a new token";
    /// A renewal without a node's certificate of this region.
    NotANode => "only a node of this region may renew: join with a token";
    /// The node was deleted, or its certificate revoked.
    NodeUnknown => "this node is not known any more: join again with a new token";
    /// Too many requests from this node.
    TooOften => "too many requests: try again later";
    /// The request is not understood.
    Malformed => "the request is not understood: are agent and master of the same version?";
    /// The master cannot issue at present.
    Unavailable => "the master cannot issue certificates at present: try again later";
    /// A region showed a token for nodes.
    TokenForNodes => "the join token is for nodes: create one with `skerry token create --region`";
    /// A node showed a token for regions.
    TokenForRegions => "the join token is for a region: create one with `skerry token create --site SITE`";
    /// It is for another region.
    TokenForAnotherRegion => "the join token is for another region";
    /// The tree of regions has the name already.
    RegionTaken => "the tree has a region of this name already: choose another name, or delete that region first";
    /// The region was removed.
    RegionUnknown => "this region is not known any more: join again with a new token";
    /// A renewal by somebody who is not a region right below.
    NotAChildRegion => "only a region right below this one may renew here";
    /// Below this region is no room for another level.
    TooDeep => "the tree of regions is as deep as it may be: join a region further up";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{decode, encode};

    fn check_golden<T>(message: &T, expect: &[u8])
    where
        T: Serialize + serde::de::DeserializeOwned + PartialEq + fmt::Debug,
    {
        let frame = encode(message, MESSAGE_MAX).unwrap();
        assert_eq!(&frame[4..], expect, "{message:?}");
        assert_eq!(&decode::<T>(expect).unwrap(), message);
    }

    #[test]
    fn every_variant_keeps_its_bytes() {
        let token = crate::JoinToken::generate(crate::RootHash([7; 32]), vec![]).unwrap();
        let mut join = vec![0];
        join.extend(token.id.0);
        join.extend(postcard::to_stdvec(&token.secret).unwrap());
        join.extend([2, 0x30, 0x00, 2, b'n', b'1', 1, 4, b'o', b's', b'l', b'o']);
        check_golden(
            &Call::Join {
                token: token.id,
                secret: token.secret,
                csr_der: vec![0x30, 0],
                node: "n1".parse().unwrap(),
                site: Some("oslo".parse().unwrap()),
            },
            &join,
        );
        assert_eq!(join.len(), 1 + 8 + 16 + 12);
        check_golden(&Call::Renew { csr_der: vec![0x30, 0] }, &[1, 2, 0x30, 0]);
        let token = crate::JoinToken::generate(crate::RootHash([7; 32]), vec![]).unwrap();
        let mut join = vec![2];
        join.extend(token.id.0);
        join.extend(postcard::to_stdvec(&token.secret).unwrap());
        join.extend([2, 0x30, 0x00, 5, b'n', b'o', b'r', b't', b'h']);
        let region = "north".parse().unwrap();
        let (id, secret, csr_der) = (token.id, token.secret, vec![0x30, 0]);
        check_golden(&Call::JoinRegion { token: id, secret, csr_der, region }, &join);
        check_golden(&Call::RenewRegion { csr_der: vec![0x30, 0] }, &[3, 2, 0x30, 0]);
        check_golden(
            &Answer::Granted(Grant {
                chain: vec![vec![1], vec![2, 3]],
                roots: vec![vec![4]],
                master_time: WallTime(300),
            }),
            &[0, 2, 1, 1, 2, 2, 3, 1, 1, 4, 0xac, 0x02],
        );
        for (index, kind) in ALL_KINDS.iter().enumerate() {
            let refusal = Refusal { kind: *kind, detail: "x".to_owned() };
            check_golden(&Answer::Refused(refusal), &[1, u8::try_from(index).unwrap(), 1, b'x']);
        }
    }

    #[test]
    fn a_refusal_is_safe_to_print() {
        let refusal = Refusal { kind: RefusalKind::NameTaken, detail: "n1\x1b[2J\n".to_owned() };
        let text = refusal.to_string();
        assert!(text.ends_with("(n1 [2J )"), "{text}");
    }
}
