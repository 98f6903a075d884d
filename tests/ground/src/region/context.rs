use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What a context file says, as `skerry-master init` writes it: for programs that call the API themselves.
#[derive(Debug, Clone)]
pub struct ContextFile {
    /// The master's API, as a URL.
    pub server: String,
    /// The region's CA, PEM.
    pub ca: String,
    /// The operator's certificate, PEM.
    pub certificate: String,
    /// The operator's key, PEM.
    pub key: String,
}

impl ContextFile {
    /// The name that every master's certificate carries.
    pub const SERVER_NAME: &str = "skerry-master";

    /// Reads a file with one context.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).context("reading the operator's context")?;
        let file: toml::Table = text.parse().context("reading the operator's context")?;
        let contexts = file.get("contexts").and_then(|all| all.as_table()).context("no contexts")?;
        let context = contexts.values().next().and_then(|one| one.as_table()).context("no context")?;
        let field = |name: &str| {
            let value = context.get(name).and_then(|value| value.as_str());
            value.with_context(|| format!("the context has no {name}"))
        };
        let pem = |name: &str| Ok::<_, anyhow::Error>(fs::read_to_string(field(name)?)?);
        Ok(Self {
            server: field("server")?.to_owned(),
            ca: pem("ca")?,
            certificate: pem("cert")?,
            key: pem("key")?,
        })
    }
}
