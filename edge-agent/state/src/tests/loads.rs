//! What allocations use, told when it moved.

use std::collections::BTreeMap;

use skerry_types::{AllocationLoad, Bytes, MilliCpu};
use skerry_wire::{ObservedRow, TableId};

use super::bench::*;
use crate::*;

const ID: &str = "web-0-1";
const MIB: u64 = 1 << 20;

fn load(id: &str, cpu: u64, memory: u64, gauges: &[(&str, u64)]) -> AllocationLoad {
    AllocationLoad {
        id: reference(id, "main").allocation,
        cpu: MilliCpu(cpu),
        memory: Bytes(memory),
        gauges: gauges.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<BTreeMap<_, _>>(),
    }
}

fn told(bench: &mut Bench) -> Vec<Option<AllocationLoad>> {
    let load = |row| match row {
        ObservedRow::Load(load) => load,
        other => panic!("{other:?} is no load"),
    };
    let rows = bench.told().into_iter().filter(|(key, _)| key.table == TableId::LOAD);
    rows.map(|(_, row)| row.map(load)).collect()
}

#[test]
fn only_a_tenth_is_news() {
    let mut bench = Bench::running(&web());
    bench.link();
    bench.told();
    let mut check = |cpu: u64, memory: u64, gauges: &[(&str, u64)], is_news: bool| {
        let seen = load(ID, cpu, memory, gauges);
        bench.feed(Input::Loads(vec![seen.clone()]));
        let expect: &[_] = if is_news { &[Some(seen.clone())] } else { &[] };
        assert_eq!(told(&mut bench), expect, "{seen:?}");
    };
    check(1000, 100 * MIB, &[("queue", 500)], true);
    check(1100, 110 * MIB, &[("queue", 550)], false);
    check(900, 90 * MIB, &[("queue", 450)], false);
    check(1101, 100 * MIB, &[("queue", 500)], true);
    check(1101, 110 * MIB + 1, &[("queue", 500)], true);
    check(1101, 110 * MIB, &[("queue", 551)], true);
    check(1101, 110 * MIB, &[], true);
    check(0, 110 * MIB, &[], true);
    check(10, 110 * MIB, &[], false);
    check(11, 110 * MIB, &[], true);
}

#[test]
fn slow_growth_is_told_by_what_was_told_last() {
    let mut bench = Bench::running(&web());
    bench.link();
    bench.told();
    let mut rows = 0;
    for step in 0..50_u64 {
        bench.feed(Input::Loads(vec![load(ID, 2000 + step * 20, 0, &[])]));
        rows += told(&mut bench).len();
    }
    assert!((3..=6).contains(&rows), "{rows}");
}

#[test]
fn a_load_goes_with_what_it_is_of() {
    let mut bench = Bench::running(&web());
    bench.link();
    bench.told();
    bench.feed(Input::Loads(vec![load(ID, 500, 0, &[]), load("other-0-9", 500, 0, &[])]));
    assert_eq!(told(&mut bench), [Some(load(ID, 500, 0, &[]))], "nobody knows the other one");
    bench.feed(Input::Loads(Vec::new()));
    assert_eq!(told(&mut bench), [None]);
    bench.feed(Input::Loads(vec![load(ID, 500, 0, &[])]));
    told(&mut bench);
    bench.rows(&[gone(2, ID)]);
    bench.answer_all();
    bench.exit(ID, "main", 0, skerry_types::ExitKind::Code(0));
    bench.answer_all();
    assert_eq!(told(&mut bench), [None]);
}
