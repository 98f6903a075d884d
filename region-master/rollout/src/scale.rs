//! How many instances a load asks for.

use std::collections::VecDeque;

use skerry_types::{MonoTime, Scale};

/// A load within this many hundredths of its target is as good as on it: following every ripple would start and stop
/// instances for nothing.
const TOLERANCE_PERCENT: u64 = 10;
/// Most answers remembered, whatever the window and however often it is asked.
const REMEMBERED_MAX: usize = 256;

/// Follows one service's load. What it remembers is only how to be calm: after a restart it begins with the present count.
#[derive(Debug, Clone, Default)]
pub struct Scaler {
    /// What was asked for, and when, within the window, oldest first.
    asked: VecDeque<(MonoTime, u32)>,
}

/// What a service's instances use against what each should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Over all instances that were heard from, in the target's unit.
    pub total: u64,
    /// What one instance should have, in the same unit; not zero.
    pub target: u64,
    /// Instances that `total` is from.
    pub heard: u32,
}

impl Scaler {
    /// How many instances there should be, `current` being asked for at present. `None` for `load` keeps the count within its
    /// bounds: nothing was heard, which says nothing of the load.
    ///
    /// The rule is that of target tracking: `ceil(total / target)`, where instances that were not heard from are taken to do
    /// as the others. It goes up at once, and down only to the most that was asked for within the window; a step has a bound.
    pub fn ask(&mut self, now: MonoTime, scale: &Scale, current: u32, load: Option<Load>) -> u32 {
        let wanted = load.map_or(current, |load| wanted(current, &load));
        while self.asked.front().is_some_and(|(at, _)| now.since(*at) > scale.stabilization) {
            self.asked.pop_front();
        }
        if self.asked.len() == REMEMBERED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back((now, wanted));
        let calm = self.asked.iter().map(|(_, asked)| *asked).max().unwrap_or(wanted);
        let goal = if wanted < current { calm.min(current) } else { wanted };
        let step = scale.step.max(1);
        let (least, most) = (current.saturating_sub(step), current.saturating_add(step));
        goal.clamp(least, most).clamp(scale.min, scale.max)
    }
}

fn wanted(current: u32, load: &Load) -> u32 {
    if load.heard == 0 || load.target == 0 || current == 0 {
        return current;
    }
    // All instances, if those that were not heard from do as the others.
    let total = u128::from(load.total) * u128::from(current) / u128::from(load.heard);
    let on_target = u128::from(load.target) * u128::from(current);
    if total.abs_diff(on_target) * 100 <= on_target * u128::from(TOLERANCE_PERCENT) {
        return current;
    }
    u32::try_from(total.div_ceil(u128::from(load.target))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skerry_types::ScaleTarget;

    use super::*;

    fn scale() -> Scale {
        Scale {
            min: 2,
            max: 10,
            target: ScaleTarget::Cpu(50),
            stabilization: Duration::from_mins(5),
            step: 3,
        }
    }

    fn at(second: u64) -> MonoTime {
        MonoTime(Duration::from_secs(second))
    }

    #[test]
    fn the_count_follows_the_load() {
        let check = |current, total, heard, expect| {
            let load = Some(Load { total, target: 100, heard });
            let found = Scaler::default().ask(at(0), &scale(), current, load);
            assert_eq!(found, expect, "{current} instances, {total} from {heard}");
        };
        check(4, 400, 4, 4);
        check(4, 439, 4, 4);
        check(4, 500, 4, 5);
        check(4, 4000, 4, 7);
        check(9, 4000, 9, 10);
        check(4, 200, 4, 2);
        check(4, 0, 4, 2);
        check(4, 250, 2, 5);
        check(4, 0, 0, 4);
    }

    #[test]
    fn it_goes_down_only_when_the_load_was_low_for_the_whole_window() {
        let mut scaler = Scaler::default();
        let mut ask = |second, current, total| {
            scaler.ask(at(second), &scale(), current, Some(Load { total, target: 100, heard: current }))
        };
        assert_eq!(ask(0, 4, 600), 6);
        assert_eq!(ask(60, 6, 200), 6, "six were asked for a minute ago");
        assert_eq!(ask(301, 6, 200), 3, "a step down at most, the six are forgotten");
        assert_eq!(ask(302, 3, 900), 6, "up at once, by a step");
    }

    #[test]
    fn bounds_hold_without_any_news() {
        assert_eq!(Scaler::default().ask(at(0), &scale(), 1, None), 2);
        assert_eq!(Scaler::default().ask(at(0), &scale(), 50, None), 10);
    }
}
