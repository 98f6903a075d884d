//! The CA: made once whatever happens, and what it issues works over the link.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use skerry_link::enroll::{JoinWish, RefusalKind, RegionGrant, Wish, join, renew, renew_region};
use skerry_link::tls::{Expected, Identity, SharedIdentity, TrustRoots, api_client, api_server};
use skerry_link::{
    Arrival, AuthorityChain, Credentials, DialSettings, Dialer, JoinToken, LinkClock, LinkServer,
    PeerCertificate, PublicKey, REGIONS_DEEP_MAX, ServerSettings, SpiffeId, TrustDomain,
};
use skerry_master::ca::{CHILD_REGION_LIFE, Ca, CaError, MasterIdentity, NODE_LIFE, ServerNames};
use skerry_types::{RegionName, SiteName, WallTime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Set in processes that this test starts of itself: the directory to make a CA in.
const CHILD: &str = "SKERRY_TEST_CA_DIR";

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WallTime(u64::try_from(since.as_millis()).unwrap())
}

fn domain() -> TrustDomain {
    "edge.example".parse().unwrap()
}

fn region() -> RegionName {
    "north".parse().unwrap()
}

fn init(dir: &Path) -> skerry_master::ca::Init {
    Ca::init(dir, &domain(), &region(), now()).unwrap()
}

fn clock() -> Arc<LinkClock> {
    Arc::new(LinkClock::system(WallTime(0)))
}

/// Not a test by itself: what the processes of the races run.
#[test]
fn child_makes_a_ca() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let made = init(Path::new(&dir));
        println!("created={} root={}", made.created, made.ca.root_hash());
    }
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_makes_a_ca", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn many_processes_make_one_ca() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("data/ca");
    let children: Vec<Child> = (0..8).map(|_| spawn(&ca)).collect();
    let mut roots = Vec::new();
    let mut created = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|l| l.split_once("created=")).unwrap().1.to_owned();
        created += usize::from(line.starts_with("true"));
        roots.push(line.split_once("root=").unwrap().1.to_owned());
    }
    assert_eq!(created, 1);
    roots.dedup();
    assert_eq!(roots.len(), 1, "{roots:?}");
    assert_eq!(Ca::open(&ca).unwrap().root_hash().to_string(), roots[0]);
}

#[test]
fn many_threads_make_one_ca() {
    let dir = tempfile::tempdir().unwrap();
    let made: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| init(&dir.path().join("ca")))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|init| init.created).count(), 1);
    let first = made[0].ca.root_hash();
    assert!(made.iter().all(|init| init.ca.root_hash() == first));
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_ca_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut whole = 0;
    for round in 0..40_u32 {
        let ca = dir.path().join(format!("{round}"));
        let mut child = spawn(&ca);
        // Spread over the time that a child takes to start and to write its files.
        let until = Instant::now() + Duration::from_micros(700 * u64::from(round));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let before = match Ca::open(&ca) {
            Ok(found) => {
                whole += 1;
                Some(found.root_hash())
            }
            Err(CaError::Missing { .. }) => None,
            Err(error) => panic!("round {round}: {error}"),
        };
        let after = init(&ca);
        assert_eq!(after.created, before.is_none(), "round {round}");
        assert!(before.is_none_or(|root| root == after.ca.root_hash()), "round {round}");
        let partial = dir.path().join(format!(".{round}.partial"));
        assert!(!partial.exists(), "round {round}: what was left over is cleaned up");
    }
    println!("{whole} of 40 rounds were killed after the CA was in place");
}

#[test]
fn a_leftover_or_half_a_directory_is_never_a_ca() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    assert!(matches!(Ca::open(&ca), Err(CaError::Missing { .. })));
    let left = dir.path().join(".ca.partial");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("root.pem"), "half of a certi").unwrap();
    fs::create_dir(&ca).unwrap();
    assert!(init(&ca).created, "an empty directory, made by a package, is filled");
    assert!(!left.exists());
    assert!(!init(&ca).created);

    fs::remove_file(ca.join("region.key")).unwrap();
    let Err(error) = Ca::init(&ca, &domain(), &region(), now()) else { panic!("half a CA was taken") };
    assert!(error.to_string().contains("region.key is missing"), "{error}");
}

#[test]
fn a_ca_never_changes_its_region() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let Err(error) = Ca::init(dir.path(), &domain(), &"south".parse().unwrap(), now()) else {
        panic!("it changed its region")
    };
    assert!(error.to_string().contains("region/north', not 'spiffe://edge.example/region/south'"), "{error}");
}

