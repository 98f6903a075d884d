//! Postcard with bounds.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that nearly every row fits into: what grows to it step by step is copied at each.
const USUAL: usize = 256;

/// Why bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the caller allows.
    #[error("{len} bytes where at most {max} are allowed")]
    TooLong {
        /// How many bytes there are.
        len: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Not an encoding of the expected type: damaged, or of a version that this one does not know.
    #[error("not a {wanted}: {source}")]
    Malformed {
        /// The type that was expected.
        wanted: &'static str,
        /// What postcard found.
        #[source]
        source: postcard::Error,
    },
    /// A whole value, and something behind it.
    #[error("{extra} bytes behind a whole {wanted}")]
    Trailing {
        /// The type that was expected.
        wanted: &'static str,
        /// How many bytes are left over.
        extra: usize,
    },
}

/// Encodes a value.
///
/// # Panics
/// When the type has a shape that postcard cannot encode, which is a mistake in the program and not in its input.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, Vec::with_capacity(USUAL)).expect("wire types are plain data of known length")
}

/// Decodes a value that fills `bytes`, which may be `max` long.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, DecodeError> {
    let wanted = std::any::type_name::<T>().rsplit("::").next().unwrap_or("value");
    if bytes.len() > max {
        return Err(DecodeError::TooLong { len: bytes.len(), max });
    }
    let (value, rest) =
        postcard::take_from_bytes(bytes).map_err(|source| DecodeError::Malformed { wanted, source })?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::Trailing { wanted, extra: rest.len() }) }
}
