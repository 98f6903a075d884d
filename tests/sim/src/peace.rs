//! Where nothing happens, nobody has anything to say.

use crate::world::{SECOND, World};

/// From the last thing that happened until everything that follows from it is done: the longest wait before a replacement, an update
/// of all instances one after another, and the longest wait before a region is asked again.
const DONE_WITHIN: u64 = 900 * SECOND;
/// Messages after that: digests that were held back, a retry.
const MESSAGES_MAX: u64 = 60;

/// What was said since something last happened.
#[derive(Debug, Default)]
pub(crate) struct Peace {
    disturbed_us: u64,
    messages: u64,
    /// Instances of a job began while all was to be silent, one after the other: for want of room they take as long as they take.
    pub(crate) has_work: bool,
}

impl World {
    /// Something happened that others may have to say something about.
    pub(crate) fn disturb(&mut self) {
        (self.peace.disturbed_us, self.peace.messages) = (self.now_us, 0);
    }

    /// A message is sent.
    pub(crate) fn count_message(&mut self) {
        self.frames += 1;
        if self.now_us > self.peace.disturbed_us + DONE_WITHIN {
            self.peace.messages += 1;
        }
        if self.peace.messages > MESSAGES_MAX {
            let since = (self.now_us - self.peace.disturbed_us) / SECOND;
            self.fail(format!("nothing has happened for {since} s, and there is no end of messages"));
        }
    }
}