#[test]
fn keys_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    let made = init(&ca).ca;
    made.server_identity(&ServerNames::default(), now()).unwrap();
    for key in ["root.key", "region.key", "server.key", "operator/key.pem"] {
        let mode = fs::metadata(ca.join(key)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{key}");
    }
    for path in [&ca, &ca.join("operator")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let first = made.server_identity(&ServerNames::default(), now()).unwrap();
    let second = made.server_identity(&ServerNames::default(), now()).unwrap();
    assert_eq!(first.certificate().key, second.certificate().key);
    assert_ne!(first.certificate().serial, second.certificate().serial);
}

#[test]
fn names_in_a_signing_request_count_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ca = init(dir.path()).ca;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["master.example".to_owned()]).unwrap();
    params
        .subject_alt_names
        .push(rcgen::SanType::URI("spiffe://edge.example/region/north".try_into().unwrap()));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = params.serialize_request(&key).unwrap();
    let public = skerry_link::PublicKey::from_request(csr.der()).unwrap();
    let site: SiteName = "oslo".parse().unwrap();
    let chain = ca.issue_node(&public, &site, &"n1".parse().unwrap(), NODE_LIFE, now()).unwrap();
    let read = PeerCertificate::from_chain(&chain).unwrap();
    assert_eq!(read.id.to_string(), "spiffe://edge.example/region/north/site/oslo/node/n1");
    assert_eq!(read.key, public.hash());
    assert_eq!(chain.len(), 2);
    assert_eq!(read.vouchers.len(), 1);

    let mut forged = csr.der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(skerry_link::PublicKey::from_request(&forged).is_err());
}

/// A master's link side that admits one token and renews.
fn serve(ca: Arc<Ca>, token: JoinToken, life: Duration) -> (String, SharedIdentity, JoinSet<()>) {
    let identity = ca.server_identity(&ServerNames::new(["localhost".to_owned()]), now()).unwrap();
    let shared = SharedIdentity::new(identity, ca.roots());
    let settings = ServerSettings::on("127.0.0.1:0".parse().unwrap());
    let mut server = LinkServer::bind(settings, &shared, ca.roots(), clock()).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut links = Vec::new();
        while let Some(arrival) = server.accept().await {
            match arrival {
                Arrival::Link(connection) => links.push(connection),
                Arrival::Refused { .. } => {}
                Arrival::Enroll(session) => {
                    let request = session.request().await.unwrap();
                    let SpiffeId::Node { site, node, .. } = (match &request.wish {
                        Wish::Join { token: id, secret_hash, node, .. }
                            if *id == token.id && *secret_hash == token.secret.hash() =>
                        {
                            format!("{}/site/oslo/node/{node}", ca.id()).parse().unwrap()
                        }
                        Wish::RenewRegion { certificate, .. } => {
                            let region = certificate.vouchers[0].region.clone();
                            let chain = ca.issue_region(&request.key, &region, life, now()).unwrap();
                            request.grant(ca.grant(&chain, now())).await.unwrap();
                            continue;
                        }
                        Wish::Join { .. } | Wish::JoinRegion { .. } => {
                            request.refuse(RefusalKind::TokenWrong, "").await.unwrap();
                            continue;
                        }
                        Wish::Renew { certificate, .. } => certificate.id.clone(),
                    }) else {
                        unreachable!("both are nodes")
                    };
                    let chain = ca.issue_node(&request.key, &site, &node, life, now()).unwrap();
                    request.grant(ca.grant(&chain, now())).await.unwrap();
                }
            }
        }
    });
    (address, shared, tasks)
}

