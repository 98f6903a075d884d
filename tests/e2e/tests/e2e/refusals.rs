//! What the master and the command say to manifests and images that cannot be.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use skerry_e2e::{Operator, Plan, Region, Workload, in_region};

#[test]
fn what_cannot_be_is_refused_in_words_that_help() {
    let plan = Plan { images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        let image = region.image("hello")?;
        manifests(region, &image)?;
        lives(region, &image)?;
        images(region)?;
        registry(region, &image)?;
        nothing_fits(region, &image)?;
        ensure!(
            region.operator.list("workloads")?.len() == 1,
            "only the one that waits for a node was taken"
        );
        Ok(())
    });
}

/// A manifest with one thing wrong: what is to be replaced, by what, and what must be said.
fn manifests(region: &Region, image: &str) -> Result<()> {
    region.step("wrong manifests");
    let good = format!(
        "apiVersion: skerry/v1
kind: Workload
metadata:
  name: web
spec:
  type: service
  instances: 1
  containers:
    - name: main
      image: {image}
      resources: {{cpu: 10m, memory: 16Mi}}
      ports: [{{name: http, container: 8080, host: auto}}]
"
    );
    let checks: &[(&str, &str, &[&str])] = &[
        ("metadata:", "metadata: [", &["line"]),
        ("instances: 1", "instancs: 1", &["instancs", "instances", "line 7"]),
        ("memory: 16Mi", "memory: 16Mib", &["16Mib", "line 11"]),
        ("memory: 16Mi", "memory: -1", &["memory", "line 11"]),
        ("cpu: 10m", "cpu: lots", &["lots", "line 11"]),
        ("name: web", "name: Web_1", &["Web_1", "line 4"]),
        ("type: service", "type: sevice", &["sevice", "service", "line 6"]),
        ("host: auto}]", "host: 80}, {name: other, container: 81, host: 80}]", &["80", "line 12"]),
        ("host: auto}]", "host: 80}, {name: http, container: 81}]", &["http", "line 12"]),
        ("container: 8080", "container: 99999", &["99999", "line 12"]),
        ("kind: Workload", "kind: Pod", &["Pod", "line 2"]),
        ("skerry/v1", "skerry/v9", &["skerry/v9", "line 1"]),
    ];
    for (from, to, parts) in checks {
        let manifest = good.replacen(from, to, 1);
        region.operator.apply_refused(&manifest)?.says(parts)?;
    }
    region.operator.run_with(&["apply", "--dry-run", "-f", "-"], &good)?.ok()?.says(&["dry run"])?;
    region.operator.run(&["apply", "-f", "/nowhere/web.yaml"])?.exits(1)?.says(&["/nowhere/web.yaml"])?;
    region.operator.run(&["apply"])?.exits(2)?;
    region.operator.run(&["describe", "workload", "web"])?.exits(1)?.says(&["there is no workload 'web'"])?;
    let waited = region.operator.run(&["wait", "workload/web", "--for", "running", "--timeout", "1s"])?;
    waited.exits(1)?.says(&["there is no workload 'web'"])?;
    Ok(())
}

/// Lives that cannot be: a good manifest with one part of its spec set to something else.
fn lives(region: &Region, image: &str) -> Result<()> {
    region.step("lives that cannot be");
    let web = || Workload::new("web", image, &[]).port(8080, &json!("auto"));
    let cron = |schedule: Value| {
        web().spec("type", json!("cron")).spec("restart", json!({})).spec("schedule", schedule)
    };
    let job = web()
        .spec("type", json!("job"))
        .spec("restart", json!({"policy": "never", "backoff": "10s"}))
        .spec("job", json!({"deadline": "5s"}));
    let checks: [(Workload, &[&str]); 7] = [
        (
            web().container("health", json!({"http": {"port": "admin", "path": "/"}})),
            &["health.http.port", "no port is called 'admin'", "http (8080)"],
        ),
        (cron(json!({"cron": "0 0 31 2 *"})), &["schedule.cron", "never due", "no such day exists"]),
        (cron(json!({"cron": "0 0 * *"})), &["schedule.cron"]),
        (
            cron(json!({"cron": "0 3 * * *", "timezone": "Europe/Olso"})),
            &["schedule.timezone", "'Europe/Olso' is not a time zone", "Europe/Oslo"],
        ),
        (
            web().spec("scale", json!({"min": 5, "max": 2, "cpu": "50%"})),
            &["scale.min", "5 is more than max 2"],
        ),
        (job, &["job.deadline", "5s is over before a failed instance is tried again after 10s"]),
        (
            web().spec("update", json!({"max_unavailable": 0, "max_surge": 0})),
            &["nothing could ever be replaced"],
        ),
    ];
    for (wrong, parts) in checks {
        region.operator.apply_refused(&wrong.to_string())?.says(parts)?;
    }
    Ok(())
}

fn refused(operator: &Operator, image: &str, parts: &[&str]) -> Result<()> {
    operator.apply_refused(&Workload::new("web", image, &[]).to_string())?.says(parts).map(drop)
}

fn images(region: &Region) -> Result<()> {
    region.step("images that are not there");
    let authority = region.registry.as_ref().map(skerry_ground::Registry::authority).unwrap_or_default();
    let operator = &region.operator;
    refused(operator, &format!("{authority}/hello:none"), &["web", "main", "hello:none"])?;
    refused(operator, &format!("{authority}/nothing:1"), &["web", "main", "nothing:1"])?;
    refused(operator, "198.18.0.77:5000/hello:1", &["198.18.0.77:5000", "nothing was changed"])?;
    refused(operator, "not an image", &["not an image"])?;
    Ok(())
}

fn registry(region: &mut Region, image: &str) -> Result<()> {
    region.step("a registry that is down");
    region.registry()?.pause()?;
    refused(
        &region.operator,
        image,
        &["main", "nothing was changed, apply again when the registry answers"],
    )?;
    region.registry()?.resume()?;

    region.step("a registry that does not let the master in");
    let file = region.registries_path();
    let right = std::fs::read_to_string(&file)?;
    std::fs::write(&file, right.replace("low-water", "high-water"))?;
    restart(region)?;
    refused(&region.operator, image, &["main", image.split('/').next().unwrap_or_default(), "password"])?;
    std::fs::write(&file, right)?;
    restart(region)
}

fn restart(region: &mut Region) -> Result<()> {
    region.master.kill()?;
    region.master.start()
}

fn nothing_fits(region: &Region, image: &str) -> Result<()> {
    region.step("no node at all");
    region.operator.apply(&[&Workload::new("alone", image, &["sleep"])])?;
    let said = region.operator.run(&["describe", "workload", "alone"])?.ok()?;
    said.says(&["no node"])?;
    let waited =
        region.operator.run(&["wait", "workload/alone", "--for", "running", "--timeout", "300ms"])?;
    waited.exits(3)?.says(&["no node"])?;
    Ok(())
}
