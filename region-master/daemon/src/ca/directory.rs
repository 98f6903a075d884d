//! The CA's directory: made whole in one rename, and read back.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use skerry_link::tls::{IdentityError, TrustRoots};

use super::CaError;

const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const REGION: &str = "region.pem";
const REGION_KEY: &str = "region.key";
const SERVER_KEY: &str = "server.key";
const OPERATOR: &str = "operator";
const PARENTS: &str = "parents";

/// Where the files of a CA lie.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: PathBuf,
}

/// A directory under construction, beside the real one.
pub(super) struct Draft {
    dir: PathBuf,
}

/// What signs, read back.
pub(super) struct Authority {
    /// The region's CA certificate and those above it.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: KeyPair,
    pub(super) roots: TrustRoots,
}

impl Layout {
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn operator_dir(&self) -> PathBuf {
        self.dir.join(OPERATOR)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Calls `fill` and puts its result in place, unless a CA is there. Returns whether it did.
    ///
    /// Everything is written and synced in a directory beside the real one, which then takes its name in one rename: a CA
    /// is there whole or not at all, and a rename onto a directory with content fails, so there can be only one. The lock
    /// is there to let a loser wait instead of fail, and so that what a killed process left behind is known to be nobody's.
    pub(super) fn create_once(
        &self,
        fill: impl FnOnce(&Draft) -> Result<(), CaError>,
    ) -> Result<bool, CaError> {
        if self.holds_something()? {
            return Ok(false);
        }
        let _lock = self.lock()?;
        if self.holds_something()? {
            return Ok(false);
        }
        let draft = Draft { dir: self.beside("partial") };
        remove_tree(&draft.dir)?;
        at(&draft.dir, "make", DirBuilder::new().mode(0o700).create(&draft.dir))?;
        fill(&draft)?;
        at(&draft.dir, "sync", sync_dir(&draft.dir))?;
        at(&self.dir, "put in place", fs::rename(&draft.dir, &self.dir))?;
        at(self.above(), "sync", sync_dir(self.above()))?;
        Ok(true)
    }

    /// The key of a CA that is not certified yet; made on the first call and the same on every later one, also after a kill,
    /// so that a parent that is asked again knows who asks. `None` if there is a CA already.
    pub(super) fn uncertified_key(&self) -> Result<Option<KeyPair>, CaError> {
        let _lock = self.lock()?;
        if self.holds_something()? {
            self.forget_uncertified_key()?;
            return Ok(None);
        }
        let path = self.beside("key");
        if at(&path, "read", path.try_exists())? {
            let text = at(&path, "read", fs::read_to_string(&path))?;
            return KeyPair::from_pem(&text).map(Some).map_err(|error| damaged_key(&path, &error));
        }
        let key = super::issue::make_key()?;
        replace(&path, &self.beside("key.partial"), &key.serialize_pem())?;
        at(self.above(), "sync", sync_dir(self.above()))?;
        Ok(Some(key))
    }

    /// Removes the key that [`uncertified_key`](Self::uncertified_key) left beside, once it is in its place.
    pub(super) fn forget_uncertified_key(&self) -> Result<(), CaError> {
        let path = self.beside("key");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(&path, "remove", error)),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> Result<File, CaError> {
        let above = self.above();
        at(above, "make", DirBuilder::new().recursive(true).mode(0o700).create(above))?;
        let path = self.beside("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = at(&path, "open", lock)?;
        at(&path, "lock", lock.lock())?;
        Ok(lock)
    }

    fn above(&self) -> &Path {
        match self.dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn holds_something(&self) -> Result<bool, CaError> {
        match fs::read_dir(&self.dir) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(file(&self.dir, "read", source)),
        }
    }

    /// A hidden sibling of the directory, on the same filesystem so that it can be renamed.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.dir.file_name().unwrap_or("ca".as_ref()));
        name.push(".");
        name.push(suffix);
        self.dir.with_file_name(name)
    }

    pub(super) fn read_authority(&self) -> Result<Authority, CaError> {
        if !self.holds_something()? {
            return Err(CaError::Missing { dir: self.dir.clone() });
        }
        let roots = TrustRoots::from_pem(&self.read(ROOT)?).map_err(|source| self.damaged(ROOT, source))?;
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.read(REGION)?.as_bytes()).collect();
        let chain = chain.map_err(|error| {
            let detail = error.to_string();
            let what = "certificate";
            self.damaged(REGION, IdentityError::Pem { what, detail })
        })?;
        let key = self.key()?;
        Ok(Authority { chain, key, roots })
    }

