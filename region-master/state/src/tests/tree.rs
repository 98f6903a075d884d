//! A tree of regions: real brains over links, in virtual time, with nodes of the bench at the leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use skerry_types::{InstanceSet, MonoTime, RegionName, WallTime};

use super::bench::*;
use crate::*;

/// Steps in which a tree comes to rest, unless somebody spins.
const STEPS_MAX: usize = 20_000;
/// A dialer's wait before it dials again.
const REDIAL: Duration = Duration::from_secs(5);

pub(super) struct Tree {
    pub(super) masters: BTreeMap<String, Bench>,
    parents: BTreeMap<String, String>,
    pub(super) links: BTreeMap<String, LinkId>,
    /// Regions whose link does not come up.
    cut: Vec<String>,
    /// When closed links are dialled again.
    redials: BTreeMap<String, MonoTime>,
    /// Messages that were carried between regions.
    pub(super) carried: usize,
}

impl Tree {
    /// Regions as `CHILD<PARENT`, each with so many nodes of 4 cores, all connected.
    pub(super) fn new(regions: &[(&str, usize)]) -> Self {
        let mut tree = Self {
            masters: BTreeMap::new(),
            parents: BTreeMap::new(),
            links: BTreeMap::new(),
            cut: Vec::new(),
            redials: BTreeMap::new(),
            carried: 0,
        };
        for (text, nodes) in regions {
            let (name, parent) = text.split_once('<').unwrap_or((text, ""));
            tree.masters.insert(name.to_owned(), Bench::of(config(name, !parent.is_empty())));
            for at in 1..=*nodes {
                let node = format!("{name}-n{at}");
                tree.of(name).join(&node, "s1");
                tree.of(name).connect(&node);
            }
            if !parent.is_empty() {
                tree.join(name, parent);
            }
        }
        tree.settle();
        tree
    }

    pub(super) fn of(&mut self, name: &str) -> &mut Bench {
        self.masters.get_mut(name).expect("a region")
    }

    pub(super) fn enroll(
        &mut self,
        parent: &str,
        name: &str,
        scope: TokenScope,
    ) -> Result<Enrolled, EnrollRefusal> {
        let bench = self.of(parent);
        let id: TokenId = format!("t-{name}").parse().unwrap();
        let (secret, expires) = (SecretHash([7; 32]), WallTime(bench.now.wall.0 + 1000));
        let token = NewToken { id: id.clone(), secret, scope, expires, uses: 9 };
        bench.call(ApiCall::CreateToken(token)).expect("a token");
        let (call, wish) = (bench.call_id(), EnrollWish::Region { region: region_name(name) });
        bench.feed(Input::Enroll { call, token: id, secret, wish, key: key_of(name) });
        bench.certified.remove(&call).expect("a decision")
    }

    pub(super) fn join(&mut self, name: &str, parent: &str) {
        let scope = TokenScope::Region(Some(region_name(name)));
        let enrolled = self.enroll(parent, name, scope);
        assert_eq!(enrolled, Ok(Enrolled::Region { region: region_name(name) }));
        self.parents.insert(name.to_owned(), parent.to_owned());
        self.dial(name);
    }

    pub(super) fn adopt(&mut self, name: &str, parent: &str) {
        self.parents.insert(name.to_owned(), parent.to_owned());
    }

    pub(super) fn dial(&mut self, name: &str) {
        let parent = self.parents[name].clone();
        self.redials.remove(name);
        let link = self.of(&parent).link_id();
        let expires = WallTime(self.of(&parent).now.wall.0 + 1);
        let identity = RegionIdentity { region: region_name(name), expires, key: key_of(name) };
        self.links.insert(name.to_owned(), link);
        self.of(&parent).feed(Input::LinkUp(link, ChildIdentity::Region(identity)));
        self.of(name).feed(Input::ParentUp);
    }

    /// The link of a region to the one above is down until [`Tree::heal`].
    pub(super) fn cut(&mut self, name: &str) {
        self.cut.push(name.to_owned());
        self.hang_up(name);
        self.settle();
    }

    pub(super) fn is_up(&self, name: &str) -> bool {
        self.links.contains_key(name)
    }

    pub(super) fn is_cut(&self, name: &str) -> bool {
        self.cut.iter().any(|other| other == name)
    }

    pub(super) fn heal(&mut self, name: &str) {
        self.cut.retain(|other| other != name);
        self.dial(name);
        self.settle();
    }

    fn hang_up(&mut self, name: &str) {
        let Some(link) = self.links.remove(name) else { return };
        let parent = self.parents[name].clone();
        self.of(name).up.clear();
        self.of(&parent).down.retain(|(other, _)| *other != link);
        self.of(&parent).feed(Input::LinkDown(link));
        self.of(name).feed(Input::ParentDown);
        self.of(name).up_closed.clear();
        if !self.cut.iter().any(|other| other == name) {
            let at = self.now() + REDIAL;
            self.redials.insert(name.to_owned(), at);
        }
    }

