//! The promises of dominant resource fairness, up to one instance.

use std::collections::BTreeMap;

use proptest::prelude::*;
use skerry_federation::{FairTenant, Fairness};
use skerry_types::{Bytes, MilliCpu, MilliGpu, Resources, TenantName};

fn name(text: &str) -> TenantName {
    TenantName::new(text).unwrap()
}

fn tenant(text: &str, parent: Option<&str>, weight: u32) -> FairTenant {
    FairTenant { name: name(text), parent: parent.map(name), weight, used: Resources::ZERO }
}

fn amounts(cpu: u64, memory: u64, gpu: u64) -> Resources {
    Resources { cpu: MilliCpu(cpu), memory: Bytes(memory), gpu: MilliGpu(gpu), ..Resources::ZERO }
}

fn parts(used: &Resources) -> [f64; 3] {
    [used.cpu.0, used.memory.0, used.gpu.0].map(|amount| f64::from(u32::try_from(amount).unwrap()))
}

/// Serves tenants with instances of these sizes until nothing fits; how many instances each has, and what is left.
fn fill(
    capacity: Resources,
    tenants: &[FairTenant],
    tasks: &BTreeMap<TenantName, Resources>,
) -> (BTreeMap<TenantName, u32>, Resources) {
    let mut fairness = Fairness::new(capacity, tenants.to_vec());
    let (mut counts, mut left) = (BTreeMap::new(), capacity);
    loop {
        let fitting = tasks.iter().filter(|(_, task)| left.fits(task)).map(|(name, _)| name);
        let Some(served) = fairness.next(fitting).cloned() else { return (counts, left) };
        fairness.charge(&served, &tasks[&served]);
        left = left.saturating_sub(&tasks[&served]);
        *counts.entry(served).or_insert(0) += 1;
    }
}

#[test]
fn the_example_of_the_paper() {
    let tenants = [tenant("a", None, 100), tenant("b", None, 100)];
    let tasks = BTreeMap::from([(name("a"), amounts(1000, 4, 0)), (name("b"), amounts(3000, 1, 0))]);
    let (counts, _) = fill(amounts(9000, 18, 0), &tenants, &tasks);
    assert_eq!(counts, BTreeMap::from([(name("a"), 3), (name("b"), 2)]));
}

#[test]
fn branches_share_before_tenants_do() {
    let tenants = [
        tenant("lone", None, 100),
        tenant("group", None, 200),
        tenant("x", Some("group"), 300),
        tenant("y", Some("group"), 100),
    ];
    let one = amounts(1, 0, 0);
    let tasks = ["lone", "x", "y"].map(|text| (name(text), one));
    let (counts, _) = fill(amounts(1200, 0, 0), &tenants, &BTreeMap::from(tasks.clone()));
    let count =
        |counts: &BTreeMap<TenantName, u32>, text| counts.get(&name(text)).copied().unwrap_or_default();
    assert_eq!(["lone", "x", "y"].map(|text| count(&counts, text)), [400, 600, 200]);
    let mut with_own = BTreeMap::from(tasks);
    with_own.insert(name("group"), one);
    let (counts, _) = fill(amounts(1500, 0, 0), &tenants, &with_own);
    assert_eq!(["lone", "group", "x", "y"].map(|text| count(&counts, text)), [500, 200, 600, 200]);
}

#[test]
fn use_counts_wherever_it_comes_from() {
    let mut busy = tenant("a", None, 100);
    busy.used = amounts(500, 0, 0);
    let fairness = Fairness::new(amounts(1000, 100, 0), [busy, tenant("b", None, 100)]);
    let pending = [name("a"), name("b")];
    assert_eq!(fairness.next(&pending), Some(&pending[1]));
    assert_eq!(fairness.next(&pending[..1]), Some(&pending[0]));
    assert_eq!(fairness.next([]), None);
    assert_eq!(fairness.dominant_share(&pending[0]), 500_000);
    let stranger = name("stranger");
    assert_eq!(fairness.next([&stranger]), Some(&stranger));
    let ring = Fairness::new(amounts(1, 1, 1), [tenant("a", Some("b"), 1), tenant("b", Some("a"), 1)]);
    assert_eq!(ring.next(&pending[..1]), Some(&pending[0]), "a ring of parents starves nobody");
}

type Scene = (Resources, Vec<(u32, Resources)>);

/// Capacity, and for each tenant a weight and the size of its instances: each less than a twentieth of everything.
fn scenes() -> impl Strategy<Value = Scene> {
    let capacity = (1000u64..5000, 1000u64..5000, 1000u64..5000);
    capacity.prop_flat_map(|(cpu, memory, gpu)| {
        let amount = |most: u64| prop_oneof![1 => Just(0), 4 => 1..=most / 20];
        let task = (amount(cpu), amount(memory), amount(gpu))
            .prop_map(|(cpu, memory, gpu)| amounts(cpu.max(1), memory, gpu));
        let tenants = proptest::collection::vec((1u32..5, task), 1..8);
        tenants.prop_map(move |tenants| (amounts(cpu, memory, gpu), tenants))
    })
}

struct Outcome {
    weight: f64,
    count: f64,
    /// Part of each resource that one instance takes.
    task: [f64; 3],
}

impl Outcome {
    fn step(&self) -> f64 {
        self.task.into_iter().fold(0.0, f64::max)
    }

    fn share(&self) -> f64 {
        self.count * self.step()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn sharing_pays_nobody_envies_and_nothing_lies_idle((capacity, scene) in scenes()) {
        let tenants: Vec<FairTenant> =
            scene.iter().zip(0..).map(|((weight, _), at)| tenant(&format!("t{at}"), None, weight * 100)).collect();
        let tasks: BTreeMap<TenantName, Resources> =
            tenants.iter().zip(&scene).map(|(tenant, (_, task))| (tenant.name.clone(), *task)).collect();
        let (counts, left) = fill(capacity, &tenants, &tasks);
        prop_assert!(tasks.values().all(|task| !left.fits(task)), "something still fits");
        prop_assert_eq!(fill(capacity, &tenants, &tasks), (counts.clone(), left));

        let whole = parts(&capacity);
        let outcomes: Vec<Outcome> = tenants.iter().map(|tenant| {
            let task = parts(&tasks[&tenant.name]);
            Outcome {
                weight: f64::from(tenant.weight),
                count: f64::from(counts.get(&tenant.name).copied().unwrap_or_default()),
                task: [0, 1, 2].map(|at| task[at] / whole[at]),
            }
        }).collect();
        let weights: f64 = outcomes.iter().map(|one| one.weight).sum();
        // What one instance of anybody changes in a weighted share.
        let step = outcomes.iter().map(|one| one.step() / one.weight).fold(0.0, f64::max);
        for one in &outcomes {
            let alone = (1.0 - one.step()) / weights;
            prop_assert!(one.share() / one.weight + step + 1e-9 >= alone, "sharing costs a tenant");
            for other in &outcomes {
                let scale = one.weight / other.weight;
                let runs = (0..3).filter(|at| one.task[*at] > 0.0)
                    .map(|at| other.count * other.task[at] * scale / one.task[at])
                    .fold(f64::INFINITY, f64::min);
                let slack = step * one.weight / one.step() + scale + 1.0;
                prop_assert!(runs <= one.count + slack + 1e-9, "{runs} instead of {}", one.count);
            }
        }
    }
}
