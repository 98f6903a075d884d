//! Join tokens: one line of text that lets a node find, authenticate and be admitted by a master.
//!
//! `skerry-join.` and base64url of: version (1 byte) | SHA-256 of the root CA certificate (32) | token id (8) | secret (16)
//! | addresses, each a length byte and text | the first 4 bytes of SHA-256 over everything before them. The checksum tells a
//! token that was cut or mistyped from one that is refused.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::certificate::RootHash;

const PREFIX: &str = "skerry-join.";
const VERSION: u8 = 1;
const ID_BYTES: usize = 8;
/// 128 bits cannot be guessed, and every byte makes the line to copy longer.
const SECRET_BYTES: usize = 16;
const SUM_BYTES: usize = 4;
const HEAD_BYTES: usize = 1 + 32 + ID_BYTES + SECRET_BYTES;
/// Longest text that is looked at: the fixed part and a dozen long addresses.
const TEXT_MAX: usize = 4096;
/// Addresses in a token at most.
const ADDRESSES_MAX: usize = 8;

/// Why a text is not a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Does not begin as a token does.
    #[error("not a join token: it must begin with '{PREFIX}'; `skerry token create` prints one")]
    Prefix,
    /// Characters outside the alphabet, or too few bytes for any token.
    #[error("the join token is damaged: {detail}; copy the whole line again")]
    Damaged {
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The checksum differs.
    #[error("the join token was cut or mistyped (its checksum does not match); copy the whole line again")]
    Checksum,
    /// Made by a later version.
    #[error(
        "the join token has format {version}, this program reads format {VERSION}; use a program of the master's version"
    )]
    Version {
        /// Format of the token.
        version: u8,
    },
    /// An address that is empty or does not fit, when making a token.
    #[error(
        "'{address}' cannot be put into a token: an address has 1 to 255 bytes, and there are at most {ADDRESSES_MAX}"
    )]
    Address {
        /// The address.
        address: String,
    },
    /// The system gave no random bytes, when making a token.
    #[error("the system has no random bytes")]
    Random,
}

/// Which token it is: not secret, for listing and revoking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId(pub [u8; ID_BYTES]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let damaged = TokenError::Damaged { detail: "a token id is 16 hex digits" };
        if text.len() != 2 * ID_BYTES || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(damaged);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| damaged)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// What proves the right to join. Never printed; a master keeps only its hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSecret([u8; SECRET_BYTES]);

impl TokenSecret {
    /// What a master keeps and compares. A plain hash is enough for 128 random bits, and comparing hashes tells nothing
    /// through its timing.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        hash
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

/// A join token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The root CA that the master must prove to belong to.
    pub root: RootHash,
    /// Which token it is.
    pub id: TokenId,
    /// The proof.
    pub secret: TokenSecret,
    /// Where masters listen, `host:port`; may be empty, then the node must be told.
    pub addresses: Vec<String>,
}

impl JoinToken {
    /// Makes a token with a random id and secret.
    pub fn generate(root: RootHash, addresses: Vec<String>) -> Result<Self, TokenError> {
        if addresses.len() > ADDRESSES_MAX {
            let address = addresses[ADDRESSES_MAX].clone();
            return Err(TokenError::Address { address });
        }
        if let Some(address) = addresses.iter().find(|a| u8::try_from(a.len()).is_err() || a.is_empty()) {
            let address = address.clone();
            return Err(TokenError::Address { address });
        }
        let mut id = [0; ID_BYTES];
        let mut secret = [0; SECRET_BYTES];
        let random = SystemRandom::new();
        random.fill(&mut id).map_err(|_| TokenError::Random)?;
        random.fill(&mut secret).map_err(|_| TokenError::Random)?;
        Ok(Self { root, id: TokenId(id), secret: TokenSecret(secret), addresses })
    }

    /// The one line that is handed to the node. It is a secret: it is not `Display` so that no log prints it by accident.
    pub fn to_text(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.root.0);
        bytes.extend(self.id.0);
        bytes.extend(self.secret.0);
        for address in &self.addresses {
            // `generate` and `from_str` bound the length to a byte; a longer one would be cut rather than torn.
            let len = u8::try_from(address.len()).unwrap_or(u8::MAX);
            bytes.push(len);
            bytes.extend(address.bytes().take(usize::from(len)));
        }
        bytes.extend(checksum(&bytes));
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let damaged = |detail| TokenError::Damaged { detail };
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if encoded.len() > TEXT_MAX {
            return Err(damaged("it is too long"));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            // A cut in the middle of a group is the most likely cause, and it reads as one.
            .map_err(|_| damaged("it holds a character that no token has, or was cut"))?;
        let (body, sum) = bytes.split_last_chunk::<SUM_BYTES>().ok_or(damaged("it is too short"))?;
        if checksum(body) != *sum {
            return Err(TokenError::Checksum);
        }
        match body.first() {
            Some(&VERSION) => parse_body(body).ok_or(damaged("its parts do not add up")),
            Some(&version) => Err(TokenError::Version { version }),
            None => Err(damaged("it is empty")),
        }
    }
}

