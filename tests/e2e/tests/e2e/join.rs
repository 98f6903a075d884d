//! Who is not let in: tokens, certificates and frames that are wrong.

mod strange;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skerry_e2e::{Container, Master, Operator, Plan, Region, SOON, Said, Workload, in_region};
use skerry_ground::{Host, Process, binary, until};
use skerry_link::{JoinToken, TokenSecret};

#[test]
fn who_does_not_belong_stays_out_and_disturbs_nobody() {
    let plan = Plan { nodes: &[("n1", "oslo")], images: &["hello"], ..Plan::default() };
    in_region(&plan, |region| {
        let settled = Settled::of(region)?;
        let host = region.bare_host("stranger")?;
        tokens(region, &host)?;
        settled.holds(region)?;
        other_ca(region, &host)?;
        settled.holds(region)?;
        a_nodes_certificate(region)?;
        settled.holds(region)?;
        noise(region, &host)?;
        settled.holds(region)?;
        frames(region, &host)?;
        settled.holds(region)?;
        // What has been held up is free again.
        region.operator.apply(&[&Workload::new("after", &region.image("hello")?, &["sleep"])])?;
        region.operator.running("after")
    });
}

/// The one node that belongs here, with its one container and its one link.
struct Settled {
    containers: Vec<Container>,
    links: usize,
}

impl Settled {
    fn of(region: &Region) -> Result<Self> {
        region.operator.apply(&[&Workload::new("calm", &region.image("hello")?, &["sleep"])])?;
        region.operator.running("calm")?;
        Ok(Self { containers: region.node("n1")?.runs("calm", 1, SOON)?, links: links(region) })
    }

    fn holds(&self, region: &Region) -> Result<()> {
        let nodes = region.operator.list("nodes")?;
        let well = |node: &&Value| node["name"] == "n1" && node["reachable"] == true;
        ensure!(nodes.iter().filter(well).count() == 1, "{nodes:?}");
        ensure!(links(region) == self.links, "the link of n1 did not hold");
        ensure!(region.node("n1")?.containers() == self.containers, "{:?}", region.node("n1")?.containers());
        region.operator.running("calm")
    }
}

/// How often the link of the node came up.
fn links(region: &Region) -> usize {
    region.master.log().lines().filter(|line| line.contains("a link comes up") && line.contains("n1")).count()
}

/// An agent on a host that is no node yet, with a folder of its own.
struct Stranger<'h> {
    host: &'h Host,
    node: &'static str,
    data_dir: PathBuf,
}

impl<'h> Stranger<'h> {
    fn new(host: &'h Host, node: &'static str, case: &str) -> Self {
        Self { host, node, data_dir: host.disk().join(case) }
    }

    fn command(&self, verb: &str, flags: &[&str]) -> Result<std::process::Command> {
        let mut command = self.host.command(binary("skerry-agent")?);
        command.args([verb, "--node", self.node, "--data-dir"]).arg(&self.data_dir).args(flags);
        command.args(["--cgroup-root", &format!("/{}", self.host.cgroup())]);
        Ok(command)
    }

    fn join(&self, token: &str, flags: &[&str]) -> Result<Said> {
        let ended =
            self.command("join", flags)?.args(["--token", token]).output().context("starting join")?;
        Ok(Said {
            line: format!("skerry-agent join as {}", self.node),
            code: ended.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&ended.stdout).into_owned(),
            err: String::from_utf8_lossy(&ended.stderr).into_owned(),
        })
    }

    /// Fails to join, and says so in these words.
    fn stays_out(&self, token: &str, flags: &[&str], words: &[&str]) -> Result<()> {
        let said = self.join(token, flags)?;
        ensure!(said.code != 0, "it joined: {said:?}");
        said.says(words)?;
        ensure!(!self.data_dir.join("identity/cert.pem").exists(), "it has a certificate");
        Ok(())
    }
}

fn tokens(region: &Region, host: &Host) -> Result<()> {
    region.step("tokens that are wrong");
    let good = region.token("oslo", &["--uses", "2"])?;
    let case = |case: &str| Stranger::new(host, "n2", case);
    case("nonsense").stays_out("nonsense", &[], &["not a join token"])?;
    case("cut").stays_out(&good[..good.len() - 3], &[], &["copy the whole line again"])?;

    let mut forged: JoinToken = good.parse()?;
    forged.secret = another_secret()?;
    case("forged").stays_out(&forged.to_text(), &[], &["not one of this master's", "skerry token create"])?;

    let short = region.token("oslo", &["--ttl", "1s"])?;
    let id = short.parse::<JoinToken>()?.id.to_string();
    until("the end of a token", SOON, || {
        let listed = region.operator.run(&["token", "list", "-o", "json"])?.ok()?;
        let listed: Value = serde_json::from_str(&listed.out)?;
        let mine = listed.as_array().and_then(|all| all.iter().find(|one| one["id"] == id.as_str()));
        let end = mine.and_then(|one| one["expires_at_ms"].as_u64()).with_context(|| listed.to_string())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        Ok((now > u128::from(end)).then_some(()))
    })?;
    case("late").stays_out(&short, &[], &["the join token has expired"])?;

    case("elsewhere").stays_out(
        &good,
        &["--site", "bergen"],
        &["the join token is for another site", "oslo"],
    )?;
    Stranger::new(host, "n1", "twin").stays_out(
        &good,
        &[],
        &["a node of this name is enrolled with another key"],
    )?;

    // None of these has used it up; its two uses are left.
    case("first").join(&good, &[])?.ok()?;
    case("first").join(&good, &[])?.ok()?.says(&["joined as"])?;
    Stranger::new(host, "n3", "second").join(&good, &[])?.ok()?;
    Stranger::new(host, "n4", "third").stays_out(&good, &[], &["the join token is used up", "--uses"])?;

    let revoked: JoinToken = region.token("oslo", &[])?.parse()?;
    region.operator.run(&["token", "revoke", &revoked.id.to_string()])?.ok()?;
    case("revoked").stays_out(&revoked.to_text(), &[], &["not one of this master's"])?;
    for node in ["n2", "n3"] {
        region.operator.run(&["delete", "node", node, "--yes"])?.ok()?;
    }
    Ok(())
}

