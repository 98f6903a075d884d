//! A small federation for tests: a CA, a parent that welcomes and echoes, and clocks that can be set.
#![allow(dead_code, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) mod relay;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Usage, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SubjectPublicKeyInfo,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use skerry_link::enroll::{EnrollRequest, Grant, RefusalKind, Wish};
use skerry_link::tls::{Identity, SharedIdentity, TrustRoots};
use skerry_link::{
    Arrival, Connection, DialSettings, Dialer, FramedReceiver, FramedSender, LinkClock, LinkServer,
    MAX_FRAME_BYTES, RootHash, ServerSettings, SpiffeId, Validity,
};
use skerry_types::WallTime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) const DAY: Duration = Duration::from_hours(24);
pub(crate) const NODE: &str = "spiffe://edge.example/region/north/site/oslo/node/n1";
pub(crate) const REGION: &str = "spiffe://edge.example/region/north";
pub(crate) const USER: &str = "spiffe://edge.example/user/ada";

pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WallTime(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn later(time: WallTime, by: Duration) -> WallTime {
    WallTime(time.0 + u64::try_from(by.as_millis()).unwrap())
}

/// A day before to a week after.
pub(crate) fn week(now: WallTime) -> Validity {
    Validity { not_before: now - DAY, not_after: later(now, 7 * DAY) }
}

/// A clock that tests move.
#[derive(Clone)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn at(time: WallTime) -> (Self, Arc<LinkClock>) {
        let hands = Self(Arc::new(AtomicU64::new(time.0)));
        let read = hands.clone();
        let clock = LinkClock::with_source(WallTime(0), move || WallTime(read.0.load(Ordering::SeqCst)));
        (hands, Arc::new(clock))
    }

    pub(crate) fn set(&self, time: WallTime) {
        self.0.store(time.0, Ordering::SeqCst);
    }
}

pub(crate) fn right_clock() -> Arc<LinkClock> {
    Arc::new(LinkClock::system(WallTime(0)))
}

/// A root and regions' CAs under it, or under one another; made when they are first needed.
pub(crate) struct TestCa {
    name: String,
    root: CertificateDer<'static>,
    root_issuer: Issuer<'static, KeyPair>,
    regions: Mutex<BTreeMap<String, Arc<RegionCa>>>,
}

/// A region's CA.
pub(crate) struct RegionCa {
    /// Its certificate and those above, root left out.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

fn params(validity: Validity, name: &str) -> CertificateParams {
    let at = |time: WallTime| date_time_ymd(1970, 1, 1) + Duration::from_millis(time.0);
    let mut params = CertificateParams::default();
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(crate) fn leaf_params(id: &str, validity: Validity) -> CertificateParams {
    let mut params = params(validity, "leaf");
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.extended_key_usages = vec![Usage::ServerAuth, Usage::ClientAuth];
    params
}

pub(crate) fn authority_params(region: &str, validity: Validity) -> CertificateParams {
    let ages = params(validity, region);
    let mut params = authority(&format!("CA of {region}"), Some(region));
    (params.not_before, params.not_after) = (ages.not_before, ages.not_after);
    params
}

fn authority(name: &str, region: Option<&str>) -> CertificateParams {
    let ages = Validity { not_before: now() - 400 * DAY, not_after: later(now(), 400 * DAY) };
    let mut params = params(ages, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let uri = region.map(|region| format!("spiffe://edge.example/region/{region}"));
    params.subject_alt_names = uri.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap())).collect();
    params
}

impl RegionCa {
    /// A CA for `region`, whoever asks for it: a region's CA can do so technically.
    pub(crate) fn child(&self, region: &str) -> Self {
        Self::under(&format!("{region} under another"), region, &self.issuer, &self.chain)
    }

    fn under(
        name: &str,
        region: &str,
        above: &Issuer<'static, KeyPair>,
        chain: &[CertificateDer<'static>],
    ) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority(name, Some(region));
        let own = params.signed_by(&key, above).unwrap().der().clone();
        let chain = std::iter::once(own).chain(chain.iter().cloned()).collect();
        Self { chain, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn sign(
        &self,
        id: &str,
        key: &impl PublicKeyData,
        validity: Validity,
    ) -> CertificateDer<'static> {
        leaf_params(id, validity).signed_by(key, &self.issuer).unwrap().der().clone()
    }

    pub(crate) fn chain(
        &self,
        id: &str,
        key: &impl PublicKeyData,
        validity: Validity,
    ) -> Vec<CertificateDer<'static>> {
        let leaf = self.sign(id, key, validity);
        std::iter::once(leaf).chain(self.chain.iter().cloned()).collect()
    }