fn parse_body(body: &[u8]) -> Option<JoinToken> {
    let (head, mut rest) = body.split_first_chunk::<HEAD_BYTES>()?;
    let (root, tail) = head[1..].split_first_chunk::<32>()?;
    let (id, secret) = tail.split_first_chunk::<ID_BYTES>()?;
    let mut addresses = Vec::new();
    while let Some((&len, after)) = rest.split_first() {
        let (address, after) = after.split_at_checked(usize::from(len))?;
        if address.is_empty() || addresses.len() == ADDRESSES_MAX {
            return None;
        }
        addresses.push(String::from_utf8(address.to_vec()).ok()?);
        rest = after;
    }
    Some(JoinToken {
        root: RootHash(*root),
        id: TokenId(*id),
        secret: TokenSecret(secret.try_into().ok()?),
        addresses,
    })
}

fn checksum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..SUM_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> JoinToken {
        JoinToken {
            root: RootHash([7; 32]),
            id: TokenId([1, 2, 3, 4, 5, 6, 7, 8]),
            secret: TokenSecret([9; SECRET_BYTES]),
            addresses: vec!["master.example:7444".to_owned(), "[2001:db8::1]:7444".to_owned()],
        }
    }

    fn sealed(mut bytes: Vec<u8>) -> String {
        bytes.extend(checksum(&bytes));
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    #[test]
    fn the_text_is_stable() {
        // A token printed by one version must be read by the next.
        let token = JoinToken { addresses: vec![], ..example() };
        let expect =
            "skerry-join.AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAQIDBAUGBwgJCQkJCQkJCQkJCQkJCQkJ";
        let text = token.to_text();
        assert!(text.starts_with(expect), "{text}");
        assert_eq!(text.len(), expect.len() + 6);
        assert_eq!(token.id.to_string(), "0102030405060708");
        assert_eq!("0102030405060708".parse(), Ok(token.id));
        assert!("+102030405060708".parse::<TokenId>().is_err());
    }

    #[test]
    fn every_cut_is_told() {
        let text = example().to_text();
        for end in PREFIX.len()..text.len() {
            let error = text[..end].parse::<JoinToken>().unwrap_err();
            assert!(matches!(error, TokenError::Checksum | TokenError::Damaged { .. }), "{end}: {error}");
        }
        assert_eq!(format!("  {text}\n").parse(), Ok(example()));
    }

    #[test]
    fn each_fault_has_its_words() {
        let check = |text: &str, expect: &str| {
            let error = text.parse::<JoinToken>().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("", "must begin with");
        check("K10abc::server:xyz", "must begin with");
        check("skerry-join.", "too short");
        check("skerry-join.!!!!", "no token has");
        check(&format!("{PREFIX}{}", "A".repeat(5000)), "too long");
        check(&sealed(vec![2; 60]), "format 2");
        check(&sealed(vec![1; 20]), "do not add up");
        check(&sealed([vec![1; HEAD_BYTES], vec![9, b'a']].concat()), "do not add up");
        check(&sealed([vec![1; HEAD_BYTES], vec![0]].concat()), "do not add up");
        check(&example().to_text().replace("AQcH", "AQcI"), "cut or mistyped");
    }

    #[test]
    fn secrets_do_not_leak_into_debug_output() {
        let shown = format!("{:?}", example());
        assert!(shown.contains("TokenSecret(..)"), "{shown}");
    }

    #[test]
    fn making_checks_addresses() {
        let root = RootHash([0; 32]);
        assert!(JoinToken::generate(root, vec!["a".repeat(255)]).is_ok());
        assert!(JoinToken::generate(root, vec!["a".repeat(256)]).is_err());
        assert!(JoinToken::generate(root, vec![String::new()]).is_err());
        assert!(JoinToken::generate(root, vec!["a:1".to_owned(); 9]).is_err());
        let one = JoinToken::generate(root, vec![]).unwrap();
        let two = JoinToken::generate(root, vec![]).unwrap();
        assert_ne!(one.secret, two.secret);
        assert_ne!(one.id, two.id);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(root in any::<[u8; 32]>(), id in any::<[u8; 8]>(), secret in any::<[u8; 16]>(),
            addresses in proptest::collection::vec("[a-z0-9.:]{1,40}", 0..8)) {
            let token = JoinToken { root: RootHash(root), id: TokenId(id), secret: TokenSecret(secret), addresses };
            prop_assert_eq!(token.to_text().parse::<JoinToken>().unwrap(), token);
        }

        #[test]
        fn any_text_fails_quietly(text in "(skerry-join\\.)?[A-Za-z0-9_=-]{0,120}|\\PC{0,60}") {
            prop_assert!(text.parse::<JoinToken>().is_err());
        }

        #[test]
        fn any_sealed_body_is_total(body in proptest::collection::vec(any::<u8>(), 0..120)) {
            let text = sealed(body);
            if let Ok(token) = text.parse::<JoinToken>() {
                prop_assert_eq!(token.to_text(), text);
            }
        }
    }
}
