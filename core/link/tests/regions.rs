//! Regions under regions: who may speak for whom, and how a region joins and renews.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use skerry_link::enroll::{EnrollError, Refusal, RefusalKind, RegionWish, Wish, join_region, renew_region};
use skerry_link::{AuthorityChain, JoinToken, PeerCertificate, Validity};
use support::*;

const SOUTH: &str = "spiffe://edge.example/region/south";
const SOUTH_NODE: &str = "spiffe://edge.example/region/south/site/rome/node/n1";

/// Dials `parent` as `identity` and says how that ended.
async fn told(
    ca: &TestCa,
    parent: &Parent,
    identity: &skerry_link::tls::Identity,
    expected: Option<&str>,
) -> String {
    let mut dialer = dialer(parent.addresses(), identity, &ca.roots(), right_clock());
    match expected {
        Some(_) => refusal(&mut dialer).await,
        None => connect(&mut dialer).await.echo("up").await,
    }
}

#[tokio::test]
async fn a_child_region_links_to_its_parent_and_to_nobody_else() {
    let ca = TestCa::new("one");
    let parent = Parent::start(&ca, right_clock(), nobody());
    let south = ca.region("north").child("south");
    let child = south.identity(SOUTH, week(now()));
    assert_eq!(told(&ca, &parent, &child, None).await, "up");

    // A grandchild's parent is another: it does not even believe the answer.
    let deep = south.child("rome").identity("spiffe://edge.example/region/rome", week(now()));
    let words = told(&ca, &parent, &deep, Some("")).await;
    assert!(words.contains("NotTheMaster"), "{words}");

    // A region of the same federation that is not below this one.
    let beside = ca.region("east").child("south").identity(SOUTH, week(now()));
    let words = told(&ca, &parent, &beside, Some("")).await;
    assert!(words.contains("NotTheMaster"), "{words}");
}

#[tokio::test]
async fn a_node_of_one_region_is_nobody_at_another() {
    let ca = TestCa::new("one");
    let any = "127.0.0.1:0".parse().unwrap();
    let south = ca.region("north").child("south");
    let parent =
        Parent::start_at(any, &south.identity(SOUTH, week(now())), &ca.roots(), right_clock(), nobody());
    let node = south.identity(SOUTH_NODE, week(now()));
    assert_eq!(told(&ca, &parent, &node, None).await, "up");

    let stranger = ca.identity(NODE, week(now()));
    let words = told(&ca, &parent, &stranger, Some("")).await;
    assert!(words.contains("NotTheMaster"), "{words}");

    // The name is right, but it is another region of that name that certified it.
    let other_south = ca.region("east").child("south");
    let imposter = other_south.identity(SOUTH_NODE, week(now()));
    let words = told(&ca, &parent, &imposter, Some("")).await;
    assert!(words.contains("NotTheMaster"), "{words}");
}

