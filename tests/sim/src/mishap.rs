//! What people do to disks: they copy them to another machine, and put older ones in.

use skerry_region_state::{ChildIdentity, Input as MasterInput, LinkId};

use crate::event::{Event, MasterAt, NodeAt, Party};
use crate::finale::Stage;
use crate::knobs::Knobs;
use crate::link::Pipe;
use crate::node::Host;
use crate::world::{SECOND, World};

/// Copies of machines that run at a time.
const COPIES_MAX: usize = 1;
/// What was heard of a copy may be taken for the first machine's for this long.
const HEARD_FOR: u64 = 300 * SECOND;

impl World {
    /// Machines that are no copies: they stand before those that are.
    pub(crate) fn machines(&self) -> usize {
        self.hosts.iter().take_while(|host| host.past.copy_of.is_none()).count()
    }

    pub(crate) fn mishap(&mut self) {
        if self.stage != Stage::Storm {
            return;
        }
        let pause = self.fate.within(SECOND..120 * SECOND * self.options.pace);
        self.after(pause, Event::Mishap);
        self.check_bounds();
        let at = self.fate.below(self.machines());
        let master = self.fate.below(self.masters.len());
        let draw = self.fate.below(Knobs::MISHAPS);
        if self.options.without.has_mishap(draw) {
            return;
        }
        self.disturb();
        match draw {
            0..4 => self.hosts[at].lies_until_us = self.now_us + self.fate.within(SECOND..120 * SECOND),
            4 | 5 => self.copy_disk(at),
            6..9 => self.swap_disk(at),
            _ => self.swap_store(master),
        }
    }

    /// A machine's disk is copied, and the copy is started in another machine.
    fn copy_disk(&mut self, at: NodeAt) {
        let running = self.hosts.iter().filter(|host| host.past.copy_of.is_some() && !host.past.is_scrapped);
        if running.count() >= COPIES_MAX {
            return;
        }
        let copy = self.hosts.len();
        let host = Host::copied(&self.hosts[at], at, copy);
        self.note(&format_args!("  n{copy} is a copy of n{at}"));
        self.hosts.push(host);
        self.hosts[copy].clock.zero_us = self.now_us;
        self.after(SECOND, Event::BootKeeper(copy));
        self.after(SECOND, Event::BootAgent(copy));
        let ends_in = self.fate.within(60 * SECOND..600 * SECOND);
        self.after(ends_in, Event::EndCopy(copy));
    }

    /// Somebody switches a copy off for good.
    pub(crate) fn end_copy(&mut self, at: NodeAt) {
        if self.hosts[at].past.is_scrapped {
            return;
        }
        self.disturb();
        self.reboot(at);
        self.hosts[at].past.is_scrapped = true;
        self.hosts[at].boot_us = self.now_us;
    }

    pub(crate) fn end_copies(&mut self) {
        for at in self.machines()..self.hosts.len() {
            self.end_copy(at);
        }
    }

    /// A machine was welcomed. If it is a copy, or has one, its region knows no more of the other than this one says.
    pub(crate) fn share(&mut self, at: NodeAt) {
        let is_copy = self.hosts[at].past.copy_of.is_some();
        let name = self.hosts[at].name.clone();
        for (other, host) in self.hosts.iter_mut().enumerate().filter(|(_, host)| host.name == name) {
            host.past.was_shared |= is_copy;
            if other != at {
                host.way.acked_by_parent = None;
            }
        }
    }

    /// Whether two machines have been one node's within the last minutes, so that what its region heard may be of either.
    pub(crate) fn is_copied(&self, at: NodeAt) -> bool {
        let its = |host: &&Host| host.past.copy_of == Some(at);
        let counts = |host: &Host| !host.past.is_scrapped || host.boot_us + HEARD_FOR > self.now_us;
        self.hosts.iter().filter(its).any(counts)
    }

    /// A link comes up. Where another machine with this key is connected and answers, the shell lets the brain refuse the second.
    pub(crate) fn come_up(&mut self, parent: MasterAt, child: Party, link: LinkId, identity: ChildIdentity) {
        let Some(first) = self.other_that_answers(child, link) else {
            return self.tell_master(parent, MasterInput::LinkUp(link, identity));
        };
        let from = [format!("{first:?}"), format!("{link:?}")];
        self.tell_master(parent, MasterInput::Twin { link, identity, from });
        if self.pipes.get(&first).is_some_and(Pipe::is_broken) {
            self.fail(format!(
                "{child:?} is a second machine with a key, and the link of the first is closed"
            ));
        }
    }

    /// The link of another machine with a node's key, if somebody answers on it.
    fn other_that_answers(&self, child: Party, link: LinkId) -> Option<LinkId> {
        let Party::Node(at) = child else { return None };
        let name = &self.hosts[at].name;
        let others = self.hosts.iter().enumerate().filter(|(other, host)| *other != at && host.name == *name);
        others.filter_map(|(_, host)| host.way.link).find(|other| *other != link && self.answers(*other))
    }

    /// A node's disk is put aside; or the one that was is put in again, and the machine starts with it.
    fn swap_disk(&mut self, at: NodeAt) {
        let Some(backup) = self.hosts[at].past.backup.take() else {
            self.hosts[at].past.backup = Some(self.hosts[at].disk.image());
            return;
        };
        self.note(&format_args!("  n{at} gets an older disk"));
        self.reboot(at);
        let host = &mut self.hosts[at];
        host.disk.put_in(backup);
        host.past.was_restored = true;
        host.way.acked_by_child = None;
    }
}