    /// A master's process ends and another begins.
    pub(super) fn restart(&mut self, name: &str) {
        let around: Vec<String> = self
            .parents
            .iter()
            .filter(|(child, parent)| child.as_str() == name || parent.as_str() == name)
            .map(|(child, _)| child.clone())
            .collect();
        for child in &around {
            self.hang_up(child);
        }
        self.of(name).restart();
        self.of(name).connect_all();
        for child in &around {
            if !self.cut.contains(child) {
                self.dial(child);
            }
        }
        self.settle();
    }

    /// Carries messages until nobody has anything to say.
    pub(super) fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.step() {
                return;
            }
        }
        panic!("somebody spins");
    }

    fn step(&mut self) -> bool {
        let names: Vec<String> = self.masters.keys().cloned().collect();
        let mut busy = false;
        for name in &names {
            self.of(name).exchange();
            for (link, _) in std::mem::take(&mut self.of(name).closed) {
                let child = self
                    .links
                    .iter()
                    .find(|(child, other)| **other == link && self.parents.get(*child) == Some(name));
                if let Some(child) = child.map(|(child, _)| child.clone()) {
                    // Last words arrive before the end.
                    self.carry_down(name);
                    self.hang_up(&child);
                    busy = true;
                }
            }
            busy |= self.carry_down(name);
            if !self.of(name).up_closed.is_empty() && self.links.contains_key(name) {
                self.hang_up(name);
                busy = true;
            }
            for message in std::mem::take(&mut self.of(name).up) {
                let Some(link) = self.links.get(name).copied() else { continue };
                let parent = self.parents[name].clone();
                self.of(&parent).feed(Input::Received(link, message));
                self.carried += 1;
                busy = true;
            }
        }
        busy
    }

    fn carry_down(&mut self, name: &str) -> bool {
        let mut busy = false;
        for (link, message) in std::mem::take(&mut self.of(name).down) {
            let child =
                self.links.iter().find(|(child, other)| **other == link && self.parents[*child] == name);
            let Some(child) = child.map(|(child, _)| child.clone()) else { continue };
            self.of(&child).feed(Input::FromParent(message));
            self.carried += 1;
            busy = true;
        }
        busy
    }

    /// Lets time go by: timers fire when they are due, and closed links are dialled again after a while.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now() + time;
        for _ in 0..STEPS_MAX {
            let timers = self.masters.values().filter_map(|bench| bench.state.poll_timeout());
            let next = timers.chain(self.redials.values().copied()).min().filter(|next| *next <= end);
            let step = next.unwrap_or(end).since(self.now());
            self.masters.values_mut().for_each(|bench| bench.pass(step));
            let now = self.now();
            for bench in self.masters.values_mut() {
                if bench.state.poll_timeout().is_some_and(|due| due <= now) {
                    bench.feed(Input::Timeout);
                }
            }
            let due: Vec<String> =
                self.redials.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
            for name in &due {
                self.dial(name);
            }
            self.settle();
            if next.is_none() {
                return;
            }
        }
        panic!("timers spin");
    }

    fn now(&self) -> MonoTime {
        self.masters.values().next().expect("a master").now.mono
    }

    /// What a region has of a workload, as the region above it says.
    pub(super) fn share(&self, parent: &str, child: &str, name: &str) -> Option<InstanceSet> {
        let region = self.masters[parent].state.regions.get(&region_name(child))?;
        region.shares.get(&key(name)).map(|share| share.instances.clone())
    }

    /// Instances that run anywhere, with repetition, in order.
    pub(super) fn running(&self, name: &str) -> Vec<u32> {
        let mut all: Vec<u32> = Vec::new();
        for bench in self.masters.values() {
            let key = key(name);
            let records = bench.state.allocations_of(&key);
            all.extend(records.filter(|record| bench.state.runs(record)).map(|r| r.intent.instance.0));
        }
        all.sort_unstable();
        all
    }

    pub(super) fn placed_in(&self, region: &str, name: &str) -> Vec<u32> {
        let state = &self.masters[region].state;
        let key = key(name);
        let run = state.allocations_of(&key).filter(|r| r.intent.desired == skerry_types::Desired::Run);
        let mut all: Vec<u32> = run.map(|record| record.intent.instance.0).collect();
        all.sort_unstable();
        all
    }

    pub(super) fn reasons(&mut self, region: &str) -> Vec<String> {
        let mut events = self.of(region).events();
        events.drain(..).map(|view| format!("{}: {}", view.event.reason, view.event.message)).collect()
    }
}

pub(super) fn region_name(name: &str) -> RegionName {
    RegionName::new(name).unwrap()
}
