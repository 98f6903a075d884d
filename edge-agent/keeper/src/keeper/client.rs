//! One connection: frames in, frames out, both bounded.

use super::poller::Token;
use skerry_keeper_protocol::{
    ClientMessage, FrameBuffer, FrameError, MAX_FRAME_BYTES, ServerMessage, decode, encode,
};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Requests wait unread while this many bytes of answers have not been taken.
const HIGH_WATER_BYTES: usize = 4 * MAX_FRAME_BYTES;
/// A client that leaves this many bytes of events and answers lying is cut off.
const MAX_OUTGOING_BYTES: usize = 16 * MAX_FRAME_BYTES;

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("the client hung up")]
    HungUp,
    #[error("reading or writing failed")]
    Io(#[from] io::Error),
    #[error("the client sent what is no request")]
    Frame(#[from] FrameError),
    #[error("the client does not take its answers")]
    Stalled,
}

/// A connection and what is on its way.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    token: Token,
    incoming: FrameBuffer,
    outgoing: Vec<u8>,
    /// Whether its `Hello` was answered.
    pub(super) greeted: bool,
}

impl Client {
    /// Over a non-blocking stream that is watched under `token`.
    pub(super) fn new(stream: UnixStream, token: Token) -> Self {
        Self { stream, token, incoming: FrameBuffer::default(), outgoing: Vec::new(), greeted: false }
    }

    /// The stream, for watching.
    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The name under which it is watched.
    pub(super) const fn token(&self) -> Token {
        self.token
    }

    /// Whether bytes are to be read, and whether there are bytes to write.
    pub(super) fn interest(&self) -> (bool, bool) {
        (self.outgoing.len() < HIGH_WATER_BYTES, !self.outgoing.is_empty())
    }

    /// Moves bytes both ways, as far as it goes without waiting.
    pub(super) fn transfer(&mut self) -> Result<(), ClientError> {
        self.write()?;
        if self.interest().0 {
            let mut buffer = [0_u8; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ClientError::HungUp),
                Ok(count) => self.incoming.push(&buffer[..count]),
                Err(error) if waits(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next request, while the client takes its answers.
    pub(super) fn next_request(&mut self) -> Result<Option<ClientMessage>, ClientError> {
        if !self.interest().0 {
            return Ok(None);
        }
        let Some(payload) = self.incoming.next_payload()? else { return Ok(None) };
        Ok(Some(decode(payload)?))
    }

    /// Queues a message and writes what goes without waiting.
    pub(super) fn send(&mut self, message: &ServerMessage) -> Result<(), ClientError> {
        self.outgoing.extend_from_slice(&encode(message)?);
        self.write()?;
        if self.outgoing.len() > MAX_OUTGOING_BYTES { Err(ClientError::Stalled) } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), ClientError> {
        let mut written = 0;
        let result = loop {
            if written == self.outgoing.len() {
                break Ok(());
            }
            match self.stream.write(&self.outgoing[written..]) {
                Ok(count) => written += count,
                Err(error) if waits(&error) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        self.outgoing.drain(..written);
        if self.outgoing.is_empty() {
            self.outgoing = Vec::new();
        }
        result
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
