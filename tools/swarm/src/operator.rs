//! The operator of the swarm's region.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use skerry_api::v1::operator_client::OperatorClient;
use skerry_api::v1::{ApplyRequest, CreateTokenRequest, ListRequest, Workload};
use skerry_ground::region::ContextFile;
use skerry_link::JoinToken;
use tokio::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// An image by its digest, so that applying it asks no registry.
const IMAGE: &str =
    "registry.example/swarm@sha256:0f0e0d0c0b0a09080706050403020100f0e0d0c0b0a090807060504030201000";
/// The site that all nodes stand in.
const SITE: &str = "sea";
const TOKEN_LIFE: Duration = Duration::from_hours(1);

/// Calls the master's API.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    client: OperatorClient<Channel>,
}

impl Operator {
    /// Connects when it is first needed, with a context file as `skerry-master init` writes it.
    pub(crate) fn new(context: &Path) -> Result<Self> {
        let context = ContextFile::read(context)?;
        let tls = ClientTlsConfig::new()
            .domain_name(ContextFile::SERVER_NAME)
            .ca_certificate(Certificate::from_pem(context.ca))
            .identity(Identity::from_pem(context.certificate, context.key));
        let endpoint = Endpoint::from_shared(context.server)?.tls_config(tls)?;
        Ok(Self { client: OperatorClient::new(endpoint.connect_lazy()) })
    }

    /// A token with which that many nodes may join.
    pub(crate) async fn token(&mut self, uses: usize) -> Result<JoinToken> {
        let request = CreateTokenRequest {
            site: SITE.to_owned(),
            ttl_ms: u64::try_from(TOKEN_LIFE.as_millis())?,
            uses: u32::try_from(uses)?,
            region: None,
        };
        let answer = self.client.create_token(request).await.context("asking for a join token")?;
        answer.into_inner().token.parse().context("reading the join token")
    }

    /// Asks for one instance on every node.
    pub(crate) async fn apply_to_all(&mut self, name: &str) -> Result<()> {
        self.apply(name, &json!({"type": "daemon", "containers": [container()]})).await
    }

    /// Asks for as many instances, wherever they go.
    pub(crate) async fn apply_instances(&mut self, name: &str, instances: usize) -> Result<()> {
        let spec = json!({"type": "service", "instances": instances, "containers": [container()]});
        self.apply(name, &spec).await
    }

    async fn apply(&mut self, name: &str, spec: &Value) -> Result<()> {
        let manifest = json!({
            "apiVersion": "skerry/v1",
            "kind": "Workload",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": spec,
        });
        let request = ApplyRequest { manifest: manifest.to_string(), dry_run: false };
        self.client.apply(request).await.with_context(|| format!("applying {name}"))?;
        Ok(())
    }

    /// A workload as the master shows it.
    pub(crate) async fn workload(&mut self, name: &str) -> Result<Workload> {
        let request = ListRequest { name: name.to_owned(), ..ListRequest::default() };
        let answer = self.client.list_workloads(request).await.context("listing workloads")?;
        answer.into_inner().workloads.into_iter().next().with_context(|| format!("there is no {name}"))
    }

    /// Nodes that the master hears from, and all nodes.
    pub(crate) async fn nodes(&mut self) -> Result<(usize, usize)> {
        let mut request = ListRequest::default();
        let (mut reachable, mut all) = (0, 0);
        loop {
            let answer = self.client.list_nodes(request.clone()).await.context("listing nodes")?.into_inner();
            all += answer.nodes.len();
            reachable += answer.nodes.iter().filter(|node| node.reachable).count();
            if answer.next_page_token.is_empty() {
                return Ok((reachable, all));
            }
            request.page_token = answer.next_page_token;
        }
    }
}

/// As operators write it: a few variables, a port, a limit.
fn container() -> Value {
    json!({
        "name": "main",
        "image": IMAGE,
        "args": ["--listen", "0.0.0.0:8080", "--quiet"],
        "env": {"LOG_LEVEL": "info", "UPSTREAM": "https://collector.example/v1", "REGION": "north"},
        "resources": {"cpu": "50m", "memory": "32Mi"},
        "ports": [{"name": "http", "container": 8080, "host": "auto"}],
    })
}
