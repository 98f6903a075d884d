//! The certificate authority of a region.
//!
//! A root signs the region's CA once, or the CA of the region above does; everything else is signed by the region's CA. The
//! keys lie in one directory that is made whole or not at all: a second start, or a second process, finds it and makes no
//! other. What is deliberately not here: who may have a certificate (the brain decides) and the exchange by which it is asked
//! for (`skerry_link::enroll`).
//!
//! Start from [`Ca::init`], [`Ca::joining`] and [`Ca::open`].

mod directory;
mod error;
mod issue;
mod join;
mod server;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use skerry_link::enroll::Grant;
use skerry_link::tls::{TrustRoots, pem};
use skerry_link::{
    AuthorityChain, KeyHash, PublicKey, RootHash, SpiffeId, TrustDomain, UserName, Validity, Voucher,
};
use skerry_types::{NodeName, RegionName, SiteName, WallTime};

use directory::Layout;
pub use error::CaError;
pub use join::Joining;
pub use server::{MasterIdentity, ServerNames};

/// Life of a root. It is only ever replaced by hand.
pub const ROOT_LIFE: Duration = days(20 * 365);
/// Life of the CA of the root's own region: never the first thing to run out in an installation, and always inside its root's.
pub const REGION_LIFE: Duration = days(10 * 365);
/// Default life of the CA of a region below another. It is renewed from half of it, and everything that the region certifies
/// ends with it, so half of it is the longest that a region can be cut off without its nodes noticing: two and a half years.
/// A region that was removed loses its link at once, whatever its CA's life.
pub const CHILD_REGION_LIFE: Duration = days(5 * 365);
/// Life of a master's own certificate. It renews itself from half of it, so a master may be down for two weeks and still come
/// up with a certificate that every clock within tolerance takes.
pub const SERVER_LIFE: Duration = days(30);
/// Default life of a node's certificate. Deleting a node takes effect at once at the master, so the life only bounds what a
/// stolen key is worth to someone who restores an old master; a week costs two renewals of 2 KB and spans a node's
/// maintenance without the expired path.
pub const NODE_LIFE: Duration = days(7);
/// Life of an operator's certificate: nobody renews it in the background, `skerry-master` on the machine can always make another.
pub const USER_LIFE: Duration = days(365);
/// Certificates begin this share of their life before they are issued, at most a day, for clocks that are behind.
const BACKDATE_SHARE: u32 = 10;
const BACKDATE_MAX: Duration = days(1);

/// The operator that [`Ca::init`] makes a certificate for.
pub const FIRST_OPERATOR: &str = "operator";

const fn days(count: u64) -> Duration {
    Duration::from_hours(count * 24)
}

/// Keys and certificates, as PEM text.
#[derive(Clone)]
pub struct Bundle {
    /// The chain, leaf first, root left out.
    pub chain_pem: String,
    /// The private key.
    pub key_pem: String,
    /// The federation's root.
    pub roots_pem: String,
}

/// A region's CA.
pub struct Ca {
    id: SpiffeId,
    region: RegionName,
    layout: Layout,
    roots: TrustRoots,
    held: RwLock<Arc<Held>>,
}

/// What signs at present: the certificate is another after a renewal, the key never is.
struct Held {
    authority: AuthorityChain,
    issuer: Issuer<'static, KeyPair>,
}

/// What [`Ca::init`] or [`Joining`] found or made.
pub struct Init {
    /// The CA.
    pub ca: Ca,
    /// Whether this call made it.
    pub created: bool,
}

impl Ca {
    /// Makes the CA of a region with a root of its own, and the first operator's certificate
    /// ([`operator_dir`](Self::operator_dir)); or opens it, if it is there. However many processes call it at once, and
    /// whenever one is killed, one CA comes to be and all of them get that one.
    pub fn init(
        dir: &Path,
        domain: &TrustDomain,
        region: &RegionName,
        now: WallTime,
    ) -> Result<Init, CaError> {
        let layout = Layout::at(dir);
        let created = layout.create_once(|draft| issue::make_root(draft, domain, region, now))?;
        let ca = Self::open(dir)?;
        ca.check_asked(Some(domain), Some(region))?;
        Ok(Init { ca, created })
    }

