//! The same input gives the same plan, whoever computes it: worlds of all sorts of wishes, held against plans that a slower,
//! plainer implementation made of them.

use skerry_federation::level1::{Beside, Demand, HandBack, RegionView, explain, plan};
use skerry_types::{
    Affinity, InstanceIndex, InstanceSet, LinkClass, Near, Place, Placement, Point, Preference, Refusal,
    Rule, SiteDigest, Spread, SpreadBy, Taint,
};

use crate::model::*;

/// Numbers that look random and are the same each time (Marsaglia 2003, xorshift64).
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }

    fn some<T>(&mut self, most: u64, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| one(self)).collect()
    }
}

fn a_node(noise: &mut Noise) -> Node {
    let (arch, zone) = (noise.pick(&["amd64", "arm64"]), noise.pick(&["a", "b", "c", "*"]));
    let free = amounts(
        noise.below(6000),
        noise.below(6000),
        noise.below(4000),
        noise.below(100),
        1000 * noise.below(3),
    );
    let mut made = node(&[("node.arch", arch), ("node.zone", zone)], free);
    if noise.one_in(6) {
        made.taints = vec![taint(noise.pick(&["spot", "lab"]))];
    }
    made.slots = u32::try_from(noise.below(9)).unwrap();
    made
}

fn taint(name: &str) -> Taint {
    Taint::new(name).unwrap()
}

fn a_site(noise: &mut Noise, region: &str, at: u64) -> SiteDigest {
    let nodes: Vec<Node> = (0..=noise.below(5)).map(|_| a_node(noise)).collect();
    let tier = noise.pick(&["edge", "metro", "core"]);
    let labels = [("tier", tier), ("colour", noise.pick(&["red", "blue"]))];
    let below = if noise.one_in(5) { format!("{region}-below") } else { region.to_owned() };
    let count = usize::try_from(noise.below(3)).unwrap();
    let mut made = site(&below, &format!("s{}", at % 4), &labels[..count], &nodes);
    if !noise.one_in(4) {
        let degrees = |noise: &mut Noise| i32::try_from(noise.below(60)).unwrap() * 1_000_000;
        made.spec.point = Some(Point { latitude: degrees(noise), longitude: degrees(noise) });
    }
    made.spec.link = LinkClass { metered: noise.one_in(4), micros_per_mb: noise.below(3) * 100 };
    made.reserved = made.capacity.times(u32::try_from(noise.below(2)).unwrap());
    made.capacity = made.capacity.times(2);
    made.reachable -= u32::try_from(noise.below(2)).unwrap();
    made
}

fn a_region(noise: &mut Noise, at: u64) -> RegionView {
    let name = format!("r{at}");
    let sites = noise.some(6, |noise| noise.below(100)).into_iter();
    let sites = sites.map(|site| a_site(noise, &name, site)).collect();
    let mut view = region(&name, sites);
    view.local = at == 3;
    view.reachable = !noise.one_in(8);
    view.existing =
        noise.some(5, |noise| InstanceIndex(u32::try_from(noise.below(60)).unwrap())).into_iter().collect();
    if noise.one_in(2) {
        view.given_up = view.existing.clone();
    }
    if noise.one_in(3) {
        view.pending = amounts(noise.below(9000), noise.below(9000), 0, 0, 0);
    }
    if noise.one_in(8) {
        let reasons = vec![Refusal { rule: Rule::Cordoned, nodes: 4 }];
        view.handed_back = Some(HandBack { count: 2, reasons });
    }
    if noise.one_in(2) {
        view.rtt_ms.insert("s1".parse().unwrap(), u32::try_from(noise.below(90)).unwrap());
    }
    if noise.one_in(2) {
        let counts = |noise: &mut Noise| noise.some(2, |noise| u32::try_from(noise.below(3)).unwrap());
        view.beside = Beside { affinity: counts(noise), anti_affinity: counts(noise) };
    }
    view
}

fn a_placement(noise: &mut Noise) -> Placement {
    let terms = [
        "node.arch=amd64",
        "site.tier in (edge,metro)",
        "!site.colour",
        "site.name!=s2",
        "region.name!=r5",
        "node.zone=a",
        "node.zone",
        "node.name!=n",
    ];
    let selector = |noise: &mut Noise, most| {
        let terms = noise.some(most, |noise| noise.pick(&terms));
        terms.join(", ").parse().unwrap()
    };
    let weight = |noise: &mut Noise| i32::try_from(noise.below(200)).unwrap() - 100;
    let keys = ["region.name", "site.name", "site.tier", "node.zone", "node.name"];
    let by = |noise: &mut Noise| match noise.below(7) {
        0 => SpreadBy::Site,
        1 => SpreadBy::Node,
        _ => SpreadBy::Attribute(noise.pick(&keys).to_owned()),
    };
    let affinity = |noise: &mut Noise| Affinity {
        matches: "app=db".parse().unwrap(),
        by: by(noise),
        weight: noise.one_in(2).then(|| weight(noise)),
    };
    let place = |noise: &mut Noise| match noise.below(2) {
        0 => Place::Point("10.5,20.25".parse().unwrap()),
        _ => Place::Site("s1".parse().unwrap()),
    };
    Placement {
        require: if noise.one_in(2) { selector(noise, 2) } else { "".parse().unwrap() },
        prefer: noise.some(3, |noise| Preference { matches: selector(noise, 2), weight: weight(noise) }),
        tolerate: if noise.one_in(3) { vec![taint("spot")] } else { Vec::new() },
        spread: noise.some(3, |noise| {
            let max_skew = noise.one_in(3).then(|| 1 + u32::try_from(noise.below(3)).unwrap());
            Spread { by: by(noise), max_skew }
        }),
        near: noise
            .some(2, |noise| Near { to: place(noise), weight: 1 + i32::try_from(noise.below(40)).unwrap() }),
        affinity: noise.some(1, affinity),
        anti_affinity: noise.some(1, affinity),
    }
}

/// A plan and its explanation as a number (FNV-1a, 64 bits).
fn fingerprint(seeds: std::ops::Range<u64>) -> u64 {
    let mut print = 0xcbf2_9ce4_8422_2325u64;
    for seed in seeds {
        let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let regions: Vec<RegionView> = (0..=noise.below(9)).map(|at| a_region(&mut noise, at)).collect();
        let placement = a_placement(&mut noise);
        let spec = instance(amounts(1 + noise.below(1500), noise.below(1500), 0, 0, 500 * noise.below(2)));
        let wanted = InstanceSet::first(1 + u32::try_from(noise.below(120)).unwrap());
        let round = u32::try_from(noise.below(20)).unwrap();
        let demand = Demand { instance: &spec, placement: &placement, wanted: &wanted, round };
        let text = format!("{:?} {:?}", plan(&demand, &regions), explain(&demand, &regions));
        print =
            text.bytes().fold(print, |print, byte| (print ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    }
    print
}

#[test]
fn plans_are_what_a_plainer_implementation_made_of_them() {
    let found: Vec<String> =
        (0..12u64).map(|at| format!("{:016x}", fingerprint(at * 100 + 1..at * 100 + 101))).collect();
    let expected = [
        "e72e10555d6aaca6",
        "42a18a7eec09ebc9",
        "d3eb1af9e0386c6d",
        "b5507c3dd571965d",
        "2af3c13621e7313e",
        "71c19605ea22d0e3",
        "69bd71b070f98b30",
        "a89a80f349e3dbd4",
        "9fb4643698e1a018",
        "1748e01eafce07a3",
        "64b40fa06e240c4a",
        "dec242b6682ff5af",
    ];
    assert_eq!(found, expected, "a hundred seeds each");
}