#[tokio::test]
async fn what_it_issues_works_over_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Arc::new(init(&dir.path().join("ca")).ca);
    let token = JoinToken::generate(ca.root_hash(), vec![]).unwrap();
    let (address, _shared, _tasks) = serve(ca.clone(), token.clone(), NODE_LIFE);
    let addresses = vec![address];
    let wish = JoinWish { node: "n1".parse().unwrap(), site: None };
    let credentials = Credentials::at(dir.path().join("node"));
    let clock = clock();
    let joined = join(&token, &addresses, &wish, &credentials, &clock).await.unwrap();
    let mut dialer =
        Dialer::new(DialSettings::to(addresses.clone()), &joined.identity, &joined.roots, clock.clone(), 1)
            .unwrap();
    let link = tokio::time::timeout(Duration::from_secs(10), dialer.connect()).await.unwrap();
    assert_eq!(link.peer_id(), ca.id());
    let renewed = renew(&addresses, &joined.identity, &joined.roots, &credentials, &clock).await.unwrap();
    assert_eq!(renewed.identity.certificate().key, joined.identity.certificate().key);

    let wrong = JoinToken::generate(ca.root_hash(), vec![]).unwrap();
    let error =
        join(&wrong, &addresses, &wish, &Credentials::at(dir.path().join("x")), &clock).await.unwrap_err();
    assert!(error.to_string().contains("not one of this master's"), "{error}");
}

#[tokio::test]
async fn the_first_operator_can_call_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let ca = init(dir.path()).ca;
    let read = |name: &str| fs::read_to_string(ca.operator_dir().join(name)).unwrap();
    let operator = Identity::from_pem(&read("cert.pem"), &read("key.pem")).unwrap();
    assert_eq!(operator.certificate().id.to_string(), "spiffe://edge.example/user/operator");
    let roots = TrustRoots::from_pem(&read("ca.pem")).unwrap();
    assert_eq!(roots.hash(), ca.root_hash());

    let server = ca.server_identity(&ServerNames::new(["127.0.0.1".to_owned()]), now()).unwrap();
    let accepting = api_server(&SharedIdentity::new(server, ca.roots()), ca.roots()).unwrap();
    let expected = Expected::Region { domain: domain(), region: region() };
    let dialling = api_client(&operator, &roots, expected, clock()).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(dialling, name).unwrap();
    let mut server = rustls::ServerConnection::new(accepting).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    let peer = PeerCertificate::from_chain(server.peer_certificates().unwrap()).unwrap();
    assert_eq!(peer.id, operator.certificate().id);
}

#[tokio::test(start_paused = true)]
async fn the_masters_certificate_renews_itself() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Arc::new(init(dir.path()).ca);
    let names = ServerNames::new(["localhost".to_owned()]);
    let cancel = CancellationToken::new();
    let mut tasks = JoinSet::new();
    // 20 of its 30 days later.
    let began = now();
    let passed = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&passed);
    let clock = LinkClock::with_source(WallTime(0), move || WallTime(began.0 + read.load(Ordering::SeqCst)));
    let identity = MasterIdentity::new(ca, names, Arc::new(clock)).unwrap();
    let shared = identity.shared.clone();
    let serial = shared.current().certificate().serial.clone();
    passed.store(20 * 24 * 3600 * 1000, Ordering::SeqCst);
    tasks.spawn(identity.keep(cancel.clone()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_ne!(shared.current().certificate().serial, serial);
    let renewed = shared.current().certificate().serial.clone();
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(shared.current().certificate().serial, renewed, "it is not renewed again and again");
    cancel.cancel();
    tasks.join_all().await;
}

/// A region's CA under another's, in a directory of its own.
fn child(above: &Ca, dir: &Path, region: &str) -> Ca {
    let joining = Ca::joining(dir).unwrap().unwrap();
    let key = PublicKey::from_request(&joining.signing_request().unwrap()).unwrap();
    let chain = above.issue_region(&key, &region.parse().unwrap(), CHILD_REGION_LIFE, now()).unwrap();
    let authority = AuthorityChain::verified(chain, above.roots()).unwrap();
    let grant = RegionGrant { authority, roots: above.roots().clone(), parent_time: now() };
    joining.finish(&grant, &["parent.example:7444".to_owned()], now()).unwrap().ca
}

#[tokio::test]
async fn a_node_joins_at_the_bottom_of_the_deepest_tree() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = init(&dir.path().join("1")).ca;
    for level in 2..=REGIONS_DEEP_MAX {
        assert_eq!(ca.levels_below(), REGIONS_DEEP_MAX - level + 1);
        ca = child(&ca, &dir.path().join(level.to_string()), &format!("level{level}"));
    }
    assert_eq!(ca.authorities().len(), usize::from(REGIONS_DEEP_MAX));
    assert_eq!(ca.parents().unwrap(), ["parent.example:7444"]);
    let joining = Ca::joining(&dir.path().join("deeper")).unwrap().unwrap();
    let key = PublicKey::from_request(&joining.signing_request().unwrap()).unwrap();
    let refused = ca.issue_region(&key, &"deeper".parse().unwrap(), CHILD_REGION_LIFE, now()).unwrap_err();
    assert!(refused.to_string().contains("6 levels deep"), "{refused}");

    let ca = Arc::new(ca);
    let token = JoinToken::generate(ca.root_hash(), vec![]).unwrap();
    let (address, _shared, _tasks) = serve(ca.clone(), token.clone(), NODE_LIFE);
    let addresses = vec![address];
    let wish = JoinWish { node: "n1".parse().unwrap(), site: None };
    let credentials = Credentials::at(dir.path().join("node"));
    let joined = join(&token, &addresses, &wish, &credentials, &clock()).await.unwrap();
    assert_eq!(joined.identity.chain().len(), 1 + usize::from(REGIONS_DEEP_MAX));
    let mut dialer =
        Dialer::new(DialSettings::to(addresses), &joined.identity, &joined.roots, clock(), 1).unwrap();
    let link = tokio::time::timeout(Duration::from_secs(10), dialer.connect()).await.unwrap();
    assert_eq!(link.peer_id(), ca.id());
    let bytes: usize = joined.identity.chain().iter().map(|der| der.len()).sum();
    println!("a chain of the deepest tree takes {bytes} bytes");
}

