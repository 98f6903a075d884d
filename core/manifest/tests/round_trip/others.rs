//! Tenants and sites.

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use skerry_types::{
    Bandwidth, Bytes, LinkClass, MilliCpu, MilliGpu, Point, Quota, SiteName, SiteSpec, TenantName, TenantSpec,
};

use crate::workloads::{label, name};

/// Two amounts, the lower one first.
fn pair() -> impl Strategy<Value = (Option<u64>, Option<u64>)> {
    (option::of(any::<u64>()), option::of(any::<u64>())).prop_map(|(a, b)| match (a, b) {
        (Some(a), Some(b)) => (Some(a.min(b)), Some(a.max(b))),
        other => other,
    })
}

prop_compose! {
    pub(crate) fn tenant()(
        (name, parent) in (name(), option::of(name())),
        weight in 1..=1_000_u32,
        (cpu, memory, disk, bandwidth) in (pair(), pair(), pair(), pair()),
        gpu in pair(),
    ) -> TenantSpec {
        let gpus = |gpus: Option<u64>| gpus.map(|gpus| MilliGpu(gpus / 1_000 * 1_000));
        TenantSpec {
            parent: parent.filter(|parent| *parent != name).map(|parent| TenantName::new(parent).expect("a name")),
            name: TenantName::new(name).expect("a name"),
            weight,
            guarantee: Quota {
                cpu: cpu.0.map(MilliCpu),
                memory: memory.0.map(Bytes),
                disk: disk.0.map(Bytes),
                bandwidth: bandwidth.0.map(Bandwidth),
                gpu: gpus(gpu.0),
            },
            limit: Quota {
                cpu: cpu.1.map(MilliCpu),
                memory: memory.1.map(Bytes),
                disk: disk.1.map(Bytes),
                bandwidth: bandwidth.1.map(Bandwidth),
                gpu: gpus(gpu.1),
            },
        }
    }
}

prop_compose! {
    pub(crate) fn site()(
        name in name(),
        labels in btree_map(label(), prop_oneof![label(), Just(String::new())], 0..4),
        zone in option::of(select(vec!["Europe/Oslo", "UTC"])),
        point in option::of((-90_000_000..=90_000_000_i32, -180_000_000..=180_000_000_i32)),
        (metered, micros_per_mb) in any::<(bool, u64)>(),
    ) -> SiteSpec {
        SiteSpec {
            name: SiteName::new(name).expect("a name"),
            labels,
            timezone: zone.map(str::to_owned),
            point: point.map(|(latitude, longitude)| Point { latitude, longitude }),
            link: LinkClass { metered, micros_per_mb },
        }
    }
}
