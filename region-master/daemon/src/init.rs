//! Making a master: once.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use skerry_link::TrustDomain;

use crate::ca::{Ca, Init};
use crate::clock;
use crate::join::{Patience, join};
use crate::settings::{Settings, with_port};

/// The context file of the first operator, in the data directory.
const CONTEXT: &str = "operator.toml";

/// What `init` found or made.
#[derive(Debug)]
pub struct InitReport {
    /// Whether the CA was made now.
    pub created: bool,
    /// The region's id.
    pub id: String,
    /// The region above, if there is one.
    pub parent: Option<String>,
    /// The context file of the first operator.
    pub context: PathBuf,
}

/// Makes the CA, the first operator's certificate and a context file for it, each once. A region that has a parent asks it
/// for its CA's certificate, at each address once.
pub async fn init(settings: &Settings) -> Result<InitReport> {
    let (made, settings) = prepare(settings, Patience::Once).await?;
    Ok(InitReport {
        created: made.created,
        id: made.ca.id().to_string(),
        parent: made.ca.parent().map(|parent| parent.to_string()),
        context: settings.data_dir.join(CONTEXT),
    })
}

/// [`init`], and what came of it; the settings name the data directory in full.
pub(crate) async fn prepare(settings: &Settings, patience: Patience) -> Result<(Init, Settings)> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.data_dir)
        .with_context(|| format!("cannot make {}", settings.data_dir.display()))?;
    // The context file names the operator's files, and is read from anywhere.
    let data_dir = std::path::absolute(&settings.data_dir)
        .with_context(|| format!("cannot tell where {} is", settings.data_dir.display()))?;
    let settings = Settings { data_dir, ..settings.clone() };
    let made = if settings.joins() { join(&settings, patience).await? } else { root(&settings)? };
    let context = settings.data_dir.join(CONTEXT);
    if !context.exists() {
        write_context(&context, &settings, made.ca.region().as_str(), &made.ca)?;
    }
    Ok((made, settings))
}

/// The CA that is there, whosever, or one with a root of its own.
fn root(settings: &Settings) -> Result<Init> {
    if let Some(ca) = Ca::find(&settings.ca_dir())? {
        ca.check_asked(settings.domain.as_ref(), settings.region.as_ref())?;
        return Ok(Init { ca, created: false });
    }
    let Some(region) = &settings.region else {
        bail!("the region has no name: say --region NAME");
    };
    let domain = match &settings.domain {
        Some(domain) => domain.clone(),
        None => default_domain()?,
    };
    Ok(Ca::init(&settings.ca_dir(), &domain, region, clock::machine())?)
}

/// The trust domain of a federation that named none.
fn default_domain() -> Result<TrustDomain> {
    "skerry.internal".parse().context("the default trust domain")
}

fn write_context(path: &Path, settings: &Settings, region: &str, ca: &Ca) -> Result<()> {
    let host = settings.advertise.first().map_or("127.0.0.1", String::as_str);
    let server = format!("https://{}", with_port(host, settings.api.port()));
    let dir = ca.operator_dir();
    let file = |name: &str| dir.join(name).display().to_string();
    let mut context = toml::Table::new();
    for (key, value) in [
        ("server", server),
        ("ca", file("ca.pem")),
        ("cert", file("cert.pem")),
        ("key", file("key.pem")),
        ("region", region.to_owned()),
    ] {
        context.insert(key.to_owned(), value.into());
    }
    let mut contexts = toml::Table::new();
    contexts.insert(region.to_owned(), context.into());
    let mut table = toml::Table::new();
    table.insert("current-context".to_owned(), region.into());
    table.insert("contexts".to_owned(), contexts.into());
    write_once(path, table.to_string().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// Writes a file whole or not at all; leaves one that is there.
fn write_once(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}