    pub(crate) fn identity(&self, id: &str, validity: Validity) -> Identity {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        identity(self.chain(id, &key, validity), &key)
    }
}

pub(crate) fn identity(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Identity {
    Identity::new(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap()).unwrap()
}

impl TestCa {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority(name, None);
        let root = params.self_signed(&key).unwrap().der().clone();
        let root_issuer = Issuer::new(params, key);
        Self { name: name.to_owned(), root, root_issuer, regions: Mutex::default() }
    }

    pub(crate) fn roots(&self) -> TrustRoots {
        TrustRoots::new(vec![self.root.clone()]).unwrap()
    }

    pub(crate) fn root_hash(&self) -> RootHash {
        self.roots().hash()
    }

    /// The CA of a region right under the root.
    pub(crate) fn region(&self, region: &str) -> Arc<RegionCa> {
        let mut regions = self.regions.lock().unwrap();
        let made = regions.entry(region.to_owned()).or_insert_with(|| {
            let name = format!("{} {region}", self.name);
            Arc::new(RegionCa::under(&name, region, &self.root_issuer, &[]))
        });
        made.clone()
    }

    /// The CA of the region that an id names; north's for users.
    fn authority_for(&self, id: &str) -> Arc<RegionCa> {
        match id.parse().unwrap() {
            SpiffeId::Node { region, .. } | SpiffeId::Region { region, .. } => self.region(region.as_str()),
            SpiffeId::User { .. } => self.region("north"),
        }
    }

    pub(crate) fn chain(
        &self,
        id: &str,
        key: &impl PublicKeyData,
        validity: Validity,
    ) -> Vec<CertificateDer<'static>> {
        self.authority_for(id).chain(id, key, validity)
    }

    pub(crate) fn identity(&self, id: &str, validity: Validity) -> Identity {
        self.authority_for(id).identity(id, validity)
    }

    pub(crate) fn grant(&self, request: &EnrollRequest, id: &str, validity: Validity) -> Grant {
        let key = SubjectPublicKeyInfo::from_der(request.key.der()).unwrap();
        self.grant_of(&self.chain(id, &key, validity))
    }

    pub(crate) fn grant_of(&self, chain: &[CertificateDer<'static>]) -> Grant {
        Grant {
            chain: chain.iter().map(|der| der.to_vec()).collect(),
            roots: vec![self.root.to_vec()],
            master_time: now(),
        }
    }
}

/// A parent that answers "hello" with "welcome" and echoes every text after it.
pub(crate) struct Parent {
    pub(crate) address: SocketAddr,
    pub(crate) shared: SharedIdentity,
    /// Who was refused, in words.
    pub(crate) refused: mpsc::Receiver<String>,
    tasks: JoinSet<()>,
}

/// How a parent answers who wants a certificate.
pub(crate) type Issuing = Arc<dyn Fn(&EnrollRequest) -> Result<Grant, (RefusalKind, String)> + Send + Sync>;

pub(crate) fn nobody() -> Issuing {
    Arc::new(|_| Err((RefusalKind::Unavailable, String::new())))
}

/// Renews whoever asks for a week.
pub(crate) fn renewing(ca: &Arc<TestCa>) -> Issuing {
    let ca = ca.clone();
    Arc::new(move |request| match &request.wish {
        Wish::Renew { certificate, .. } => Ok(ca.grant(request, &certificate.id.to_string(), week(now()))),
        _ => Err((RefusalKind::TokenWrong, String::new())),
    })
}

impl Parent {
    pub(crate) fn start(ca: &TestCa, clock: Arc<LinkClock>, issuing: Issuing) -> Self {
        let identity = ca.identity(REGION, week(now()));
        Self::start_at("127.0.0.1:0".parse().unwrap(), &identity, &ca.roots(), clock, issuing)
    }

    pub(crate) fn start_at(
        listen: SocketAddr,
        identity: &Identity,
        roots: &TrustRoots,
        clock: Arc<LinkClock>,
        issuing: Issuing,
    ) -> Self {
        Self::start_with(ServerSettings::on(listen), identity, roots, clock, issuing)
    }

