//! Images that are damaged, hostile or out of reach while a node pulls them.

mod layout;

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skerry_e2e::{Plan, Region, SOON, Workload, in_region};
use skerry_ground::{Cut, until};

use layout::{Layer, Layout};

/// `htpasswd -B` of a password that nobody here knows.
const OTHER_PASSWORD: &str = "skerry:$2y$04$......................................................\n";

#[test]
fn a_pull_that_fails_says_why_and_goes_on_when_the_cause_is_gone() {
    let plan = Plan { nodes: &[("n1", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        registry_down(region)?;
        registry_unauthorized(region)?;
        wrong_bytes(region)?;
        short_blob(region)?;
        hostile_layer(region)?;
        other_platform(region)
    });
}

/// Pushes `hello` with this layer on top as `NAME:1`; gives the reference and the layer's digest.
fn push(region: &mut Region, name: &str, layer: &Layer, arch: Option<&str>) -> Result<(String, String)> {
    let layout = Layout::on_hello(&region.folder().join(name), layer, arch)?;
    let image = region.registry()?.push(&layout.folder, &format!("{name}:1"))?;
    Ok((image, layout.layer))
}

/// Waits until an allocation of the workload is held up by this, and `describe` says so in these words.
pub(crate) fn is_held_up(region: &Region, workload: &str, reason: &str, words: &[&str]) -> Result<()> {
    let mut last = Value::Null;
    let found = until(&format!("{workload} held up by {reason}"), SOON, || {
        last = region.operator.allocation(workload)?;
        Ok((last["reason"] == reason).then(|| last.clone()))
    })
    .with_context(|| format!("the last seen: {last}"))?;
    let id = found["id"].as_str().context("an allocation has an id")?;
    region.operator.run(&["describe", "allocation", id])?.ok()?.says(&[reason, "main"])?.says(words)?;
    let waited = region.operator.run(&["wait", &of(workload), "--for", "running", "--timeout", "200ms"])?;
    waited.exits(3)?.says(words)?;
    ensure!(region.nodes.values().all(|node| node.containers_of(workload).is_empty()), "it runs");
    Ok(())
}

fn of(workload: &str) -> String {
    format!("workload/{workload}")
}

/// A change that the node hears of only after `meanwhile`.
fn apply_unheard(
    region: &mut Region,
    workload: &Workload,
    meanwhile: impl FnOnce(&mut Region) -> Result<()>,
) -> Result<()> {
    region.node("n1")?.host().cut(&Cut::Both)?;
    region.operator.apply(&[workload])?;
    meanwhile(region)?;
    region.node("n1")?.host().heal()
}

fn recovers(region: &Region, workload: &str) -> Result<()> {
    region.operator.running(workload)?;
    region.operator.delete(workload)?;
    region.node("n1")?.is_clean()
}

fn registry_down(region: &mut Region) -> Result<()> {
    region.step("the registry is down when the node pulls");
    let (image, _) = push(region, "down", &Layer::Noise(1000), None)?;
    let workload = Workload::new("down", &image, &["sleep"]);
    apply_unheard(region, &workload, |region| region.registry()?.pause())?;
    is_held_up(region, "down", "RegistryUnreachable", &["is unreachable"])?;
    region.registry()?.resume()?;
    recovers(region, "down")
}

fn registry_unauthorized(region: &mut Region) -> Result<()> {
    region.step("the registry does not let the node in");
    let (image, _) = push(region, "secret", &Layer::Noise(1001), None)?;
    let workload = Workload::new("secret", &image, &["sleep"]);
    let passwords = region.registry()?.ca().with_file_name("htpasswd");
    let right = fs::read_to_string(&passwords)?;
    let restart = |region: &mut Region, text: &str| {
        region.registry()?.pause()?;
        fs::write(&passwords, text)?;
        region.registry()?.resume()
    };
    apply_unheard(region, &workload, |region| restart(region, OTHER_PASSWORD))?;
    is_held_up(region, "secret", "RegistryUnauthorized", &["refused access", "registries.toml"])?;
    restart(region, &right)?;
    recovers(region, "secret")
}

fn wrong_bytes(region: &mut Region) -> Result<()> {
    region.step("a layer's bytes are not what its digest says");
    let (image, layer) = push(region, "wrong", &Layer::Noise(200_000), None)?;
    let file = region.registry()?.blob(&layer);
    let right = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let mut wrong = right.clone();
    wrong[100_000] ^= 1;
    fs::write(&file, wrong)?;
    region.operator.apply(&[&Workload::new("wrong", &image, &["sleep"])])?;
    is_held_up(region, "wrong", "ImageInvalid", &["serves bytes with digest", &layer])?;
    fs::write(&file, right)?;
    recovers(region, "wrong")
}

fn short_blob(region: &mut Region) -> Result<()> {
    region.step("a layer ends too early");
    let (image, layer) = push(region, "short", &Layer::Noise(300_000), None)?;
    let file = region.registry()?.blob(&layer);
    let right = fs::read(&file)?;
    fs::write(&file, &right[..100_000])?;
    region.operator.apply(&[&Workload::new("short", &image, &["sleep"])])?;
    let length = right.len();
    is_held_up(region, "short", "ImageInvalid", &[&format!("ends after 100000 of {length} bytes"), &layer])?;
    fs::write(&file, right)?;
    recovers(region, "short")
}

/// Entries of a folder.
fn names(folder: &std::path::Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

fn hostile_layer(region: &mut Region) -> Result<()> {
    region.step("a layer wants out of its folder");
    let (image, layer) = push(region, "hostile", &Layer::Hostile("../../../outside"), None)?;
    let cache = region.node("n1")?.cache_dir();
    let before = names(&cache)?;
    region.operator.apply(&[&Workload::new("hostile", &image, &["sleep"])])?;
    is_held_up(
        region,
        "hostile",
        "ImageInvalid",
        &["is refused", "../../../outside", "goes up with", &layer],
    )?;
    ensure!(names(&cache)? == before, "beside the folders of the cache: {:?}", names(&cache)?);
    for folder in cache.ancestors() {
        ensure!(!folder.join("outside").exists(), "{} has a file 'outside'", folder.display());
    }
    region.operator.delete("hostile")
}

fn other_platform(region: &mut Region) -> Result<()> {
    region.step("an image for another kind of machine");
    let (image, _) = push(region, "strange", &Layer::Noise(1002), Some("s390x"))?;
    region.operator.apply(&[&Workload::new("strange", &image, &["sleep"])])?;
    is_held_up(region, "strange", "ImageInvalid", &["is made for linux/s390x; this node is linux/"])?;
    region.operator.delete("strange")
}

#[test]
fn a_pull_that_fills_the_disk_goes_on_when_there_is_room() {
    let flags = &["--reserve-disk", "2Mi"];
    let plan = Plan {
        nodes: &[("n1", "oslo")],
        images: &["hello"],
        agent_flags: flags,
        unjoined: true,
        ..Plan::default()
    };
    in_region(&plan, |region| {
        region.node("n1")?.small_cache(32)?;
        region.join("n1", "oslo")?;
        let filler = region.node("n1")?.cache_dir().join("filler");
        full_from_the_start(region, &filler)?;
        full_on_the_way(region, &filler)
    });
}

fn full_from_the_start(region: &mut Region, filler: &std::path::Path) -> Result<()> {
    region.step("the disk is full before the pull");
    fs::write(filler, vec![1; 27 << 20])?;
    let (image, _) = push(region, "large", &Layer::Noise(4 << 20), None)?;
    region.operator.apply(&[&Workload::new("large", &image, &["sleep"])])?;
    is_held_up(region, "large", "DiskFull", &["bytes free", "are needed", "free some space"])?;
    fs::remove_file(filler)?;
    recovers(region, "large")
}

/// The layer's 9 MiB fit compressed, and fit unpacked, but not both at once.
fn full_on_the_way(region: &mut Region, filler: &std::path::Path) -> Result<()> {
    region.step("the disk fills while a layer is unpacked");
    let (image, _) = push(region, "larger", &Layer::Noise(9 << 20), None)?;
    // The first image is unused by now and may be collected to make room: all but 14 MiB go to the filler at any rate.
    let free = || -> Result<u64> {
        let stat = rustix::fs::statvfs(filler.parent().context("a folder")?)?;
        Ok(stat.f_bavail * stat.f_frsize)
    };
    let size = free()?.saturating_sub(14 << 20);
    fs::write(filler, vec![1; usize::try_from(size)?])?;
    region.operator.apply(&[&Workload::new("larger", &image, &["sleep"])])?;
    is_held_up(region, "larger", "DiskFull", &["bytes free", "are needed"])?;
    fs::remove_file(filler)?;
    recovers(region, "larger")
}
