//! The context file: which master to talk to, and as whom. Its format is described in the crate's documentation.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a master listens when an address names no port.
const PORT: u16 = 7443;
/// How PEM text begins.
const BEGIN: &str = "-----BEGIN";

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContextFile {
    /// The context to use when none is named.
    #[serde(rename = "current-context", default, skip_serializing_if = "Option::is_none")]
    pub(crate) current_context: Option<String>,
    /// All contexts by name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// One master and one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// `https://host:port`, `host:port` or `host`.
    pub(crate) server: String,
    /// The CA's certificates: PEM text or a path.
    pub(crate) ca: String,
    /// The operator's certificate chain: PEM text or a path.
    pub(crate) cert: String,
    /// The operator's key: PEM text or a path.
    pub(crate) key: String,
    /// The region's name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
}

/// A context with everything read: ready to connect.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    /// The context's name.
    pub(crate) context: String,
    /// `https://host:port`.
    pub(crate) server: String,
    /// PEM.
    pub(crate) ca: String,
    /// PEM.
    pub(crate) cert: String,
    /// PEM.
    pub(crate) key: String,
}

/// What is wrong with the context file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    #[error(
        "there is no home folder to look for .config/skerry/config.toml in: set HOME, or name a file with --config"
    )]
    NoHome,
    #[error(
        "there is no context file {path}: copy the one that 'skerry-master init' wrote, name it with --config or SKERRY_CONFIG, or make one with 'skerry config add-context'"
    )]
    NoFile { path: PathBuf },
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a context file: {message}")]
    Malformed { path: PathBuf, message: String },
    #[error(
        "{path} names no current context: choose one with 'skerry config use-context NAME' or --context ({known})"
    )]
    NoCurrent { path: PathBuf, known: String },
    #[error("there is no context '{name}' in {path} ({known})")]
    Unknown { name: String, path: PathBuf, known: String },
    #[error("context '{name}': '{server}' is not an address: write https://HOST:PORT")]
    Server { name: String, server: String },
    #[error("context '{name}': cannot read {what} {path}: {source}")]
    Pem { name: String, what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("context '{name}': there is no PEM in {what}: it should begin with '-----BEGIN'")]
    NotPem { name: String, what: &'static str },
}

/// The file to use: `given`, which holds the flag or the environment's, else the default.
pub(crate) fn path(given: Option<&Path>) -> Result<PathBuf, ContextError> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or(ContextError::NoHome)?;
    Ok(Path::new(&home).join(".config/skerry/config.toml"))
}

/// Reads the whole file.
pub(crate) fn load(path: &Path) -> Result<ContextFile, ContextError> {
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ContextError::NoFile { path: path.to_owned() },
        _ => ContextError::Read { path: path.to_owned(), source },
    })?;
    toml::from_str(&text).map_err(|error| ContextError::Malformed {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })
}

impl ContextFile {
    /// The context called `wanted`, or the current one.
    pub(crate) fn select(&self, wanted: Option<&str>, path: &Path) -> Result<(&str, &Context), ContextError> {
        let name = wanted
            .or(self.current_context.as_deref())
            .ok_or_else(|| ContextError::NoCurrent { path: path.to_owned(), known: self.known() })?;
        self.contexts.get_key_value(name).map(|(name, context)| (name.as_str(), context)).ok_or_else(|| {
            ContextError::Unknown { name: name.to_owned(), path: path.to_owned(), known: self.known() }
        })
    }

    /// The contexts there are, as part of a sentence.
    fn known(&self) -> String {
        if self.contexts.is_empty() {
            return "it has none".to_owned();
        }
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        format!("it has {}", names.join(", "))
    }
}

impl Context {
    /// The file that holds the key, when others than its owner may read it.
    pub(crate) fn exposed_key(&self, path: &Path) -> Option<PathBuf> {
        let file = if is_pem(&self.key) { path.to_owned() } else { folder(path).join(&self.key) };
        let mode = std::fs::metadata(&file).ok()?.permissions().mode();
        (mode & 0o077 != 0).then_some(file)
    }