/// A region whose clock stands two months behind shows certificates that are over, asks for its CA's to be renewed, hears the
/// time with the answer, and is let in.
#[tokio::test]
async fn a_region_with_a_wrong_clock_finds_in() {
    let dir = tempfile::tempdir().unwrap();
    let above = Arc::new(init(&dir.path().join("above")).ca);
    let below = child(&above, &dir.path().join("below"), "south");
    let token = JoinToken::generate(above.root_hash(), vec![]).unwrap();
    let (address, _shared, _tasks) = serve(above.clone(), token, CHILD_REGION_LIFE);
    let addresses = vec![address];
    let behind = WallTime(now().0 - 60 * 24 * 3600 * 1000);
    let clock = Arc::new(LinkClock::with_source(WallTime(0), move || behind));
    let names = ServerNames::default();
    let wrong = below.server_identity(&names, clock.now()).unwrap();
    let told = |identity: Identity| {
        let settings = DialSettings::to(addresses.clone());
        let mut dialer = Dialer::new(settings, &identity, below.roots(), clock.clone(), 1).unwrap();
        async move {
            let link = tokio::time::timeout(Duration::from_secs(10), dialer.connect()).await.unwrap();
            let closed = tokio::time::timeout(Duration::from_millis(300), link.closed()).await;
            closed.map(|lost| lost.to_string()).unwrap_or_default()
        }
    };
    // The CA began after the time that the clock shows, so what it signs begins with it and is good all the same.
    assert_eq!(told(wrong).await, "");
    let over = Ca::open(&dir.path().join("below")).unwrap();
    let past = over.server_identity(&names, WallTime(now().0 + 6 * 365 * 24 * 3600 * 1000)).unwrap();
    assert!(past.certificate().leaf.not_before <= past.certificate().leaf.not_after);
    let request = below.signing_request().unwrap();
    let renewed = renew_region(&addresses, &past, below.roots(), &request, &clock).await.unwrap();
    assert!(clock.now().since(behind) > Duration::from_hours(59 * 24), "the answer tells the time");
    let keys = below.authorities();
    below.renewed(renewed.authority).unwrap();
    assert_eq!(below.authorities(), keys);
    let right = below.server_identity(&names, clock.now()).unwrap();
    assert_eq!(told(right).await, "");
}

#[test]
fn a_ca_below_another_is_no_root() {
    let dir = tempfile::tempdir().unwrap();
    let above = init(&dir.path().join("above")).ca;
    let below = child(&above, &dir.path().join("below"), "south");
    assert!(!dir.path().join("below/root.key").exists());
    below.check_joined(Some(above.root_hash())).unwrap();
    let error = below.check_joined(Some(skerry_link::RootHash([1; 32]))).unwrap_err();
    assert!(error.to_string().contains("another federation than the join token"), "{error}");
    let error = above.check_joined(None).unwrap_err();
    assert!(error.to_string().contains("holds the root CA of the federation 'edge.example'"), "{error}");
    assert!(Ca::joining(&dir.path().join("below")).unwrap().is_none());
    let mode = fs::metadata(dir.path().join("below/region.key")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}
