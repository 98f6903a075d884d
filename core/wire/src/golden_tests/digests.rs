//! What regions tell the one above.

use super::*;

#[test]
fn digests() {
    let (region, site) = (RegionName::new("north").unwrap(), SiteName::new("oslo").unwrap());
    let instances = |last| InstanceSet::from(vec![(0, last)]);
    let refusal = |rule| Refusal { rule, nodes: 2 };
    let rules = vec![
        refusal(Rule::Bandwidth { need: Bandwidth(5), most_free: Bandwidth(4) }),
        refusal(Rule::Gpu { need: MilliGpu(5), most_free: MilliGpu(4) }),
        refusal(Rule::Affinity { matches: "a".into(), by: "site".into() }),
        refusal(Rule::AntiAffinity { matches: "a".into(), by: "node".into() }),
        refusal(Rule::Cordoned),
        refusal(Rule::RegionUnreachable),
        refusal(Rule::HandedBack { why: "no".into() }),
        refusal(Rule::MayStillRun),
        refusal(Rule::Quota { tenant: "acme".into(), excess: "5 of 4 cpu".into() }),
    ];
    let status = ShareStatus {
        key: key(),
        generation: Generation(3),
        offer: 4,
        placed: instances(5),
        running: instances(4),
        current: instances(3),
        failed: instances(2),
        progress: PartProgress {
            total: 9,
            updated: 8,
            under_way: 7,
            settled: 6,
            deferred: 5,
            failed: 4,
            waiting: 3,
            canaries_well: true,
            waves_done: 2,
            matching: Some(WaveMembers { wave: 1, members: 7 }),
            done: true,
        },
        completed: instances(1),
        unreachable: instances(0),
        handed_back: vec![HandedBack { instances: instances(9), reasons: rules }],
        refused: Some("taken".into()),
        serial: 71,
        last_due: Some(WallTime(72)),
        next_due: Some(WallTime(73)),
    };
    check("digest.share", &DigestRow::Share(status));
    let bucket = SketchBucket { free: amounts(), nodes: 3, slots: 250 };
    let class = SketchClass {
        attributes: BTreeMap::from([("node.arch".into(), "arm64".into())]),
        taints: vec![Taint::new("maintenance").unwrap()],
        buckets: vec![bucket],
    };
    let spec = SiteSpec {
        name: site.clone(),
        labels: BTreeMap::from([("tier".into(), "edge".into())]),
        timezone: Some("Europe/Oslo".into()),
        point: Some("59.91,10.75".parse().unwrap()),
        link: LinkClass { metered: true, micros_per_mb: 20_000 },
    };
    let digest = SiteDigest {
        region: region.clone(),
        spec,
        nodes: 3,
        reachable: 2,
        allocations: 9,
        running: 8,
        capacity: amounts(),
        reserved: amounts(),
        last_seen: WallTime(5),
        sketch: Sketch { classes: vec![class] },
    };
    check("digest.site", &DigestRow::Site(digest));
    let told = RegionDigest {
        region: region.clone(),
        path: vec![RegionName::new("world").unwrap()],
        workloads: 7,
        reachable: true,
        last_seen: WallTime(5),
    };
    check("digest.region", &DigestRow::Region(told));
    let node = NodeDigest {
        region,
        site,
        node: NodeName::new("n1").unwrap(),
        reachable: true,
        last_seen: WallTime(5),
        joined_at: WallTime(3),
        capacity: amounts(),
        reserved: amounts(),
        allocations: 4,
        attributes: BTreeMap::from([("node.arch".into(), "arm64".into())]),
    };
    check("digest.node", &DigestRow::Node(node));
    let tenant = TenantUse {
        tenant: TenantName::new("acme").unwrap(),
        held: quota(),
        used: amounts(),
        wanted: Resources::default(),
    };
    check("digest.tenant", &DigestRow::Tenant(tenant));
}
