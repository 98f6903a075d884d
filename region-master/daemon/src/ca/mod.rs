//! The certificate authority of a region.
//!
//! A root signs the region's CA once; everything else is signed by the region's CA. Both keys lie in one directory that is
//! made whole or not at all: a second start, or a second process, finds it and makes no other. What is deliberately not
//! here: who may have a certificate (the brain decides) and the exchange by which it is asked for (`skerry_link::enroll`).
//!
//! Start from [`Ca::init`] and [`Ca::open`].

mod directory;
mod issue;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use skerry_link::enroll::Grant;
use skerry_link::tls::{IdentityError, TrustRoots, pem};
use skerry_link::{CertificateError, PeerCertificate, PublicKey, RootHash, SpiffeId, TrustDomain, UserName};
use skerry_types::{NodeName, RegionName, SiteName, WallTime};

use directory::Layout;
pub use server::{ServerNames, keep_server_identity};

/// Life of a root. It is only ever replaced by hand.
pub const ROOT_LIFE: Duration = days(20 * 365);
/// Life of a region's CA: never the first thing to run out in an installation, and always inside its root's.
pub const REGION_LIFE: Duration = days(10 * 365);
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

/// Why the CA cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file or directory could not be used.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// There is no CA.
    #[error("there is no CA in {}: run `skerry-master init` first", .dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds something, but not a whole CA.
    #[error("{} is not a CA directory: {} is missing; restore it from a backup, or move it away to begin anew (every node must then join again)", .dir.display(), .file)]
    NotWhole {
        /// The directory.
        dir: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// The CA is of another federation or region than asked for.
    #[error("the CA in {} is '{found}', not '{asked}': a CA is made once and never changed", .dir.display())]
    AnotherRegion {
        /// The directory.
        dir: PathBuf,
        /// What it is for.
        found: Box<SpiffeId>,
        /// What was asked for.
        asked: Box<SpiffeId>,
    },
    /// A file's content is damaged.
    #[error("{} is damaged", .path.display())]
    Damaged {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: IdentityError,
    },
    /// A certificate that was read or made does not say what it should.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A key or certificate could not be read, made or signed.
    #[error("cannot {action}")]
    Sign {
        /// What was tried.
        action: &'static str,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// A name for the server's certificate is neither a DNS name nor an address.
    #[error("'{name}' is neither a DNS name nor an IP address: the server's certificate cannot carry it")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The system gave no random bytes.
    #[error("the system has no random bytes")]
    Random,
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
    domain: TrustDomain,
    region: RegionName,
    layout: Layout,
    roots: TrustRoots,
    certificate: CertificateDer<'static>,
    validity: skerry_link::Validity,
    issuer: Issuer<'static, KeyPair>,
}

/// What [`Ca::init`] found or made.
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
        let created = layout.create_once(|draft| issue::make_authority(draft, domain, region, now))?;
        let ca = Self::open(dir)?;
        let asked = SpiffeId::Region { domain: domain.clone(), region: region.clone() };
        if ca.id != asked {
            return Err(CaError::AnotherRegion {
                dir: dir.to_owned(),
                found: Box::new(ca.id),
                asked: Box::new(asked),
            });
        }
        Ok(Init { ca, created })
    }

    /// Opens a CA that was made before.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        let layout = Layout::at(dir);
        let parts = layout.read_authority()?;
        let peer = PeerCertificate::from_chain(std::slice::from_ref(&parts.certificate))?;
        let SpiffeId::Region { domain, region } = peer.id.clone() else {
            return Err(CaError::NotWhole { dir: dir.to_owned(), file: "a region's CA certificate" });
        };
        let issuer = Issuer::from_ca_cert_der(&parts.certificate, parts.key)
            .map_err(|source| CaError::Sign { action: "use the region's CA", source })?;
        Ok(Self {
            id: peer.id,
            domain,
            region,
            layout,
            roots: parts.roots,
            certificate: parts.certificate,
            validity: peer.leaf,
            issuer,
        })
    }

    /// Whose CA it is: the region's id.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The federation.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
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

    /// Where the first operator's `cert.pem`, `key.pem` and `ca.pem` lie, ready to be named in a context of the command.
    pub fn operator_dir(&self) -> PathBuf {
        self.layout.operator_dir()
    }

    /// Issues a certificate for a node's key. The chain is the leaf and the region's CA.
    pub fn issue_node(
        &self,
        key: &PublicKey,
        site: &SiteName,
        node: &NodeName,
        life: Duration,
        now: WallTime,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        let id = SpiffeId::Node {
            domain: self.domain.clone(),
            region: self.region.clone(),
            site: site.clone(),
            node: node.clone(),
        };
        let spki = rcgen::SubjectPublicKeyInfo::from_der(key.der())
            .map_err(|source| CaError::Sign { action: "read the node's key", source })?;
        let leaf = self.sign(issue::Profile::client(id), &spki, life, now)?;
        Ok(vec![leaf, self.certificate.clone()])
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
        let id = SpiffeId::User { domain: self.domain.clone(), user: user.clone() };
        let leaf = self.sign(issue::Profile::client(id), &key, life, now)?;
        Ok(self.bundle(&leaf, &key))
    }

    /// Makes a certificate for the master itself: for links and for the API, with the names that clients may call it by.
    pub fn issue_server(
        &self,
        key: &KeyPair,
        names: &ServerNames,
        life: Duration,
        now: WallTime,
    ) -> Result<Bundle, CaError> {
        let profile = issue::Profile::server(self.id.clone(), names)?;
        let leaf = self.sign(profile, key, life, now)?;
        Ok(self.bundle(&leaf, key))
    }

    fn sign(
        &self,
        profile: issue::Profile,
        key: &impl rcgen::PublicKeyData,
        life: Duration,
        now: WallTime,
    ) -> Result<CertificateDer<'static>, CaError> {
        let params = profile.params(issue::validity(life, now).intersect(self.validity))?;
        let certificate = params
            .signed_by(key, &self.issuer)
            .map_err(|source| CaError::Sign { action: "sign a certificate", source })?;
        Ok(certificate.der().clone())
    }

    fn bundle(&self, leaf: &CertificateDer<'static>, key: &KeyPair) -> Bundle {
        Bundle {
            chain_pem: pem(&[leaf.clone(), self.certificate.clone()]),
            key_pem: key.serialize_pem(),
            roots_pem: pem(self.roots.certificates()),
        }
    }
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
