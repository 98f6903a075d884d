//! What goes wrong.

use crate::event::{Event, NodeAt, Party};
use crate::finale::Stage;
use crate::knobs::Knobs;
use crate::world::{MS, SECOND, World};

impl World {
    pub(crate) fn strike(&mut self) {
        if self.stage != Stage::Storm {
            return;
        }
        self.soon(SECOND..60 * SECOND * self.options.pace, Event::Fault);
        let at = self.rng.below(self.machines());
        let master = self.rng.below(self.masters.len());
        let child = self.any_child(at);
        let draw = self.rng.below(Knobs::FAULTS);
        if self.options.without.has_fault(draw) {
            return;
        }
        self.disturb();
        match draw {
            0..3 => {
                let longest = [5, 60, 900][self.rng.below(3)] * SECOND;
                self.cut(child, longest);
            }
            3 => {
                let until = self.now_us + self.rng.within(100 * MS..9 * SECOND);
                self.way(child).stalled_until_us = until;
            }
            4 | 5 => self.flap(child),
            6 | 7 => self.crash_agent(at, 30 * SECOND),
            8 => self.crash_master(master),
            9 => self.crash_keeper(at),
            10 => self.reboot(at),
            11 => self.fill(Party::Node(at)),
            12 => self.fill(Party::Master(master)),
            13 => self.hosts[at].fails_until_us = self.now_us + self.rng.within(SECOND..60 * SECOND),
            14 => {
                let delay_us = [5 * MS, 50 * MS, 2 * SECOND][self.rng.below(3)];
                self.way(child).delay_us = delay_us;
            }
            16 | 17 => {
                let party = if self.rng.percent(30) { Party::Master(master) } else { Party::Node(at) };
                self.set_clock(party);
            }
            _ => {
                for at in 0..self.masters.len() {
                    self.crash_master(at);
                }
                for at in 0..self.hosts.len() {
                    self.crash_agent(at, 30 * SECOND);
                    self.crash_keeper(at);
                }
            }
        }
    }

    /// Somebody sets a clock on the wall: by seconds, or by as much as a day, forwards or back.
    fn set_clock(&mut self, party: Party) {
        let most = [5 * 1000, 3600 * 1000, 24 * 3600 * 1000][self.rng.below(3)];
        let by = i64::try_from(self.rng.within(0..most)).unwrap_or_default();
        let by = if self.rng.percent(50) { by } else { -by };
        match party {
            Party::Master(at) => self.masters[at].clock.skew_ms += by,
            Party::Node(at) => {
                self.hosts[at].clock.skew_ms += by;
                self.hosts[at].set_us = self.now_us;
            }
        }
    }

    /// A node or a region: whose way to its parent something happens to.
    fn any_child(&mut self, node: NodeAt) -> Party {
        let regions = self.masters.len() - 1;
        if regions > 0 && self.rng.percent(40) {
            Party::Master(1 + self.rng.below(regions))
        } else {
            Party::Node(node)
        }
    }

    fn cut(&mut self, child: Party, longest_us: u64) {
        self.way(child).is_cut = true;
        self.soon(100 * MS..longest_us, Event::Heal(child));
        self.flap(child);
    }

    /// A link breaks. Both sides may take long to notice.
    pub(crate) fn flap(&mut self, child: Party) {
        if let Some(link) = self.way(child).link {
            let child_us = [0, SECOND, 60 * SECOND][self.rng.below(3)];
            let parent_us = [0, SECOND, 60 * SECOND][self.rng.below(3)];
            let ways = [(true, true), (true, false), (false, true)][self.rng.below(3)];
            self.break_ways(link, ways, child_us, parent_us);
        }
    }

    /// A disk is full, or slow, for a while.
    fn fill(&mut self, party: Party) {
        let slow = self.rng.percent(40);
        let disk = self.disk(party);
        if slow {
            disk.slowest = 15 * SECOND;
        } else {
            disk.full = true;
        }
        self.soon(SECOND..120 * SECOND, Event::Space(party));
    }
}