    /// The CA's key.
    pub(super) fn key(&self) -> Result<KeyPair, CaError> {
        self.read_key(REGION_KEY)
    }

    fn read_key(&self, name: &'static str) -> Result<KeyPair, CaError> {
        KeyPair::from_pem(&self.read(name)?).map_err(|error| damaged_key(&self.dir.join(name), &error))
    }

    /// Replaces the CA's certificate and those above it.
    pub(super) fn replace_chain(&self, chain: &str) -> Result<(), CaError> {
        self.replace(REGION, chain)
    }

    /// Where the master of the region above was found when this one joined; empty for a root.
    pub(super) fn parents(&self) -> Result<Vec<String>, CaError> {
        let path = self.dir.join(PARENTS);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(file(&path, "read", source)),
        }
    }

    /// The master's own key; made on the first call. It stays over renewals: resets of connections are derived from it.
    pub(super) fn server_key(&self) -> Result<KeyPair, CaError> {
        if at(&self.dir, "read", self.dir.join(SERVER_KEY).try_exists())? {
            return self.read_key(SERVER_KEY);
        }
        let key = super::issue::make_key()?;
        self.replace(SERVER_KEY, &key.serialize_pem())?;
        Ok(key)
    }

    pub(super) fn server_key_path(&self) -> PathBuf {
        self.dir.join(SERVER_KEY)
    }

    fn read(&self, name: &'static str) -> Result<String, CaError> {
        let path = self.dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(CaError::NotWhole { dir: self.dir.clone(), file: name })
            }
            Err(source) => Err(file(&path, "read", source)),
        }
    }

    fn damaged(&self, name: &str, source: IdentityError) -> CaError {
        CaError::Damaged { path: self.dir.join(name), source }
    }

    /// Replaces one file; after a power cut it is the former or the whole new one.
    fn replace(&self, name: &str, text: &str) -> Result<(), CaError> {
        replace(&self.dir.join(name), &self.dir.join(format!(".{name}.partial")), text)?;
        at(&self.dir, "sync", sync_dir(&self.dir))
    }
}

impl Draft {
    pub(super) fn root(&self, certificates: &str) -> Result<(), CaError> {
        write_synced(&self.dir.join(ROOT), certificates)
    }

    pub(super) fn root_key(&self, key: &str) -> Result<(), CaError> {
        write_synced(&self.dir.join(ROOT_KEY), key)
    }

    pub(super) fn parents(&self, addresses: &[String]) -> Result<(), CaError> {
        write_synced(&self.dir.join(PARENTS), &addresses.join("\n"))
    }

    pub(super) fn region(&self, certificate: &str, key: &str) -> Result<(), CaError> {
        write_synced(&self.dir.join(REGION), certificate)?;
        write_synced(&self.dir.join(REGION_KEY), key)
    }

    pub(super) fn operator(&self, chain: &str, key: &str, roots: &str) -> Result<(), CaError> {
        let dir = self.dir.join(OPERATOR);
        at(&dir, "make", DirBuilder::new().mode(0o700).create(&dir))?;
        write_synced(&dir.join("cert.pem"), chain)?;
        write_synced(&dir.join("key.pem"), key)?;
        write_synced(&dir.join("ca.pem"), roots)?;
        at(&dir, "sync", sync_dir(&dir))
    }
}

fn replace(path: &Path, partial: &Path, text: &str) -> Result<(), CaError> {
    write_synced(partial, text)?;
    at(path, "replace", fs::rename(partial, path))
}

fn damaged_key(path: &Path, error: &rcgen::Error) -> CaError {
    let source = IdentityError::Pem { what: "private key", detail: error.to_string() };
    CaError::Damaged { path: path.to_owned(), source }
}

fn write_synced(path: &Path, text: &str) -> Result<(), CaError> {
    let write = || -> io::Result<()> {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()
    };
    at(path, "write", write())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn remove_tree(dir: &Path) -> Result<(), CaError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(dir, "remove", error)),
        _ => Ok(()),
    }
}

fn at<T>(path: &Path, action: &'static str, result: io::Result<T>) -> Result<T, CaError> {
    result.map_err(|source| file(path, action, source))
}

fn file(path: &Path, action: &'static str, source: io::Error) -> CaError {
    CaError::File { action, path: path.to_owned(), source }
}
