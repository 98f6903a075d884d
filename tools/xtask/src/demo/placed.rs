//! Allocations as the master tells them.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use skerry_ground::region::Operator;

/// What `skerry get allocations -o json` says of one.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Placed {
    pub(super) id: String,
    pub(super) workload: String,
    pub(super) node: String,
    pub(super) phase: String,
    pub(super) generation: u64,
    pub(super) ready: bool,
    pub(super) reachable: bool,
    node_address: String,
    ports: Vec<Port>,
    pub(super) containers: Vec<Told>,
}

#[derive(Debug, Clone, Deserialize)]
struct Port {
    host: u16,
}

/// A container in it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Told {
    pub(super) pid: u32,
    pub(super) restarts: u32,
}

impl Placed {
    /// All of them.
    pub(super) fn all(operator: &Operator) -> Result<Vec<Self>> {
        let read = |value| serde_json::from_value(value).context("reading an allocation");
        operator.list("allocations -A")?.into_iter().map(read).collect()
    }

    /// Those of one workload.
    pub(super) fn of(operator: &Operator, workload: &str) -> Result<Vec<Self>> {
        Ok(Self::all(operator)?.into_iter().filter(|placed| placed.workload == workload).collect())
    }

    /// Where its first port is reached from outside of its node.
    pub(super) fn address(&self) -> Result<SocketAddr> {
        let port = self.ports.first().with_context(|| format!("{} has no port", self.id))?.host;
        let host = self.node_address.parse().with_context(|| format!("the address of {}'s node", self.id))?;
        Ok(SocketAddr::new(host, port))
    }

    /// How often its containers were started again.
    pub(super) fn restarts(&self) -> u32 {
        self.containers.iter().map(|container| container.restarts).sum()
    }
}

/// A field of a node or of something else that is listed, as text.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
