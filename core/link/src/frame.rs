//! Frames: a length (4 bytes, little-endian) and that many bytes of postcard.

use std::sync::Arc;

use quinn::{ReadError, RecvStream, SendStream, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::close::LinkLost;

/// Longest frame that any stream takes. A row's value is at most 256 KiB: a frame holds three of the largest with their keys,
/// or thousands of ordinary ones, and one connection never makes its reader hold more than this.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

const HEAD_BYTES: usize = 4;
/// Buffers above this are given back between frames, so that an idle stream holds next to nothing: a master has ten thousand.
const KEPT_BUFFER_BYTES: usize = 128;

/// Why a frame could not be sent or received. Every variant ends the use of the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than its reader or writer allows.
    #[error("a frame of {len} bytes, at most {max} are allowed here")]
    TooLong {
        /// Length of the frame.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The bytes are not the message that belongs here.
    #[error("a frame of {len} bytes is not a message that belongs here: {detail}")]
    Malformed {
        /// Length of the frame.
        len: usize,
        /// What the decoder said.
        detail: String,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Cut,
    /// Nothing came in time.
    #[error("no frame came in time")]
    TimedOut,
    /// A message that cannot be encoded.
    #[error("a message cannot be encoded: {detail}")]
    Unencodable {
        /// What the encoder said.
        detail: String,
    },
    /// The other side gave this one stream up, with its code.
    #[error("the other side gave the stream up with code {code}")]
    StreamReset {
        /// The other side's code.
        code: u64,
    },
    /// This side closed the stream before.
    #[error("the stream was closed by this side")]
    StreamClosed,
    /// The connection is gone.
    #[error(transparent)]
    Lost(#[from] LinkLost),
}

/// Encodes one message with its length.
pub(crate) fn encode<T: Serialize + ?Sized>(message: &T, max: usize) -> Result<Vec<u8>, FrameError> {
    let body = postcard::to_stdvec(message)
        .map_err(|error| FrameError::Unencodable { detail: error.to_string() })?;
    let too_long = FrameError::TooLong { len: body.len(), max };
    let head = match u32::try_from(body.len()) {
        Ok(len) if body.len() <= max => len.to_le_bytes(),
        _ => return Err(too_long),
    };
    let mut frame = Vec::with_capacity(HEAD_BYTES + body.len());
    frame.extend(head);
    frame.extend(body);
    Ok(frame)
}

/// Decodes the body of one frame; all of it must be used.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let malformed = |detail: String| FrameError::Malformed { len: body.len(), detail };
    match postcard::take_from_bytes::<T>(body) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(malformed(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// Collects the bytes of one frame, in whatever pieces they come. Length is checked before anything is kept, and the buffer
/// grows with what has arrived, not with what was announced.
#[derive(Debug, Default)]
struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Bytes still missing, or none when the frame is whole.
    fn missing(&self, max: usize) -> Result<usize, FrameError> {
        let Some((head, body)) = self.bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(HEAD_BYTES - self.bytes.len());
        };
        let len = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if len > max {
            return Err(FrameError::TooLong { len, max });
        }
        Ok(len - body.len())
    }

    /// Whether the head is there, so that `missing` speaks of the body.
    fn has_head(&self) -> bool {
        self.bytes.len() >= HEAD_BYTES
    }

    /// Decodes the whole frame and makes room for the next.
    fn take<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        let message = decode(&self.bytes[HEAD_BYTES..]);
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BUFFER_BYTES {
            self.bytes = Vec::new();
        }
        message
    }
}

/// The receiving half of a stream of frames.
#[derive(Debug)]
pub struct FramedReceiver {
    stream: RecvStream,
    partial: Assembly,
}

impl FramedReceiver {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, partial: Assembly::default() }
    }

    /// The next message, or `None` when the other side finished the stream after a whole frame.
    ///
    /// `max` is the longest frame in bytes that makes sense here; [`MAX_FRAME_BYTES`] bounds it. Cancel-safe: what has
    /// arrived stays in the receiver, so it may be one branch of a `select!`.
    pub async fn recv<T: DeserializeOwned>(&mut self, max: usize) -> Result<Option<T>, FrameError> {
        let max = max.min(MAX_FRAME_BYTES);
        loop {
            let missing = self.partial.missing(max)?;
            if missing == 0 && self.partial.has_head() {
                return self.partial.take().map(Some);
            }
            match self.stream.read_chunk(missing, true).await.map_err(read_error)? {
                Some(chunk) => self.partial.bytes.extend_from_slice(&chunk.bytes),
                None if self.partial.bytes.is_empty() => return Ok(None),
                None => return Err(FrameError::Cut),
            }
        }
    }

    /// The raw stream, for a body of bytes that follows the frames. It stands exactly after the last message received.
    ///
    /// Not to be called between a cancelled `recv` and the next: bytes of the partial frame would be lost.
    pub fn into_stream(self) -> RecvStream {
        self.stream
    }
}

/// The sending half of a stream of frames.
#[derive(Debug)]
pub struct FramedSender {
    stream: SendStream,
    queue: Vec<u8>,
    sent: usize,
    told: Option<Arc<Notify>>,
}

impl FramedSender {
    pub(crate) fn new(stream: SendStream) -> Self {
        Self { stream, queue: Vec::new(), sent: 0, told: None }
    }

    /// Tells `told` each time that something is sent.
    pub(crate) fn telling(stream: SendStream, told: Arc<Notify>) -> Self {
        Self { told: Some(told), ..Self::new(stream) }
    }

