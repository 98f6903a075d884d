//! Length-prefixed frames and the values inside them.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest payload of one frame in bytes. A page of [`crate::Reply::Containers`] is cut to fit, and every other
/// message is smaller by the limits of its parts.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

const PREFIX_BYTES: usize = 4;

/// Why bytes are not a frame, or a frame is not a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The length prefix, or a value to be sent, passes [`MAX_FRAME_BYTES`].
    #[error("a frame of {bytes} bytes passes the limit of {MAX_FRAME_BYTES}")]
    TooLong {
        /// The length asked for.
        bytes: usize,
    },
    /// The payload is not a value of the expected type.
    #[error("a frame does not hold the expected message")]
    Malformed(#[source] postcard::Error),
    /// Bytes are left after the value.
    #[error("a frame holds {bytes} bytes after its message")]
    Trailing {
        /// How many bytes are left.
        bytes: usize,
    },
}

/// The bytes of `message` as one frame, length prefix included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, vec![0; PREFIX_BYTES]).map_err(FrameError::Malformed)?;
    let bytes = frame.len() - PREFIX_BYTES;
    let length = u32::try_from(bytes).map_err(|_| FrameError::TooLong { bytes })?;
    if bytes > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong { bytes });
    }
    frame[..PREFIX_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// The message in the payload of a frame; bytes left over are an error.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    let (message, rest) = postcard::take_from_bytes(payload).map_err(FrameError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(FrameError::Trailing { bytes: rest.len() }) }
}

/// Collects the bytes of a stream and cuts them into payloads.
///
/// It holds at most what was pushed and not yet taken; a caller that takes every payload after each push stays below
/// one frame plus one push.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    taken: usize,
}

impl FrameBuffer {
    /// Adds bytes as they came from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole payload, or `None` until more bytes are pushed.
    ///
    /// An error is final: the stream has lost its framing and is to be closed.
    pub fn next_payload(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let pending = &self.bytes[self.taken..];
        let Some((prefix, rest)) = pending.split_first_chunk::<PREFIX_BYTES>() else {
            self.release();
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        if bytes > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong { bytes });
        }
        if rest.len() < bytes {
            return Ok(None);
        }
        let start = self.taken + PREFIX_BYTES;
        self.taken = start + bytes;
        Ok(Some(&self.bytes[start..start + bytes]))
    }

    /// Gives memory back once everything was taken, so that an idle connection holds none.
    fn release(&mut self) {
        if self.taken == self.bytes.len() {
            self.bytes = Vec::new();
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn length_is_checked_before_the_payload_is_there() {
        let mut buffer = FrameBuffer::default();
        buffer.push(&(u32::try_from(MAX_FRAME_BYTES).unwrap() + 1).to_le_bytes());
        assert_eq!(buffer.next_payload(), Err(FrameError::TooLong { bytes: MAX_FRAME_BYTES + 1 }));
    }

    #[test]
    fn largest_frame_passes_and_one_more_byte_does_not() {
        // A byte vector of this length costs three bytes of length in postcard.
        let fits = vec![7_u8; MAX_FRAME_BYTES - 3];
        assert_eq!(encode(&fits).unwrap().len(), MAX_FRAME_BYTES + 4);
        let over = vec![7_u8; MAX_FRAME_BYTES - 2];
        assert_eq!(encode(&over), Err(FrameError::TooLong { bytes: MAX_FRAME_BYTES + 1 }));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(decode::<u8>(&[1, 2]), Err(FrameError::Trailing { bytes: 1 }));
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_payloads(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            step in 1_usize..16,
        ) {
            let stream: Vec<u8> = values.iter().flat_map(|v| encode(v).unwrap()).collect();
            let mut buffer = FrameBuffer::default();
            let mut got: Vec<Vec<u8>> = Vec::new();
            for piece in stream.chunks(step) {
                buffer.push(piece);
                while let Some(payload) = buffer.next_payload().unwrap() {
                    got.push(decode(payload).unwrap());
                }
            }
            prop_assert_eq!(got, values);
            prop_assert_eq!(buffer.bytes.capacity(), 0);
        }
    }
}
