//! Images of what will run later: they are fetched when it is placed, so that it can run though the registry is out of reach then.

use std::sync::Arc;

use super::{Lifecycle, Stage};
use crate::Operation;
use crate::effects::Effects;

impl Lifecycle {
    /// Whether it rests and will run yet: by its schedule, or when what keeps it back has passed. What came to its end for good
    /// needs no image any more.
    pub(super) fn looks_ahead(&self) -> bool {
        let rests_between = self.course.timetable.is_some() && self.course.run.is_none();
        let is_under_way = self.course.run.as_ref().is_some_and(|run| !run.is_exceeded);
        let waits = is_under_way && !self.is_over() && !self.course.is_replaced && self.is_held_back();
        !self.wants_stop() && (rests_between || waits)
    }

    /// Fetches the images, once in each boot: after that a run itself sees to it that they are there.
    pub(super) fn fetch_ahead(&mut self, fx: &mut Effects) {
        if self.looks_ahead() && !self.course.has_images {
            let op = fx.begin(Operation::Pull { intent: Arc::clone(&self.intent) });
            self.stage = Stage::Pulling { op, cancelled: false };
        }
    }

    /// A run begins. It does not wait for the next try at fetching ahead, and its own is as good.
    pub(super) fn look_no_more(&mut self) {
        if let Stage::Wait(_) = self.stage {
            self.stage = Stage::Rest;
        }
    }

    pub(super) fn images_are_here(&mut self) {
        self.unsaved |= !std::mem::replace(&mut self.course.has_images, true);
        if self.failures > 0 && self.looks_ahead() && !self.is_held_back() {
            // What it told was why they were not.
            self.failures = 0;
            self.reason = None;
            self.unsaved = true;
        }
    }
}