fn another_secret() -> Result<TokenSecret> {
    Ok(JoinToken::generate(skerry_link::RootHash([0; 32]), Vec::new())?.secret)
}

/// A whole other region on another host: its tokens, nodes and operators are strangers here.
fn other_ca(region: &mut Region, host: &Host) -> Result<()> {
    region.step("another region's token, node and operator");
    let elsewhere = region.bare_host("elsewhere")?;
    let (mut other, _) = Master::init_with(&elsewhere, "north", &["--domain".into(), "e2e.example".into()])?;
    let operator = Operator::new(region.wan.namespace(), other.context());
    other.start()?;
    let said = operator.run(&["token", "create", "--site", "oslo", "-o", "json"])?.ok()?;
    let token = serde_json::from_str::<Value>(&said.out)?["token"].as_str().context("a token")?.to_owned();

    // The token names both masters; only its own may answer to it.
    let here = region.master.host().address().to_string();
    let stranger = Stranger::new(host, "n5", "foreign-token");
    let mut elsewhere_only: JoinToken = token.parse()?;
    elsewhere_only.addresses.clear();
    stranger.stays_out(
        &elsewhere_only.to_text(),
        &["--master", &here],
        &["the join token is from another CA than the master that answers"],
    )?;

    let node = Stranger::new(host, "n1", "foreign-node");
    node.join(&token, &[])?.ok()?;
    let before = region.master.log().matches("a peer was sent away").count();
    let log = host.log("foreign-node");
    let agent = Process::start("agent", node.command("run", &["--master", &here])?, &log)?;
    until("the foreign node is sent away", SOON, || {
        Ok((region.master.log().matches("a peer was sent away").count() > before).then_some(()))
    })
    .with_context(|| format!("the foreign node says: {}", agent.log()))?;
    ensure!(!agent.log().contains("welcomed"), "{}", agent.log());
    drop(agent);
    end_keeper(host)?;

    let context = fs::read_to_string(other.context())?;
    let theirs = context.replace(&elsewhere.address().to_string(), &here);
    let own = fs::read_to_string(region.master.context())?;
    let ca = own.lines().find(|line| line.trim_start().starts_with("ca ")).context("a line with the CA")?;
    let mixed: Vec<&str> =
        theirs.lines().map(|line| if line.trim_start().starts_with("ca ") { ca } else { line }).collect();
    for (name, text) in [("theirs", theirs.clone()), ("mixed", mixed.join("\n"))] {
        let file = region.folder().join(name);
        fs::write(&file, text)?;
        let said = Operator::new(region.wan.namespace(), &file).run(&["get", "nodes"])?.exits(1)?;
        ensure!(said.out.is_empty() && said.err.contains("certificate"), "{name}: {said:?}");
    }
    other.kill()
}

/// The stranger's agent may have started a keeper, which goes on without it.
fn end_keeper(host: &Host) -> Result<()> {
    host.power_cut()?;
    host.power_on()
}

fn a_nodes_certificate(region: &Region) -> Result<()> {
    region.step("a node's certificate on the operators' API");
    let identity = region.node("n1")?.data_dir().join("identity");
    let context = region.folder().join("node.toml");
    fs::write(&context, as_operator(&identity, &region.master.api().to_string()))?;
    let operator = Operator::new(region.wan.namespace(), &context);
    let words = &["is the certificate of a node", "operators' API"];
    operator.run(&["get", "nodes"])?.exits(1)?.says(words)?;
    operator.run(&["token", "create", "--site", "oslo"])?.exits(1)?.says(words)?;
    operator.run(&["delete", "workload", "calm"])?.exits(1)?.says(words)?;
    Ok(())
}

fn as_operator(identity: &Path, server: &str) -> String {
    let file = |name: &str| identity.join(name).display().to_string();
    format!(
        "current-context = \"north\"\n[contexts.north]\nserver = \"https://{server}\"\nca = \"{}\"\ncert = \"{}\"\n\
         key = \"{}\"\n",
        file("ca.pem"),
        file("cert.pem"),
        file("key.pem"),
    )
}

fn noise(region: &Region, host: &Host) -> Result<()> {
    region.step("noise on both ports");
    let (links, api) = (region.master.links(), region.master.api());
    host.namespace().within(|| strange::datagrams(links))??;
    host.namespace().within(|| strange::connections(api))??;
    Ok(())
}

fn frames(region: &Region, host: &Host) -> Result<()> {
    region.step("frames that are too long, or no messages");
    let token = region.token("oslo", &[])?;
    let stranger = Stranger::new(host, "n6", "frames");
    stranger.join(&token, &[])?.ok()?;
    let (links, identity) = (region.master.links(), stranger.data_dir.join("identity"));
    host.namespace().within(|| strange::frames(links, &identity))??;
    region.operator.run(&["delete", "node", "n6", "--yes"])?.ok().map(drop)
}