    /// Reads what the context names. `path` is the file that it stands in.
    pub(crate) fn credentials(&self, name: &str, path: &Path) -> Result<Credentials, ContextError> {
        let folder = folder(path);
        let read = |what, value| pem(name, what, value, folder);
        Ok(Credentials {
            context: name.to_owned(),
            server: server_url(name, &self.server)?,
            ca: read("the CA certificate (ca)", &self.ca)?,
            cert: read("the certificate (cert)", &self.cert)?,
            key: read("the key (key)", &self.key)?,
        })
    }
}

fn is_pem(value: &str) -> bool {
    value.trim_start().starts_with(BEGIN)
}

/// What paths in the file are relative to.
fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// PEM text as it stands, or from the file it names.
fn pem(name: &str, what: &'static str, value: &str, folder: &Path) -> Result<String, ContextError> {
    if is_pem(value) {
        return Ok(value.to_owned());
    }
    let path = folder.join(value);
    let text = std::fs::read_to_string(&path).map_err(|source| ContextError::Pem {
        name: name.to_owned(),
        what,
        path,
        source,
    })?;
    if !text.contains(BEGIN) {
        return Err(ContextError::NotPem { name: name.to_owned(), what });
    }
    Ok(text)
}

/// `https://host:port`, whichever way the address was written.
pub(crate) fn server_url(name: &str, server: &str) -> Result<String, ContextError> {
    let bad = || ContextError::Server { name: name.to_owned(), server: server.to_owned() };
    let authority = server.strip_prefix("https://").unwrap_or(server).trim_end_matches('/');
    let authority: tonic::codegen::http::uri::Authority = authority.parse().map_err(|_| bad())?;
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(bad());
    }
    let port = authority.port_u16().unwrap_or(PORT);
    Ok(format!("https://{}:{port}", authority.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_and_without_scheme_and_port() {
        let check = |text: &str, url: Option<&str>| {
            assert_eq!(server_url("north", text).ok().as_deref(), url, "{text}");
        };
        check("https://127.0.0.1:7443", Some("https://127.0.0.1:7443"));
        check("https://master.example:9000/", Some("https://master.example:9000"));
        check("10.0.0.1:7443", Some("https://10.0.0.1:7443"));
        check("10.0.0.1", Some("https://10.0.0.1:7443"));
        check("[::1]:9", Some("https://[::1]:9"));
        check("http://10.0.0.1:7443", None);
        check("user@host:1", None);
        check("", None);
        check("a b", None);
    }

    #[test]
    fn a_context_is_selected_by_name_or_as_current() {
        let text = r#"
            current-context = "north"
            [contexts.north]
            server = "h:1"
            ca = "a"
            cert = "b"
            key = "c"
            region = "north"
            [contexts.south]
            server = "h:2"
            ca = "a"
            cert = "b"
            key = "c"
        "#;
        let file: ContextFile = toml::from_str(text).unwrap();
        let path = Path::new("config.toml");
        assert_eq!(file.select(None, path).unwrap().0, "north");
        assert_eq!(file.select(Some("south"), path).unwrap().1.server, "h:2");
        let error = file.select(Some("west"), path).unwrap_err().to_string();
        assert!(error.contains("'west'") && error.contains("north, south"), "{error}");
        let again: ContextFile = toml::from_str(&toml::to_string(&file).unwrap()).unwrap();
        assert_eq!(again, file);
    }

    #[test]
    fn pem_stands_in_the_file_or_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
        std::fs::write(folder.path().join("other"), "hello").unwrap();
        let read = |value: &str| pem("north", "the key (key)", value, folder.path());
        assert_eq!(read("-----BEGIN X").unwrap(), "-----BEGIN X");
        assert!(read("ca.pem").unwrap().starts_with("-----BEGIN CERT"));
        assert!(matches!(read("other"), Err(ContextError::NotPem { .. })));
        assert!(matches!(read("absent"), Err(ContextError::Pem { .. })));
    }
}
