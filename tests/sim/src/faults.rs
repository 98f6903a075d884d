//! What goes wrong.

use crate::event::{Event, NodeAt, Party};
use crate::finale::Stage;
use crate::world::{MS, SECOND, World};

impl World {
    pub(crate) fn strike(&mut self) {
        if self.stage != Stage::Storm {
            return;
        }
        self.soon(SECOND..60 * SECOND, Event::Fault);
        let at = self.rng.below(self.hosts.len());
        match self.rng.below(16) {
            0..3 => {
                let longest = [5, 60, 900][self.rng.below(3)] * SECOND;
                self.cut(at, longest);
            }
            3 => self.hosts[at].stalled_until_us = self.now_us + self.rng.within(100 * MS..9 * SECOND),
            4 | 5 => self.flap(at),
            6 | 7 => self.crash_agent(at, 30 * SECOND),
            8 => self.crash_master(),
            9 => self.crash_keeper(at),
            10 => self.reboot(at),
            11 => self.fill(Party::Node(at)),
            12 => self.fill(Party::Master),
            13 => self.hosts[at].fails_until_us = self.now_us + self.rng.within(SECOND..60 * SECOND),
            14 => self.hosts[at].delay_us = [5 * MS, 50 * MS, 2 * SECOND][self.rng.below(3)],
            _ => {
                self.crash_master();
                for at in 0..self.hosts.len() {
                    self.crash_agent(at, 30 * SECOND);
                    self.crash_keeper(at);
                }
            }
        }
    }

    fn cut(&mut self, at: NodeAt, longest_us: u64) {
        self.hosts[at].path_is_cut = true;
        self.soon(100 * MS..longest_us, Event::Heal(at));
        self.flap(at);
    }

    /// The node's link breaks. Both sides may take long to notice.
    pub(crate) fn flap(&mut self, at: NodeAt) {
        if let Some(link) = self.hosts[at].link {
            let child_us = [0, SECOND, 60 * SECOND][self.rng.below(3)];
            let parent_us = [0, SECOND, 60 * SECOND][self.rng.below(3)];
            self.break_link(link, child_us, parent_us);
        }
    }

    /// A disk is full, or slow, for a while.
    fn fill(&mut self, party: Party) {
        let slow = self.rng.percent(40);
        let disk = match party {
            Party::Master => &mut self.master.disk,
            Party::Node(at) => &mut self.hosts[at].disk,
        };
        if slow {
            disk.slowest = 15 * SECOND;
        } else {
            disk.full = true;
        }
        self.soon(SECOND..120 * SECOND, Event::Space(party));
    }
}
