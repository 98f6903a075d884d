//! A tenant's limit over the whole tree, also while a region is cut off.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Operator, Region, SOON, Workload};
use skerry_ground::{until, until_ok};

/// In workloads of four instances of ten thousandths of a processor.
const LIMIT: usize = 5;
const PER_WORKLOAD: usize = 4;

/// What `skerry apply` answered to workloads that were to use all of a limit, one after the other.
#[derive(Debug, Default)]
struct Asked {
    admitted: Vec<String>,
    refusal: String,
}

pub(super) fn a_limit_holds(region: &Region) -> Result<()> {
    region.step("a tenant with a limit over the whole tree");
    let tenant = json!({"apiVersion": "skerry/v1", "kind": "Tenant", "metadata": {"name": "fish"},
        "spec": {"limit": {"cpu": format!("{}m", LIMIT * PER_WORKLOAD * 10)}}});
    region.operator.apply(&[&tenant])?;
    let (west, east) = (&region.child("west")?.operator, &region.child("east")?.operator);
    for (name, operator) in [("west", west), ("east", east)] {
        until("a first workload", SOON, || {
            let said = apply(region, operator, &format!("first-{name}"))?;
            ensure!(said.is_none() || !said.iter().any(|words| words.contains("limit")), "{said:?}");
            Ok(said.is_none().then_some(()))
        })?;
    }
    region.step("one region is cut off, and both are asked for more than is left");
    region.cut_uplink("west")?;
    region.is_away("west")?;
    let (alone, linked) = (fill(region, west, "alone")?, fill(region, east, "linked")?);
    let admitted = 2 + alone.admitted.len() + linked.admitted.len();
    ensure!(admitted <= LIMIT, "{admitted} were admitted of {LIMIT}: {alone:?}, {linked:?}");
    let alone_says =
        ["fish", "cpu", "the part of its limit that region 'west' may use", "region above is not connected"];
    let linked_says = ["fish", "cpu", "the part of its limit that region 'east' may use"];
    for (asked, words) in [(&alone, alone_says.as_slice()), (&linked, &linked_says)] {
        let missing = words.iter().find(|words| !asked.refusal.contains(**words));
        ensure!(missing.is_none(), "{missing:?} is not in {:?}", asked.refusal);
    }
    runs(region, admitted)?;

    region.step("the link is back, and parts that nobody uses flow to where they are asked for");
    region.heal_uplink("west")?;
    let mut all = admitted;
    until("all of the limit", SOON, || {
        all += fill(region, east, &format!("more-{all}"))?.admitted.len();
        ensure!(all <= LIMIT, "{all} were admitted of {LIMIT}");
        Ok((all == LIMIT).then_some(()))
    })?;
    runs(region, LIMIT)?;
    for operator in [west, east] {
        for one in operator.list("workloads --tenant fish")? {
            let name = one.pointer("/metadata/name").and_then(Value::as_str).context("a name")?;
            operator.run(&["delete", "workload", name, "-n", "fish", "--wait", "--timeout", "60s"])?.ok()?;
        }
    }
    until_ok("a tenant of which nothing is left in any region", SOON, || {
        region.operator.run(&["delete", "tenant", "fish"])?.ok().map(drop)
    })
}

/// What was said if it was refused.
fn apply(region: &Region, operator: &Operator, name: &str) -> Result<Option<String>> {
    let workload =
        Workload::new(name, &region.image("hello")?, &["sleep"]).instances(u32::try_from(PER_WORKLOAD)?);
    let mut manifest: Value = serde_json::from_str(&workload.to_string())?;
    manifest["metadata"]["tenant"] = json!("fish");
    let said = operator.run_with(&["apply", "-f", "-"], &manifest.to_string())?;
    Ok((said.code != 0).then_some(said.err))
}

/// Applies one workload after the other until one is refused.
fn fill(region: &Region, operator: &Operator, name: &str) -> Result<Asked> {
    let mut asked = Asked::default();
    for number in 0..=LIMIT {
        let name = format!("{name}-{number}");
        match apply(region, operator, &name)? {
            None => asked.admitted.push(name),
            Some(words) => {
                asked.refusal = words;
                return Ok(asked);
            }
        }
    }
    anyhow::bail!("nothing was refused: {asked:?}")
}

/// So many workloads of the tenant run, looked at from outside.
fn runs(region: &Region, workloads: usize) -> Result<()> {
    let ours = ["first-", "alone-", "linked-", "more-"];
    until("what was admitted", SOON, || {
        let mut found = region.containers();
        found.retain(|one| ours.iter().any(|prefix| one.allocation.starts_with(prefix)));
        ensure!(found.len() <= workloads * PER_WORKLOAD, "more runs than was admitted: {found:?}");
        Ok((found.len() == workloads * PER_WORKLOAD).then_some(()))
    })
}
