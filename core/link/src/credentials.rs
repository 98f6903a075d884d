//! A node's identity on disk: `key.pem`, `cert.pem` and `ca.pem` in one directory, mode 0600.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PKCS_ED25519};
use rustls::pki_types::CertificateDer;

use crate::certificate::KeyHash;
use crate::tls::{Identity, IdentityError, TrustRoots, pem};

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
const ROOTS: &str = "ca.pem";

/// Why a node's identity cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file or directory could not be used.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A file's content is not what it should be.
    #[error("{}: move the directory away and join again with a new token", .dir.display())]
    Content {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        #[source]
        source: IdentityError,
    },
    /// The key file is not a key.
    #[error("{} is not a private key: move the directory away and join again with a new token", .path.display())]
    Key {
        /// The path.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: rcgen::Error,
    },
    /// No key could be made.
    #[error("cannot make a key")]
    MakeKey(#[source] rcgen::Error),
}

/// The directory that holds a node's identity.
///
/// The key is made once and written before anything is asked of a master; certificates for it come and go. Each file is
/// replaced by rename, and the roots before the certificate, so that whatever moment the power fails at, key, certificate
/// and roots go together: an interrupted enrolment goes on with the same key, and the master counts it once.
#[derive(Debug, Clone)]
pub struct Credentials {
    dir: PathBuf,
}

impl Credentials {
    /// In this directory, which is made with mode 0700 when it is first written to.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The identity and the roots, or `None` if this node is not enrolled.
    pub fn load(&self) -> Result<Option<(Identity, TrustRoots)>, CredentialsError> {
        let (Some(key), Some(chain), Some(roots)) =
            (self.read(KEY)?, self.read(CERTIFICATE)?, self.read(ROOTS)?)
        else {
            return Ok(None);
        };
        let content = |source| CredentialsError::Content { dir: self.dir.clone(), source };
        let identity = Identity::from_pem(&chain, &key).map_err(content)?;
        let roots = TrustRoots::from_pem(&roots).map_err(content)?;
        Ok(Some((identity, roots)))
    }

    /// The node's key; made and stored on the first call. Ed25519: small, and fastest at the master.
    pub fn key(&self) -> Result<NodeKey, CredentialsError> {
        let path = self.dir.join(KEY);
        if let Some(text) = self.read(KEY)? {
            let pair = KeyPair::from_pem(&text).map_err(|source| CredentialsError::Key { path, source })?;
            return Ok(NodeKey { pair });
        }
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(CredentialsError::MakeKey)?;
        self.write(KEY, &pair.serialize_pem())?;
        Ok(NodeKey { pair })
    }

    /// Stores a certificate chain for the node's key, and the roots.
    pub fn store(
        &self,
        chain: &[CertificateDer<'_>],
        roots: &[CertificateDer<'_>],
    ) -> Result<(), CredentialsError> {
        self.write(ROOTS, &pem(roots))?;
        self.write(CERTIFICATE, &pem(chain))
    }

    fn read(&self, name: &str) -> Result<Option<String>, CredentialsError> {
        let path = self.dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CredentialsError::File { action: "read", path, source }),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), CredentialsError> {
        let path = self.dir.join(name);
        write_durably(&self.dir, name, text).map_err(|source| CredentialsError::File {
            action: "write",
            path,
            source,
        })
    }
}

/// A node's private key.
#[derive(Debug)]
pub struct NodeKey {
    pair: KeyPair,
}

impl NodeKey {
    /// The key's hash: what stays the same over renewals.
    pub fn hash(&self) -> KeyHash {
        use rcgen::PublicKeyData;
        KeyHash::of(&self.pair.subject_public_key_info())
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

/// Writes a file of mode 0600 so that after a power cut it is the old or the whole new one.
fn write_durably(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let partial = dir.join(format!(".{name}.partial"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, dir.join(name))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::at(dir.path().join("identity"));
        let first = credentials.key().unwrap().hash();
        assert_eq!(credentials.key().unwrap().hash(), first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&credentials.dir().join(KEY)), 0o600);
        assert_eq!(mode(credentials.dir()), 0o700);
        assert!(credentials.load().unwrap().is_none(), "a key alone is not an identity");
    }

    #[test]
    fn a_partial_file_of_a_crash_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".key.pem.partial"), "-----BEGIN PRIV").unwrap();
        let credentials = Credentials::at(dir.path());
        credentials.key().unwrap();
        credentials.key().unwrap();
    }

    #[test]
    fn damaged_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(KEY), "nonsense").unwrap();
        let error = Credentials::at(dir.path()).key().unwrap_err().to_string();
        assert!(error.contains("key.pem is not a private key"), "{error}");
        fs::write(dir.path().join(CERTIFICATE), "nonsense").unwrap();
        fs::write(dir.path().join(ROOTS), "nonsense").unwrap();
        assert!(matches!(Credentials::at(dir.path()).load(), Err(CredentialsError::Content { .. })));
    }
}