    /// Sends one message; returns when QUIC has taken all of it, which waits while the other side does not read.
    ///
    /// Cancel-safe in this sense: once polled, the frame is queued whole and a cancelled call leaves its rest to the next
    /// `send` or [`flush`](Self::flush), so that no frame is ever torn. At most two frames of the largest size are queued
    /// that way; beyond that the call fails with [`FrameError::TooLong`].
    pub async fn send<T: Serialize + ?Sized>(&mut self, message: &T) -> Result<(), FrameError> {
        let frame = encode(message, MAX_FRAME_BYTES)?;
        let max = 2 * (HEAD_BYTES + MAX_FRAME_BYTES);
        let len = self.queue.len() - self.sent + frame.len();
        if len > max {
            return Err(FrameError::TooLong { len, max });
        }
        if self.queue.is_empty() {
            self.queue = frame;
        } else {
            self.queue.extend(frame);
        }
        self.flush().await
    }

    /// Hands what a cancelled `send` left over to QUIC. Cancel-safe.
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        if let Some(told) = &self.told {
            told.notify_one();
        }
        while self.sent < self.queue.len() {
            self.sent += self.stream.write(&self.queue[self.sent..]).await.map_err(write_error)?;
        }
        self.sent = 0;
        // The next frame comes with a buffer of its own.
        self.queue = Vec::new();
        Ok(())
    }

    /// Tells the other side that nothing more follows. What was sent is still delivered.
    pub fn finish(&mut self) -> Result<(), FrameError> {
        self.stream.finish().map_err(|_| FrameError::StreamClosed)
    }

    /// Waits until the other side has received everything after [`finish`](Self::finish), or gave the stream up.
    pub async fn delivered(&mut self) -> Result<(), FrameError> {
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(FrameError::StreamReset { code: code.into_inner() }),
            Err(error) => Err(write_error(error.into())),
        }
    }

    /// The raw stream, for a body of bytes that follows the frames. Flushes nothing: call it after a `send` that returned.
    pub fn into_stream(self) -> SendStream {
        self.stream
    }
}

fn read_error(error: ReadError) -> FrameError {
    match error {
        ReadError::Reset(code) => FrameError::StreamReset { code: code.into_inner() },
        ReadError::ConnectionLost(lost) => FrameError::Lost(lost.into()),
        // The others are about 0-RTT and unordered reads, which this crate never uses.
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            FrameError::StreamClosed
        }
    }
}

fn write_error(error: WriteError) -> FrameError {
    match error {
        WriteError::Stopped(code) => FrameError::StreamReset { code: code.into_inner() },
        WriteError::ConnectionLost(lost) => FrameError::Lost(lost.into()),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => FrameError::StreamClosed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Message {
        Text(String),
        Rows(Vec<(u64, Vec<u8>)>),
    }

    /// Feeds the bytes in pieces as a stream would.
    fn read_all(bytes: &[u8], piece: usize, max: usize) -> Result<Vec<Message>, FrameError> {
        let mut assembly = Assembly::default();
        let mut messages = Vec::new();
        let mut rest = bytes;
        loop {
            let missing = assembly.missing(max)?;
            if missing == 0 && assembly.has_head() {
                messages.push(assembly.take()?);
                continue;
            }
            if rest.is_empty() {
                return if assembly.bytes.is_empty() { Ok(messages) } else { Err(FrameError::Cut) };
            }
            let (now, later) = rest.split_at(missing.min(piece).min(rest.len()));
            assembly.bytes.extend_from_slice(now);
            rest = later;
        }
    }

    #[test]
    fn lengths_are_checked_before_anything_is_kept() {
        let check = |bytes: &[u8], expect: &str| {
            let error = read_all(bytes, 3, 100).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(&u32::MAX.to_le_bytes(), "4294967295 bytes, at most 100");
        check(&101_u32.to_le_bytes(), "101 bytes, at most 100");
        check(&100_u32.to_le_bytes(), "ended inside");
        check(&[0, 0], "ended inside");
        check(&[0, 0, 0, 0], "not a message");
        check(&[1, 0, 0, 0, 9], "not a message");
        check(&[3, 0, 0, 0, 0, 0, 7], "1 bytes are left over");
        assert_eq!(read_all(&[2, 0, 0, 0, 0, 0], 1, 2), Ok(vec![Message::Text(String::new())]));
    }

    #[test]
    fn a_length_inside_a_frame_cannot_make_it_allocate() {
        // Variant 1, a list of 2^63 rows, and nothing behind it.
        let mut body = vec![1];
        body.extend([0xff; 9]);
        body.push(1);
        assert!(matches!(decode::<Message>(&body), Err(FrameError::Malformed { .. })));
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let message = Message::Text("a".repeat(200));
        assert!(matches!(encode(&message, 100), Err(FrameError::TooLong { len: 203, max: 100 })));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(texts in proptest::collection::vec(".{0,40}", 0..8), piece in 1_usize..64) {
            let messages: Vec<Message> = texts.into_iter().map(Message::Text).collect();
            let bytes: Vec<u8> = messages.iter().flat_map(|m| encode(m, MAX_FRAME_BYTES).unwrap()).collect();
            prop_assert_eq!(read_all(&bytes, piece, MAX_FRAME_BYTES), Ok(messages));
        }

        #[test]
        fn garbage_is_an_error_or_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..64) {
            if let Ok(messages) = read_all(&bytes, piece, MAX_FRAME_BYTES) {
                prop_assert!(bytes.is_empty() || !messages.is_empty());
            }
        }
    }
}
