//! A region's CA under the CA of another region.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use skerry_link::enroll::RegionGrant;
use skerry_link::tls::pem;
use skerry_link::{AuthorityChain, RootHash};
use skerry_types::WallTime;

use super::directory::Layout;
use super::{Ca, CaError, Held, Init, USER_LIFE, issue};

/// A CA that has its key and waits for the certificate.
///
/// The key is written before anything is asked of the parent, and the rest takes its place in one rename once the parent has
/// answered. So whenever a process is killed in between, the next one asks with the same key, which to the parent is the
/// same region asking again.
pub struct Joining {
    layout: Layout,
    key: KeyPair,
}

impl Ca {
    /// Begins to make a CA under a parent's, or goes on with it; `None` if there is a CA already.
    pub fn joining(dir: &Path) -> Result<Option<Joining>, CaError> {
        let layout = Layout::at(dir);
        Ok(layout.uncertified_key()?.map(|key| Joining { layout, key }))
    }

    /// Checks that the CA is one under a parent, and of the federation whose root a token names.
    pub fn check_joined(&self, root: Option<RootHash>) -> Result<(), CaError> {
        let dir = || self.layout.dir().to_owned();
        if self.parent().is_none() {
            return Err(CaError::IsRoot { dir: dir(), domain: self.domain().clone() });
        }
        match root.filter(|root| *root != self.root_hash()) {
            Some(asked) => {
                let found = Box::new(self.root_hash());
                Err(CaError::AnotherRoot { dir: dir(), found, asked: Box::new(asked) })
            }
            None => Ok(()),
        }
    }

    /// Where the master of the region above was found when this one joined; empty for a root.
    pub fn parents(&self) -> Result<Vec<String>, CaError> {
        self.layout.parents()
    }

    /// A signing request for another certificate of this CA.
    pub fn signing_request(&self) -> Result<Vec<u8>, CaError> {
        signing_request(&self.layout.key()?)
    }

    /// Takes a renewed certificate: what is signed from here on carries it.
    pub fn renewed(&self, authority: AuthorityChain) -> Result<(), CaError> {
        self.layout.replace_chain(&pem(authority.certificates()))?;
        let held = Held::new(authority, self.layout.key()?)?;
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
        Ok(())
    }
}

impl Joining {
    /// What to send to the parent.
    pub fn signing_request(&self) -> Result<Vec<u8>, CaError> {
        signing_request(&self.key)
    }

    /// Puts the CA in place with what the parent gave, and the first operator's certificate; `parents` is where the parent
    /// was found. If another process was faster, its CA is the one.
    pub fn finish(self, grant: &RegionGrant, parents: &[String], now: WallTime) -> Result<Init, CaError> {
        let Self { layout, key } = self;
        let (authority, roots) = (&grant.authority, pem(grant.roots.certificates()));
        let created = layout.create_once(|draft| {
            draft.root(&roots)?;
            draft.parents(parents)?;
            let whole = authority.whole();
            let now = now.max(whole.not_before);
            let life = issue::validity(USER_LIFE, now).intersect(whole);
            issue::fill_region(draft, authority.domain(), authority.certificates(), &roots, key, life)
        })?;
        layout.forget_uncertified_key()?;
        Ok(Init { ca: Ca::open(layout.dir())?, created })
    }
}

/// A request that names nothing: names are the parent's to give.
fn signing_request(key: &KeyPair) -> Result<Vec<u8>, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params
        .serialize_request(key)
        .map_err(|source| CaError::Sign { action: "make a signing request", source })?;
    Ok(request.der().to_vec())
}