/// What a peer that dials without checking who answers is told: the judgement of the parent alone.
async fn judged(ca: &TestCa, chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> String {
    let mut parent = Parent::start(ca, right_clock(), nobody());
    // The identity's own parent is irrelevant here: an enrolment, which any master may answer, carries the certificate.
    let identity = identity(chain, key);
    let clock = right_clock();
    let roots = ca.roots();
    let csr = request(key);
    let dialled = renew_region(&parent.addresses(), &identity, &roots, &csr, &clock).await;
    let own = dialled.err().map(|error| error.to_string()).unwrap_or_default();
    let seen = tokio::time::timeout(std::time::Duration::from_secs(5), parent.refused.recv()).await;
    format!("{own}; {}", seen.ok().flatten().unwrap_or_default())
}

fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

#[test]
fn a_region_vouches_only_for_its_own() {
    let ca = TestCa::new("one");
    let south = ca.region("south");
    let key = KeyPair::generate().unwrap();
    for id in [NODE, REGION] {
        let error = PeerCertificate::from_chain(&south.chain(id, &key, week(now()))).unwrap_err();
        assert!(
            error.to_string().contains("the CA of region 'south', which may not speak for it"),
            "{error}"
        );
    }
    let other = "spiffe://other.example/region/south/site/rome/node/n1";
    let error = PeerCertificate::from_chain(&south.chain(other, &key, week(now()))).unwrap_err();
    assert!(error.to_string().contains("no region of the leaf's federation"), "{error}");
    assert!(PeerCertificate::from_chain(&south.chain(SOUTH_NODE, &key, week(now()))).is_ok());
}

#[tokio::test]
async fn a_borrowed_ca_certificate_does_not_help() {
    let ca = TestCa::new("one");
    let (north, south) = (ca.region("north"), ca.region("south"));
    let key = KeyPair::generate().unwrap();
    // Signed by south's CA, shown with north's CA in front of it: webpki alone finds a way to the root.
    let leaf = south.sign(NODE, &key, week(now()));
    let chain = vec![leaf, north.chain[0].clone(), south.chain[0].clone()];
    let words = judged(&ca, chain, &key).await;
    assert!(words.contains("does not accept our certificate"), "{words}");
    // And behind it.
    let leaf = south.sign(SOUTH, &key, week(now()));
    let words = judged(&ca, vec![leaf, south.chain[0].clone(), north.chain[0].clone()], &key).await;
    assert!(words.contains("does not accept our certificate"), "{words}");
}

fn wish() -> RegionWish {
    RegionWish { region: "south".parse().unwrap(), domain: None }
}

/// North's master, which lets one token and every key in.
fn making_regions(ca: &Arc<TestCa>, validity: Validity) -> Issuing {
    let ca = ca.clone();
    Arc::new(move |request| {
        let region = match &request.wish {
            Wish::JoinRegion { region, .. } => region.to_string(),
            Wish::RenewRegion { certificate, .. } => certificate.vouchers[0].region.to_string(),
            _ => return Err((RefusalKind::TokenForRegions, String::new())),
        };
        let above = ca.region("north");
        let key = rcgen::SubjectPublicKeyInfo::from_der(request.key.der()).unwrap();
        let own = sub_authority(&above.issuer, &region, &key, validity);
        let chain: Vec<_> = std::iter::once(own).chain(above.chain.iter().cloned()).collect();
        Ok(ca.grant_of(&chain))
    })
}

#[tokio::test]
async fn a_region_joins_and_renews() {
    let ca = Arc::new(TestCa::new("one"));
    let bare = JoinToken::generate(ca.root_hash(), vec![]).unwrap();
    let past = Validity { not_before: now() - 300 * DAY, not_after: now() - 200 * DAY };
    let mut parent = Parent::start(&ca, right_clock(), making_regions(&ca, past));
    let key = KeyPair::generate().unwrap();
    let clock = right_clock();
    let granted = join_region(&bare, &parent.addresses(), &wish(), &request(&key), &clock).await.unwrap();
    let authority = &granted.authority;
    assert_eq!(authority.id().to_string(), SOUTH);
    assert_eq!(authority.parent().unwrap().region.as_str(), "north");
    assert_eq!(authority.validity().not_after.0 / 1000, past.not_after.0 / 1000);

    // A year later the CA has run out. It still renews, with its own key and no other.
    let child = identity_under(authority, &key, SOUTH, past);
    parent = Parent::start(&ca, right_clock(), making_regions(&ca, week(now())));
    let addresses = parent.addresses();
    let renewed = renew_region(&addresses, &child, &granted.roots, &request(&key), &clock).await.unwrap();
    assert_eq!(renewed.authority.key(), authority.key());
    assert!(renewed.authority.validity().not_after > now());

    let other = KeyPair::generate().unwrap();
    let error = renew_region(&addresses, &child, &granted.roots, &request(&other), &clock).await.unwrap_err();
    assert!(matches!(&error, EnrollError::Refused(Refusal { kind: RefusalKind::KeyChanged, .. })), "{error}");
    assert!(parent.next_refusal().await.contains("same key"));

    let fresh = identity_under(&renewed.authority, &key, SOUTH, week(now()));
    assert_eq!(told(&ca, &parent, &fresh, None).await, "up");
}

#[tokio::test]
async fn a_region_takes_no_certificate_that_it_did_not_ask_for() {
    let ca = Arc::new(TestCa::new("one"));
    let bare = JoinToken::generate(ca.root_hash(), vec![]).unwrap();
    let parent = Parent::start(&ca, right_clock(), making_regions(&ca, week(now())));
    let key = KeyPair::generate().unwrap();
    let elsewhere = RegionWish { domain: Some("other.example".parse().unwrap()), ..wish() };
    let clock = right_clock();
    let error =
        join_region(&bare, &parent.addresses(), &elsewhere, &request(&key), &clock).await.unwrap_err();
    assert!(error.to_string().contains("federation 'edge.example', not 'other.example'"), "{error}");

    let above = ca.clone();
    let wrong: Issuing = Arc::new(move |_| Ok(above.grant_of(&above.region("south").chain)));
    let parent = Parent::start(&ca, right_clock(), wrong);
    let error = join_region(&bare, &parent.addresses(), &wish(), &request(&key), &clock).await.unwrap_err();
    assert!(error.to_string().contains("for another key"), "{error}");
}

#[test]
fn a_chain_of_authorities_is_checked_to_the_root() {
    let (ca, other) = (TestCa::new("one"), TestCa::new("two"));
    let check = |chain: Vec<CertificateDer<'static>>, words: &str| {
        let read = AuthorityChain::verified(chain, &ca.roots());
        let told = read.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains(words) && told.is_empty() == words.is_empty(), "{told}");
    };
    let mut deep = ca.region("north").child("r2");
    for level in 3..=6 {
        deep = deep.child(&format!("r{level}"));
    }
    check(deep.chain.clone(), "");
    check(deep.child("r7").chain, "at most");
    check(vec![], "no certificate");
    check(other.region("north").chain.clone(), "out of order");
    check(vec![deep.chain[0].clone(), deep.chain[2].clone()], "out of order");
    let key = KeyPair::generate().unwrap();
    check(ca.region("south").chain(SOUTH, &key, week(now())), "not a CA's");
}

fn identity_under(
    authority: &AuthorityChain,
    key: &KeyPair,
    id: &str,
    validity: Validity,
) -> skerry_link::tls::Identity {
    let issuer = rcgen::Issuer::from_ca_cert_der(&authority.certificates()[0], key).unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = leaf(&issuer, id, &leaf_key, validity);
    identity(std::iter::once(leaf).chain(authority.certificates().iter().cloned()).collect(), &leaf_key)
}

fn leaf(
    issuer: &rcgen::Issuer<'_, impl rcgen::SigningKey>,
    id: &str,
    key: &impl PublicKeyData,
    validity: Validity,
) -> CertificateDer<'static> {
    leaf_params(id, validity).signed_by(key, issuer).unwrap().der().clone()
}

fn sub_authority(
    issuer: &rcgen::Issuer<'_, impl rcgen::SigningKey>,
    region: &str,
    key: &impl PublicKeyData,
    validity: Validity,
) -> CertificateDer<'static> {
    authority_params(region, validity).signed_by(key, issuer).unwrap().der().clone()
}
