//! Calls of the API to regions right below this one, over their links.

use std::time::Duration;

use prost::Message;
use skerry_link::{BulkStream, FrameError, FramedReceiver, FramedSender, MAX_FRAME_BYTES};
use skerry_types::RegionName;
use skerry_wire::{BulkFrame, BulkHeader, CallRequest};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::links::LinkTable;

/// How long a region may take for an answer. A list of many regions is made of such calls.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Regions that are asked at a time: a link carries sixteen streams, and a list must not take them all from logs.
pub(crate) const CALLS_AT_ONCE: usize = 8;

/// Asks a region below for one answer, and which regions below it could not be heard.
pub(crate) async fn ask<A: Message + Default>(
    links: &LinkTable,
    region: &RegionName,
    method: &str,
    user: &str,
    request: &impl Message,
) -> Result<(A, Vec<String>), Status> {
    let asked = async {
        let mut answers = open(links, region, method, user, request).await?;
        let missing = || Status::internal(format!("region {region} answered nothing"));
        let answer = answers.next().await?.ok_or_else(missing)?;
        let answer = A::decode(answer.as_slice()).map_err(|error| {
            Status::internal(format!("the answer of region {region} is not readable: {error}"))
        })?;
        let silent = answers.next().await?.unwrap_or_default();
        Ok((answer, names(&String::from_utf8_lossy(&silent))))
    };
    let late = || Status::deadline_exceeded(format!("region {region} did not answer within {ANSWER_WAIT:?}"));
    timeout(ANSWER_WAIT, asked).await.unwrap_or_else(|_| Err(late()))
}

/// Names with commas between them.
pub(crate) fn names(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Begins a call whose answers are read one by one.
pub(crate) async fn open(
    links: &LinkTable,
    region: &RegionName,
    method: &str,
    user: &str,
    request: &impl Message,
) -> Result<Answers, Status> {
    let away = || {
        Status::unavailable(format!(
            "region {region} is not connected: ask its master, or again when it is back"
        ))
    };
    let message = request.encode_to_vec();
    if message.len() > CallRequest::MESSAGE_MAX {
        return Err(Status::invalid_argument(format!("the request has {} bytes, too many", message.len())));
    }
    let connection = links.region(region).ok_or_else(away)?;
    let call = CallRequest { method: method.to_owned(), user: user.to_owned(), message };
    let opened = timeout(ANSWER_WAIT, connection.open_bulk(&BulkHeader::Call(call))).await;
    let Ok(opened) = opened else {
        let message = format!("too many calls to region {region} are under way: try again");
        return Err(Status::resource_exhausted(message));
    };
    let BulkStream { sender, receiver } = opened.map_err(|_| away())?;
    Ok(Answers { region: region.clone(), receiver, _sender: sender, pending: Vec::new() })
}

/// The answers of a region, in order.
pub(crate) struct Answers {
    region: RegionName,
    receiver: FramedReceiver,
    /// Held so that the stream stays whole until the caller leaves.
    _sender: FramedSender,
    pending: Vec<u8>,
}

impl Answers {
    /// The next answer; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Status> {
        loop {
            if let Some(message) = take_message(&mut self.pending).map_err(|len| self.too_long(len))? {
                return Ok(Some(message));
            }
            match self.receiver.recv(MAX_FRAME_BYTES).await {
                Ok(Some(BulkFrame::Data(data))) => self.pending.extend(data),
                Ok(Some(BulkFrame::Failed(why))) => return Err(read_failure(&why)),
                Ok(None) if self.pending.is_empty() => return Ok(None),
                Ok(None) => return Err(self.cut(&FrameError::Cut)),
                Err(error) => return Err(self.cut(&error)),
            }
        }
    }

    fn too_long(&self, len: usize) -> Status {
        Status::resource_exhausted(format!("region {} answers with {len} bytes, too many", self.region))
    }

    fn cut(&self, error: &FrameError) -> Status {
        Status::unavailable(format!("the answer of region {} broke off: {error}", self.region))
    }
}

/// Takes a whole message from the front, if there is one; an error is the length of one that is too long. What is kept grows
/// with what arrives, not with what is announced.
fn take_message(pending: &mut Vec<u8>) -> Result<Option<Vec<u8>>, usize> {
    let Some((head, rest)) = pending.split_first_chunk::<4>() else { return Ok(None) };
    let len = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if len > skerry_api::MESSAGE_MAX {
        return Err(len);
    }
    let Some(message) = rest.get(..len).map(<[u8]>::to_vec) else { return Ok(None) };
    pending.drain(..4 + len);
    Ok(Some(message))
}

/// Sends an answer, cut into frames.
pub(crate) async fn send_answer(sender: &mut FramedSender, message: &[u8]) -> Result<(), FrameError> {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut first = len.to_be_bytes().to_vec();
    let (with_length, rest) = message.split_at(message.len().min(BulkFrame::DATA_MAX - first.len()));
    first.extend(with_length);
    sender.send(&BulkFrame::Data(first)).await?;
    for part in rest.chunks(BulkFrame::DATA_MAX) {
        sender.send(&BulkFrame::Data(part.to_vec())).await?;
    }
    Ok(())
}

/// A failure in a frame that has room for words only: the code goes before them as a number.
pub(crate) fn write_failure(status: &Status) -> BulkFrame {
    BulkFrame::Failed(format!("{} {}", i32::from(status.code()), status.message()))
}

fn read_failure(text: &str) -> Status {
    match text.split_once(' ') {
        Some((code, message)) if code.parse::<i32>().is_ok() => {
            Status::new(Code::from(code.parse::<i32>().unwrap_or(2)), message)
        }
        _ => Status::unknown(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_code_and_words() {
        for status in
            [Status::not_found("there is no 'x'"), Status::unavailable(""), Status::unknown("7 bad")]
        {
            let BulkFrame::Failed(text) = write_failure(&status) else { panic!("it is a failure") };
            let read = read_failure(&text);
            assert_eq!((read.code(), read.message()), (status.code(), status.message()));
        }
        assert_eq!(read_failure("no such stream").message(), "no such stream");
    }

    #[test]
    fn messages_come_out_whole() {
        let mut pending = Vec::new();
        let check = |pending: &mut Vec<u8>, more: &[u8], expect: Result<Option<&[u8]>, usize>| {
            pending.extend(more);
            assert_eq!(take_message(pending), expect.map(|found| found.map(<[u8]>::to_vec)));
        };
        check(&mut pending, &[0, 0, 0], Ok(None));
        check(&mut pending, &[2, 7], Ok(None));
        check(&mut pending, &[8, 0, 0, 0, 0, 9], Ok(Some(&[7, 8])));
        check(&mut pending, &[], Ok(Some(&[])));
        check(&mut pending, &[], Ok(None));
        assert_eq!(pending, [9]);
        let mut long = u32::MAX.to_be_bytes().to_vec();
        check(&mut long, &[], Err(0xffff_ffff));
    }
}