    /// Opens a CA that was made before.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        let layout = Layout::at(dir);
        let parts = layout.read_authority()?;
        let authority = AuthorityChain::verified(parts.chain, &parts.roots)?;
        let (id, region) = (authority.id().clone(), authority.region().clone());
        let held = Held::new(authority, parts.key)?;
        Ok(Self { id, region, layout, roots: parts.roots, held: RwLock::new(Arc::new(held)) })
    }

    /// The CA in a directory, or `None` if there is nothing in it.
    pub fn find(dir: &Path) -> Result<Option<Self>, CaError> {
        match Self::open(dir) {
            Ok(ca) => Ok(Some(ca)),
            Err(CaError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Checks that the CA is the one that somebody asks for.
    pub fn check_asked(
        &self,
        domain: Option<&TrustDomain>,
        region: Option<&RegionName>,
    ) -> Result<(), CaError> {
        let asked = SpiffeId::Region {
            domain: domain.unwrap_or(self.domain()).clone(),
            region: region.unwrap_or(&self.region).clone(),
        };
        if self.id == asked {
            return Ok(());
        }
        let dir = self.layout.dir().to_owned();
        Err(CaError::AnotherRegion { dir, found: Box::new(self.id.clone()), asked: Box::new(asked) })
    }

    /// Whose CA it is: the region's id.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The federation.
    pub fn domain(&self) -> &TrustDomain {
        self.id.domain()
    }

    /// The region.
    pub fn region(&self) -> &RegionName {
        &self.region
    }

    /// The federation's roots.
    pub fn roots(&self) -> &TrustRoots {
        &self.roots
    }

    /// What join tokens pin.
    pub fn root_hash(&self) -> RootHash {
        self.roots.hash()
    }

    /// The region above, if there is one.
    pub fn parent(&self) -> Option<RegionName> {
        self.held().authority.parent().map(|parent| parent.region.clone())
    }

    /// The keys of this region's CA and of those above it: whose users may operate this region.
    pub fn authorities(&self) -> Vec<KeyHash> {
        self.held().authority.regions().map(|Voucher { key, .. }| *key).collect()
    }

    /// How long the CA's own certificate holds.
    pub fn validity(&self) -> Validity {
        self.held().authority.validity()
    }

    /// How many levels of regions may be below this one.
    pub fn levels_below(&self) -> u8 {
        self.held().authority.path_len()
    }

    /// Where the first operator's `cert.pem`, `key.pem` and `ca.pem` lie, ready to be named in a context of the command.
    pub fn operator_dir(&self) -> PathBuf {
        self.layout.operator_dir()
    }

    /// Issues a certificate for a node's key. The chain is the leaf, the region's CA and those above it.
    pub fn issue_node(
        &self,
        key: &PublicKey,
        site: &SiteName,
        node: &NodeName,
        life: Duration,
        now: WallTime,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let id = SpiffeId::Node {
            domain: self.domain().clone(),
            region: self.region.clone(),
            site: site.clone(),
            node: node.clone(),
        };
        self.held().sign(issue::Profile::client(id), &spki(key)?, life, now)
    }

    /// Issues a CA certificate for a region right below this one.
    pub fn issue_region(
        &self,
        key: &PublicKey,
        region: &RegionName,
        life: Duration,
        now: WallTime,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let id = SpiffeId::Region { domain: self.domain().clone(), region: region.clone() };
        let held = self.held();
        let below = held.authority.path_len().checked_sub(1);
        let below = below.ok_or_else(|| CaError::TooDeep { region: self.region.clone() })?;
        held.sign(issue::Profile::region(&id, region, below), &spki(key)?, life, now)
    }

    /// What to answer an enrolment or a renewal with.
    pub fn grant(&self, chain: &[CertificateDer<'_>], now: WallTime) -> Grant {
        Grant {
            chain: chain.iter().map(|der| der.to_vec()).collect(),
            roots: self.roots.certificates().iter().map(|der| der.to_vec()).collect(),
            master_time: now,
        }
    }

    /// Makes a key and a certificate for an operator.
    pub fn issue_user(&self, user: &UserName, life: Duration, now: WallTime) -> Result<Bundle, CaError> {
        let key = issue::make_key()?;
        let id = SpiffeId::User { domain: self.domain().clone(), user: user.clone() };
        let chain = self.held().sign(issue::Profile::client(id), &key, life, now)?;
        Ok(bundle(&chain, &key, &self.roots))
    }

    /// Makes a certificate for the master itself: for the API, for links from below and for the link to the region above,
    /// with the names that clients may call it by.
    pub fn issue_server(
        &self,
        key: &KeyPair,
        names: &ServerNames,
        life: Duration,
        now: WallTime,
    ) -> Result<Bundle, CaError> {
        let profile = issue::Profile::server(self.id.clone(), names)?;
        let chain = self.held().sign(profile, key, life, now)?;
        Ok(bundle(&chain, key, &self.roots))
    }

    fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn new(authority: AuthorityChain, key: KeyPair) -> Result<Self, CaError> {
        let own = authority.certificates().first().ok_or(skerry_link::CertificateError::Empty)?;
        let issuer = Issuer::from_ca_cert_der(own, key)
            .map_err(|source| CaError::Sign { action: "use the region's CA", source })?;
        Ok(Self { authority, issuer })
    }

    /// Signs; the chain is what was signed and this CA's own.
    ///
    /// Nothing holds longer than the CAs above it. A clock that stands before their beginning is wrong: they were signed, so that
    /// moment has come. When one of them has run out, what is signed ends with it: it is good for asking for a renewal.
    fn sign(
        &self,
        profile: issue::Profile,
        key: &impl rcgen::PublicKeyData,
        life: Duration,
        now: WallTime,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let whole = self.authority.whole();
        let now = now.max(whole.not_before).min(whole.not_after);
        let params = profile.params(issue::validity(life, now).intersect(whole))?;
        let certificate = params
            .signed_by(key, &self.issuer)
            .map_err(|source| CaError::Sign { action: "sign a certificate", source })?;
        let above = self.authority.certificates().iter().cloned();
        Ok(std::iter::once(certificate.der().clone()).chain(above).collect())
    }
}

fn spki(key: &PublicKey) -> Result<rcgen::SubjectPublicKeyInfo, CaError> {
    rcgen::SubjectPublicKeyInfo::from_der(key.der())
        .map_err(|source| CaError::Sign { action: "read the key", source })
}

fn bundle(chain: &[CertificateDer<'_>], key: &KeyPair, roots: &TrustRoots) -> Bundle {
    Bundle { chain_pem: pem(chain), key_pem: key.serialize_pem(), roots_pem: pem(roots.certificates()) }
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}
