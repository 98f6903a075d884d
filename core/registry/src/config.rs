//! `registries.toml`: how each registry host is reached and trusted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::image_ref::is_host;

/// The content of `registries.toml`. A host that is not named is reached over HTTPS with the system's CAs and
/// without credentials.
///
/// ```toml
/// [host."registry.example:5000"]
/// mirrors = ["mirror.site.example"]   # asked first, in this order
/// ca = "registry-ca.pem"              # beside this file; trusted instead of the system's CAs
/// username = "edge"
/// password_file = "registry-password"
///
/// [host."mirror.site.example"]
/// insecure_http = true
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistriesConfig {
    /// Settings by `host` or `host:port`, exactly as image references and mirror lists write it.
    #[serde(default)]
    pub host: BTreeMap<String, HostConfig>,
    /// How long to wait for an answer.
    #[serde(skip)]
    pub timeouts: Timeouts,
}

/// Settings of one registry host.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Hosts that hold the same repositories and are asked first, in this order.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// PEM file of the CAs to trust for this host, its token server and its redirects, instead of the system's.
    pub ca: Option<PathBuf>,
    /// User for basic authentication, or for fetching tokens.
    pub username: Option<String>,
    /// The password itself; prefer `password_file`.
    pub password: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Plain HTTP: everything, the password too, is readable on the way.
    #[serde(default)]
    pub insecure_http: bool,
}

/// How long to wait. There is no limit on a whole transfer: on a slow link a layer may take hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included. A bad link needs a few retransmissions: 1 + 2 + 4 + 8 s.
    pub connect: Duration,
    /// For the next bytes of an answer.
    pub stall: Duration,
    /// For a whole manifest or token, which are small.
    pub document: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_mins(1),
            document: Duration::from_mins(2),
        }
    }
}

/// Why `registries.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is not valid TOML of this shape.
    #[error("{} is not a valid registries.toml", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key or a mirror is not `host` or `host:port`.
    #[error("{name:?} in {} is not a host: write registry.example or registry.example:5000", path.display())]
    BadHost {
        /// The file.
        path: PathBuf,
        /// The text.
        name: String,
    },
    /// Fields of one host contradict each other.
    #[error("host {host:?} in {}: {problem}", path.display())]
    Conflict {
        /// The file.
        path: PathBuf,
        /// The host.
        host: String,
        /// What to change.
        problem: &'static str,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up a client for host {host:?}: {reason}")]
    Client {
        /// The host.
        host: String,
        /// The cause in words.
        reason: String,
    },
    /// A CA file holds no usable certificate.
    #[error("{} holds no usable PEM certificate for host {host:?}", path.display())]
    BadCa {
        /// The file.
        path: PathBuf,
        /// The host.
        host: String,
    },
}

/// User and password of a host.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl RegistriesConfig {
    /// Reads and checks `path`; paths inside are relative to its folder. CA and password files are read when their
    /// host is first used, so a rotated password needs no restart.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for host in config.host.values_mut() {
            for file in [&mut host.ca, &mut host.password_file].into_iter().flatten() {
                *file = folder.join(&*file);
            }
        }
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        for (name, host) in &self.host {
            let names = std::iter::once(name).chain(&host.mirrors);
            if let Some(bad) = names.into_iter().find(|name| !is_host(name)) {
                return Err(ConfigError::BadHost { path: path.to_owned(), name: bad.clone() });
            }
            if let Some(problem) = host.problem() {
                return Err(ConfigError::Conflict { path: path.to_owned(), host: name.clone(), problem });
            }
        }
        Ok(())
    }
}

impl HostConfig {
    fn problem(&self) -> Option<&'static str> {
        let passwords = usize::from(self.password.is_some()) + usize::from(self.password_file.is_some());
        match (&self.username, passwords) {
            (_, 2) => Some("give either password or password_file, not both"),
            (Some(_), 0) => Some("username needs password or password_file"),
            (None, 1) => Some("a password needs username"),
            _ if self.insecure_http && self.ca.is_some() => Some("ca has no meaning with insecure_http"),
            _ => None,
        }
    }

    /// The credentials, with the password file read.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, ConfigError> {
        let Some(username) = self.username.clone() else { return Ok(None) };
        let password = match (&self.password, &self.password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.clone(), source })?
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
            (None, None) => return Ok(None),
        };
        Ok(Some(Credentials { username, password }))
    }
}

impl std::fmt::Debug for HostConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostConfig")
            .field("mirrors", &self.mirrors)
            .field("ca", &self.ca)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("password_file", &self.password_file)
            .field("insecure_http", &self.insecure_http)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<RegistriesConfig, ConfigError> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("registries.toml");
        std::fs::write(&path, text).expect("write");
        RegistriesConfig::load(&path)
    }

    #[test]
    fn a_full_file_is_read_and_paths_are_beside_it() {
        let config = load(
            "[host.\"r.example:5000\"]\nmirrors=[\"m.example\"]\nca=\"ca.pem\"\nusername=\"u\"\n\
             password_file=\"/abs/pw\"\n[host.\"m.example\"]\ninsecure_http=true\n",
        )
        .expect("valid");
        let host = &config.host["r.example:5000"];
        assert!(host.ca.as_ref().is_some_and(|ca| ca.is_absolute() && ca.ends_with("ca.pem")));
        assert_eq!(host.password_file.as_deref(), Some(Path::new("/abs/pw")));
        assert!(config.host["m.example"].insecure_http);
    }

    #[test]
    fn mistakes_are_refused() {
        let check = |text: &str, expect: &str| {
            let error = load(text).expect_err(text);
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            let all = format!("{error} {cause}");
            assert!(all.contains(expect), "{text}: {all}");
        };
        check("[host.\"r.example\"]\nmirors=[]\n", "unknown field `mirors`");
        check("[host.\"https://r.example\"]\n", "is not a host");
        check("[host.\"r.example\"]\nmirrors=[\"m.example/x\"]\n", "is not a host");
        check("[host.\"r.example\"]\nusername=\"u\"\n", "needs password");
        check("[host.\"r.example\"]\npassword=\"p\"\n", "needs username");
        check("[host.\"r.example\"]\nusername=\"u\"\npassword=\"p\"\npassword_file=\"f\"\n", "not both");
        check("[host.\"r.example\"]\ninsecure_http=true\nca=\"c\"\n", "no meaning");
    }

    #[test]
    fn passwords_are_not_printed() {
        let host = HostConfig { password: Some("secret".to_owned()), ..HostConfig::default() };
        assert!(!format!("{host:?}").contains("secret"));
    }
}
