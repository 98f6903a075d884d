//! What becomes of an instance whose node or region is not heard from, and of the two copies when it returns.
//!
//! One [`Disconnect`] describes one instance; [`Disconnect::decide`] says what to do and when to ask again. It is the same for
//! nodes and for regions: whoever placed the instance asks, for what it placed. There is at most one replacement of an instance:
//! while there is one, the answer is never [`Verdict::Replace`]. And no copy is given up before the other is well, unless
//! neither is for [`UNDECIDED_MAX`].

use std::time::Duration;

use skerry_types::{MonoTime, OnDisconnect, OnReturn};

/// How long the copy that the policy favours may take to be seen well after a return, before the other one wins. Rows of status
/// come in over a link that has just come up, and probes have to pass again.
pub const RETURN_GRACE: Duration = Duration::from_secs(30);

/// How long two copies of which neither is well are both kept. Then the policy's favourite stays alone: two copies that fail
/// alike hold twice the room for nothing.
pub const UNDECIDED_MAX: Duration = Duration::from_mins(10);

/// An instance whose node or region is away, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect {
    /// What its workload asks for.
    pub policy: OnDisconnect,
    /// Whether the place of the original is heard from.
    pub contact: Contact,
    /// Since when the original is well, as last heard; `None` while it is not, or is not known to be.
    pub original_well: Option<MonoTime>,
    /// The copy that was started elsewhere.
    pub replacement: Option<Replacement>,
}

/// A copy that was started elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replacement {
    /// Since when it is well; `None` while it is not.
    pub well: Option<MonoTime>,
}

/// Whether a place is heard from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// Not heard from.
    Lost {
        /// Since when.
        since: MonoTime,
    },
    /// Heard from again.
    Returned {
        /// Since when.
        since: MonoTime,
    },
}

/// What to do with an instance that has, or may have, two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Leave everything as it is.
    Keep,
    /// Start a replacement elsewhere.
    Replace,
    /// Stop the original; the replacement is the instance from here on.
    DropOriginal,
    /// Stop the replacement.
    DropReplacement,
}

impl Disconnect {
    /// What to do, and when to ask again if no news comes before.
    pub fn decide(&self, now: MonoTime) -> (Verdict, Option<MonoTime>) {
        match (self.contact, self.replacement) {
            (Contact::Lost { since }, None) => self.while_lost(now, since),
            (Contact::Lost { .. }, Some(_)) | (Contact::Returned { .. }, None) => (Verdict::Keep, None),
            (Contact::Returned { since }, Some(replacement)) => self.after_return(now, since, replacement),
        }
    }

    fn while_lost(&self, now: MonoTime, since: MonoTime) -> (Verdict, Option<MonoTime>) {
        match self.policy.replace_after.map(|wait| since + wait) {
            None => (Verdict::Keep, None),
            Some(due) if now >= due => (Verdict::Replace, None),
            Some(due) => (Verdict::Keep, Some(due)),
        }
    }

