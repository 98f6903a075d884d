//! Bounds and wishes of placement that reach over regions.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Region, Workload};

pub(super) fn bounds_over_regions(region: &Region) -> Result<()> {
    region.step("counts of regions that may differ by one");
    let hello =
        |name: &str| -> Result<Workload> { Ok(Workload::new(name, &region.image("hello")?, &["sleep"])) };
    // Three nodes of one region match and one of the other, and each has room for one.
    let uneven = hello("uneven")?.instances(3).port(8080, &json!(8300)).spec(
        "placement",
        json!({
            "require": "site.name in (bergen,voss,hamar)",
            "spread": [{"by": "region.name", "max_skew": 1}],
        }),
    );
    region.operator.apply(&[&uneven])?;
    region.operator.running("uneven")?;
    let counts = |region: &Region| -> Result<[usize; 2]> {
        Ok([region.containers_in("west", "uneven")?.len(), region.containers_in("east", "uneven")?.len()])
    };
    ensure!(counts(region)? == [2, 1], "{:?}", region.containers());
    region.operator.apply(&[&uneven.clone().instances(4)])?;
    let said = region.operator.run(&["wait", "workload/uneven", "--for", "running", "--timeout", "2s"])?;
    said.exits(3)?.says(&["1 not placed", "would break max_skew 1 over region.name"])?;
    let said = region.operator.run(&["explain", "uneven"])?.ok()?;
    said.says(&["would break max_skew 1 over region.name", "1 without a place"])?;
    ensure!(counts(region)? == [2, 1], "{:?}", region.containers());
    region.operator.delete("uneven")
}

pub(super) fn beside_and_apart(region: &Region) -> Result<()> {
    region.step("beside another workload, and apart from it, over regions");
    let hello = |name: &str, placement: Value| -> Result<Workload> {
        let workload = Workload::new(name, &region.image("hello")?, &["sleep"]).label("app", name);
        Ok(workload.spec("placement", placement))
    };
    let cache = hello("cache", json!({"require": "site.name=hamar"}))?;
    region.operator.apply(&[&cache])?;
    region.operator.running("cache")?;
    let to_cache = |by: &str| json!([{"match": "app=cache", "by": by}]);
    let cases = [
        ("same-node", json!({"affinity": to_cache("node")}), ["e3"].as_slice()),
        ("same-site", json!({"affinity": to_cache("site")}), &["e3"]),
        (
            "other-site",
            json!({"anti_affinity": to_cache("site"), "require": "region.name=east"}),
            &["e1", "e2"],
        ),
        ("other-region", json!({"anti_affinity": to_cache("region.name")}), &["w1", "w2", "w3"]),
    ];
    for (name, placement, nodes) in cases {
        region.operator.apply(&[&hello(name, placement)?.instances(2)])?;
        region.operator.running(name)?;
        let placed = region.operator.allocations(name)?;
        let right = placed.iter().all(|one| nodes.iter().any(|node| one["node"] == **node));
        ensure!(right && placed.len() == 2, "{name} is not on {nodes:?}: {placed:?}");
        let seen: usize =
            nodes.iter().map(|node| Ok(region.node(node)?.containers_of(name).len())).sum::<Result<_>>()?;
        ensure!(seen == 2, "{name}: {:?}", region.containers());
    }
    region.step("beside a workload that is nowhere");
    let lonely = hello("lonely", json!({"affinity": [{"match": "app=nobody", "by": "site"}]}))?;
    region.operator.apply(&[&lonely])?;
    let said = region.operator.run(&["explain", "lonely"])?.ok()?;
    said.says(&["app=nobody", "1 without a place"])?;
    for name in ["lonely", "same-node", "same-site", "other-site", "other-region", "cache"] {
        region.operator.delete(name)?;
    }
    Ok(())
}
