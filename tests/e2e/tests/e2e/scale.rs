//! Services whose count follows what their instances use, or what they say of themselves.
//!
//! Nodes tell of loads every fifteen seconds and regions look at them as often, so both services go through it side by side.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Load, Plan, Region, Workload, in_region};
use skerry_ground::{http, until};

const BUSY: &str = "busy";
const QUEUE: &str = "queue";
const MOST: usize = 3;

/// Two looks of the node (a load is what was used between two), one of the region, a start, and room for a busy machine.
const FOLLOWED: Duration = Duration::from_secs(90);

#[test]
fn counts_follow_processors_and_gauges_up_and_down() {
    let plan = Plan { nodes: &[("n1", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        let half = json!({"cpu": "50%"});
        let ten = json!({"metric": {"name": "queue", "value": 10}});
        region.operator.apply(&[&service(region, BUSY, &half)?, &service(region, QUEUE, &ten)?])?;
        region.operator.running(BUSY)?;
        region.operator.running(QUEUE)?;
        counts(region, [1, 1])?;

        region.step("processors are busy, and a queue is long");
        let load = Load::start(region.wan.namespace(), &region.operator, BUSY, "/burn?2")?;
        // Two and a half times what one instance should have.
        let first = gauge(region, 25)?;
        counts(region, [MOST, MOST])?;
        says_why(region)?;

        region.step("the load ends");
        let (served, _) = load.end()?;
        region.step(&format!("{served} requests were answered, by more and more instances"));
        http::fetch(region.wan.namespace(), first, "/gauge?0")?;
        counts(region, [1, 1])
    });
}

/// One to three instances that should each use half of a twentieth of a processor, or have a queue of ten.
fn service(region: &Region, name: &str, target: &Value) -> Result<Workload> {
    let mut scale = json!({"min": 1, "max": MOST, "stabilization": "1s"});
    if let (Some(scale), Some(target)) = (scale.as_object_mut(), target.as_object()) {
        scale.extend(target.clone());
    }
    Ok(Workload::new(name, &region.image("hello")?, &["serve"])
        .port(8080, &json!("auto"))
        .container("resources", json!({"cpu": "50m", "memory": "16Mi"}))
        .container("ready", json!({"tcp": {"port": "http"}, "interval": "1s"}))
        .spec("scale", scale))
}

/// Tells the one instance how long its queue is. Gives where it listens.
fn gauge(region: &Region, value: u32) -> Result<SocketAddr> {
    let only = region.operator.allocation(QUEUE)?;
    let ip = only["node_address"].as_str().context("no address")?.parse()?;
    let port = only.pointer("/ports/0/host").and_then(Value::as_u64).context("no port")?;
    let address = SocketAddr::new(ip, u16::try_from(port)?);
    http::fetch(region.wan.namespace(), address, &format!("/gauge?{value}"))?;
    Ok(address)
}

/// Waits until each service has as many instances, all of them ready.
fn counts(region: &Region, wanted: [usize; 2]) -> Result<()> {
    until(&format!("{wanted:?} instances"), FOLLOWED, || {
        for (name, count) in [BUSY, QUEUE].into_iter().zip(wanted) {
            let found = region.operator.allocations(name)?;
            let ready = found.iter().filter(|one| one["ready"] == true).count();
            if found.len() != count || ready != count {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .with_context(|| region.operator.whole_state())
}

fn says_why(region: &Region) -> Result<()> {
    for name in [BUSY, QUEUE] {
        let events = region.operator.run(&["get", "events"])?.ok()?;
        let told = events.out.lines().any(|line| line.contains("Scaled") && line.contains(name));
        ensure!(told, "nothing is told of {name}: {}", events.out);
        let said = region.operator.run(&["scale", name, "--instances", "2"])?.exits(1)?;
        said.says(&[name, "scales by itself between 1 and 3"])?;
    }
    Ok(())
}