    fn after_return(
        &self,
        now: MonoTime,
        since: MonoTime,
        replacement: Replacement,
    ) -> (Verdict, Option<MonoTime>) {
        let original_stays = Verdict::DropReplacement;
        let replacement_stays = Verdict::DropOriginal;
        let favourite = match self.policy.on_return {
            OnReturn::KeepOriginal | OnReturn::KeepHealthiest => original_stays,
            OnReturn::KeepNew => replacement_stays,
        };
        let once = |due: MonoTime, verdict: Verdict| {
            if now >= due { (verdict, None) } else { (Verdict::Keep, Some(due)) }
        };
        match (self.original_well, replacement.well) {
            (None, None) => once(since + UNDECIDED_MAX, favourite),
            (Some(_), None) if favourite == original_stays => (original_stays, None),
            (None, Some(_)) if favourite == replacement_stays => (replacement_stays, None),
            (Some(_), None) => once(since + RETURN_GRACE, original_stays),
            (None, Some(_)) => once(since + RETURN_GRACE, replacement_stays),
            (Some(original), Some(other)) => match self.policy.on_return {
                OnReturn::KeepHealthiest if other < original => (replacement_stays, None),
                _ => (favourite, None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> MonoTime {
        MonoTime(Duration::from_secs(seconds))
    }

    fn policy(replace_after: Option<u64>, on_return: OnReturn) -> OnDisconnect {
        OnDisconnect { replace_after: replace_after.map(Duration::from_secs), on_return, stop_after: None }
    }

    #[test]
    fn a_lost_instance_is_replaced_once_and_not_early() {
        let check = |wait: Option<u64>, now: u64, replaced: bool, verdict: Verdict, again: Option<u64>| {
            let disconnect = Disconnect {
                policy: policy(wait, OnReturn::KeepOriginal),
                contact: Contact::Lost { since: at(100) },
                original_well: Some(at(1)),
                replacement: replaced.then(Replacement::default),
            };
            assert_eq!(disconnect.decide(at(now)), (verdict, again.map(at)), "{wait:?} at {now}");
        };
        check(None, 1_000_000, false, Verdict::Keep, None);
        check(Some(60), 100, false, Verdict::Keep, Some(160));
        check(Some(60), 159, false, Verdict::Keep, Some(160));
        check(Some(60), 160, false, Verdict::Replace, None);
        check(Some(60), 160, true, Verdict::Keep, None);
        check(Some(60), 1_000_000, true, Verdict::Keep, None);
        check(Some(0), 100, false, Verdict::Replace, None);
    }

    #[test]
    fn one_of_two_stays_after_a_return() {
        use OnReturn::{KeepHealthiest, KeepNew, KeepOriginal};
        use Verdict::{DropOriginal, DropReplacement, Keep};
        let grace = 100 + RETURN_GRACE.as_secs();
        let limit = 100 + UNDECIDED_MAX.as_secs();
        let check = |on_return, original: Option<u64>, other: Option<u64>, now: u64, verdict, again| {
            let disconnect = Disconnect {
                policy: policy(Some(1), on_return),
                contact: Contact::Returned { since: at(100) },
                original_well: original.map(at),
                replacement: Some(Replacement { well: other.map(at) }),
            };
            let text = format!("{on_return:?} {original:?} {other:?} at {now}");
            assert_eq!(disconnect.decide(at(now)), (verdict, Option::map(again, at)), "{text}");
        };
        check(KeepOriginal, Some(1), Some(50), 100, DropReplacement, None);
        check(KeepOriginal, Some(1), None, 100, DropReplacement, None);
        check(KeepOriginal, None, Some(50), 100, Keep, Some(grace));
        check(KeepOriginal, None, Some(50), grace, DropOriginal, None);
        check(KeepOriginal, None, None, grace, Keep, Some(limit));
        check(KeepOriginal, None, None, limit, DropReplacement, None);
        check(KeepNew, Some(1), Some(50), 100, DropOriginal, None);
        check(KeepNew, None, Some(50), 100, DropOriginal, None);
        check(KeepNew, Some(1), None, 100, Keep, Some(grace));
        check(KeepNew, Some(1), None, grace, DropReplacement, None);
        check(KeepNew, None, None, limit, DropOriginal, None);
        check(KeepHealthiest, Some(1), Some(50), 100, DropReplacement, None);
        check(KeepHealthiest, Some(60), Some(50), 100, DropOriginal, None);
        check(KeepHealthiest, Some(50), Some(50), 100, DropReplacement, None);
        check(KeepHealthiest, None, Some(50), 100, Keep, Some(grace));
        check(KeepHealthiest, None, Some(50), grace, DropOriginal, None);
        check(KeepHealthiest, Some(1), None, 100, DropReplacement, None);
        check(KeepHealthiest, None, None, limit, DropReplacement, None);
    }

    #[test]
    fn a_return_without_a_replacement_changes_nothing() {
        let disconnect = Disconnect {
            policy: policy(Some(60), OnReturn::KeepNew),
            contact: Contact::Returned { since: at(100) },
            original_well: None,
            replacement: None,
        };
        assert_eq!(disconnect.decide(at(1_000_000)), (Verdict::Keep, None));
    }
}