    pub(crate) fn start_with(
        settings: ServerSettings,
        identity: &Identity,
        roots: &TrustRoots,
        clock: Arc<LinkClock>,
        issuing: Issuing,
    ) -> Self {
        let shared = SharedIdentity::new(identity.clone(), roots);
        let server = LinkServer::bind(settings, &shared, roots, clock).unwrap();
        let address = server.local_addr().unwrap();
        let (tell, refused) = mpsc::channel(1000);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(server, tell, issuing));
        Self { address, shared, refused, tasks }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        vec![self.address.to_string()]
    }

    pub(crate) async fn next_refusal(&mut self) -> String {
        timeout(Duration::from_secs(10), self.refused.recv()).await.unwrap().unwrap()
    }
}

async fn serve(mut server: LinkServer, tell: mpsc::Sender<String>, issuing: Issuing) {
    let mut tasks = JoinSet::new();
    while let Some(arrival) = server.accept().await {
        match arrival {
            Arrival::Link(connection) => {
                tasks.spawn(echo(connection, tell.clone()));
            }
            Arrival::Enroll(session) => {
                let (tell, issuing) = (tell.clone(), issuing.clone());
                tasks.spawn(async move {
                    let answered = match session.request().await {
                        Ok(request) => match issuing(&request) {
                            Ok(grant) => request.grant(grant).await,
                            Err((kind, detail)) => request.refuse(kind, detail).await,
                        },
                        Err(error) => {
                            tell.send(error.to_string()).await.unwrap();
                            Ok(())
                        }
                    };
                    answered.unwrap();
                });
            }
            Arrival::Refused { why, .. } => {
                // A test that does not look at refusals may have dropped the receiver.
                drop(tell.send(why.to_string()).await);
            }
        }
    }
}

async fn echo(connection: Connection, tell: mpsc::Sender<String>) {
    let Ok((mut sender, mut receiver)) = connection.control().await else { return };
    loop {
        match receiver.recv::<String>(MAX_FRAME_BYTES).await {
            Ok(Some(text)) if text == "hello" => sender.send("welcome").await.unwrap(),
            Ok(Some(text)) => sender.send(&text).await.unwrap(),
            Ok(None) => return,
            Err(error) => {
                connection.close(skerry_link::CloseReason::Protocol, &error.to_string());
                drop(tell.send(error.to_string()).await);
                return;
            }
        }
    }
}

pub(crate) fn dialer(
    addresses: Vec<String>,
    identity: &Identity,
    roots: &TrustRoots,
    clock: Arc<LinkClock>,
) -> Dialer {
    Dialer::new(DialSettings::to(addresses), identity, roots, clock, 7).unwrap()
}

/// A connection that was welcomed.
pub(crate) struct Welcomed {
    pub(crate) connection: Connection,
    pub(crate) sender: FramedSender,
    pub(crate) receiver: FramedReceiver,
}

impl Welcomed {
    pub(crate) async fn echo(&mut self, text: &str) -> String {
        let talk = async {
            self.sender.send(text).await.unwrap();
            self.receiver.recv::<String>(MAX_FRAME_BYTES).await.unwrap().unwrap()
        };
        timeout(Duration::from_secs(10), talk).await.unwrap()
    }
}

/// Dials until welcomed.
pub(crate) async fn connect(dialer: &mut Dialer) -> Welcomed {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let connection = timeout(left, dialer.connect()).await.expect("a connection in time");
        let Ok((mut sender, mut receiver)) = connection.control().await else { continue };
        if sender.send("hello").await.is_err() {
            continue;
        }
        if let Ok(Some(text)) = receiver.recv::<String>(64).await {
            assert_eq!(text, "welcome");
            dialer.welcomed();
            return Welcomed { connection, sender, receiver };
        }
    }
}

/// Dials once and returns the words with which it failed, on either side of the handshake.
pub(crate) async fn refusal(dialer: &mut Dialer) -> String {
    let mut state = dialer.state();
    let outcome = timeout(Duration::from_secs(20), async {
        tokio::select! {
            connection = dialer.connect() => connection.closed().await.to_string(),
            failed = state.wait_for(|s| matches!(s, skerry_link::DialState::Connecting { last: Some(_), .. })) => {
                format!("{:?}", failed.unwrap().clone())
            }
        }
    });
    outcome.await.expect("a refusal in time")
}
