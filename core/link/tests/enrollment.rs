//! Joining and renewing, with every way to be refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use skerry_link::enroll::{EnrollError, JoinWish, Refusal, RefusalKind, Wish, join, renew};
use skerry_link::{Credentials, JoinToken, Validity};
use support::*;

fn wish() -> JoinWish {
    JoinWish { node: "n1".parse().unwrap(), site: None }
}

/// Admits one token.
fn admitting(ca: &Arc<TestCa>, token: &JoinToken) -> Issuing {
    let (ca, token) = (ca.clone(), token.clone());
    Arc::new(move |request| match &request.wish {
        Wish::Join { token: id, secret_hash, .. }
            if *id == token.id && *secret_hash == token.secret.hash() =>
        {
            Ok(ca.grant(request, NODE, week(now())))
        }
        Wish::Join { .. } => Err((RefusalKind::TokenWrong, String::new())),
        _ => Err((RefusalKind::NodeUnknown, String::new())),
    })
}

#[tokio::test]
async fn a_token_is_all_that_a_node_needs() {
    let ca = Arc::new(TestCa::new("one"));
    let bare = JoinToken::generate(ca.root_hash(), vec![]).unwrap();
    let parent = Parent::start(&ca, right_clock(), admitting(&ca, &bare));
    let token = JoinToken { addresses: parent.addresses(), ..bare };
    let read: JoinToken = token.to_text().parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::at(dir.path().join("identity"));
    // The node's clock stands in 1970; the answer tells it the time.
    let (_, clock) = Hands::at(skerry_types::WallTime(0));
    let enrolled = join(&read, &[], &wish(), &credentials, &clock).await.unwrap();
    assert_eq!(enrolled.identity.certificate().id.to_string(), NODE);
    assert!(clock.now() >= enrolled.master_time);

    let (identity, roots) = credentials.load().unwrap().unwrap();
    assert_eq!(identity.certificate(), enrolled.identity.certificate());
    let mut welcomed = connect(&mut dialer(parent.addresses(), &identity, &roots, clock.clone())).await;
    assert_eq!(welcomed.echo("joined").await, "joined");

    // The answer got lost, the node asks again: the same key, so the master can tell that it is the same node.
    let again = join(&read, &[], &wish(), &credentials, &clock).await.unwrap();
    assert_eq!(again.identity.certificate().key, enrolled.identity.certificate().key);
}

#[tokio::test]
async fn a_token_of_another_ca_is_told_before_the_secret_is_sent() {
    let (ca, other) = (Arc::new(TestCa::new("one")), TestCa::new("two"));
    let token = JoinToken::generate(other.root_hash(), vec![]).unwrap();
    let parent = Parent::start(&ca, right_clock(), admitting(&ca, &token));
    let dir = tempfile::tempdir().unwrap();
    let error = join(&token, &parent.addresses(), &wish(), &Credentials::at(dir.path()), &right_clock())
        .await
        .unwrap_err();
    let words = error.to_string();
    assert!(words.contains("the join token is from another CA"), "{words}");
    assert!(!error.is_passing());
}

#[tokio::test]
async fn every_refusal_reaches_the_node_in_words() {
    let ca = Arc::new(TestCa::new("one"));
    let token = JoinToken::generate(ca.root_hash(), vec![]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (RefusalKind::TokenWrong, "not one of this master's", false),
        (RefusalKind::TokenExpired, "has expired", false),
        (RefusalKind::TokenUsedUp, "is used up", false),
        (RefusalKind::TokenForAnotherSite, "for another site (oslo)", false),
        (RefusalKind::NameTaken, "enrolled with another key", false),
        (RefusalKind::Unavailable, "at present", true),
    ];
    for (kind, words, passing) in cases {
        let detail = if kind == RefusalKind::TokenForAnotherSite { "oslo" } else { "" };
        let parent = Parent::start(&ca, right_clock(), Arc::new(move |_| Err((kind, detail.to_owned()))));
        let error = join(&token, &parent.addresses(), &wish(), &Credentials::at(dir.path()), &right_clock())
            .await
            .unwrap_err();
        assert!(matches!(&error, EnrollError::Refused(Refusal { kind: k, .. }) if *k == kind), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.is_passing(), passing, "{error}");
    }
}

#[tokio::test]
async fn an_expired_certificate_renews_for_its_own_key_only() {
    let ca = Arc::new(TestCa::new("one"));
    let bare = JoinToken::generate(ca.root_hash(), vec![]).unwrap();
    let over = Validity { not_before: now() - 100 * DAY, not_after: now() - 93 * DAY };
    let issuer = ca.clone();
    let issuing: Issuing = Arc::new(move |request| match &request.wish {
        Wish::Join { .. } => Ok(issuer.grant(request, NODE, over)),
        Wish::Renew { certificate, expired_for } => {
            assert!(expired_for.unwrap() > 92 * DAY);
            Ok(issuer.grant(request, &certificate.id.to_string(), week(now())))
        }
        _ => Err((RefusalKind::NodeUnknown, String::new())),
    });
    let mut parent = Parent::start(&ca, right_clock(), issuing);
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::at(dir.path().join("own"));
    let clock = right_clock();
    let old = join(&bare, &parent.addresses(), &wish(), &credentials, &clock).await.unwrap();

    let other = Credentials::at(dir.path().join("other"));
    let error = renew(&parent.addresses(), &old.identity, &old.roots, &other, &clock).await.unwrap_err();
    assert!(matches!(&error, EnrollError::Refused(Refusal { kind: RefusalKind::KeyChanged, .. })), "{error}");
    assert!(parent.next_refusal().await.contains("same key"));
    assert!(other.load().unwrap().is_none());

    let renewed = renew(&parent.addresses(), &old.identity, &old.roots, &credentials, &clock).await.unwrap();
    assert_eq!(renewed.identity.certificate().key, old.identity.certificate().key);
    assert_ne!(renewed.identity.certificate().fingerprint, old.identity.certificate().fingerprint);
    let mut dialer = dialer(parent.addresses(), &renewed.identity, &renewed.roots, clock);
    assert_eq!(connect(&mut dialer).await.echo("back").await, "back");
}

#[tokio::test]
async fn only_nodes_of_this_ca_renew() {
    let (ca, other) = (Arc::new(TestCa::new("one")), TestCa::new("two"));
    let parent = Parent::start(&ca, right_clock(), renewing(&ca));
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::at(dir.path());
    let user = ca.identity(USER, week(now()));
    let error =
        renew(&parent.addresses(), &user, &ca.roots(), &credentials, &right_clock()).await.unwrap_err();
    assert!(error.to_string().contains("only a node of this region"), "{error}");
    let stranger = other.identity(NODE, week(now()));
    let error =
        renew(&parent.addresses(), &stranger, &ca.roots(), &credentials, &right_clock()).await.unwrap_err();
    assert!(error.to_string().contains("not the master that is expected"), "{error}");
}

#[tokio::test]
async fn a_master_that_answers_nonsense_changes_nothing() {
    let (ca, other) = (Arc::new(TestCa::new("one")), Arc::new(TestCa::new("two")));
    let token = JoinToken::generate(ca.root_hash(), vec![]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let credentials = Credentials::at(dir.path());
    let issuer = ca.clone();
    let wrong_name: Issuing = Arc::new(move |request| {
        Ok(issuer.grant(request, "spiffe://edge.example/region/north/site/oslo/node/n2", week(now())))
    });
    let wrong_roots: Issuing = Arc::new(move |request| Ok(other.grant(request, NODE, week(now()))));
    for (issuing, words) in [(wrong_name, "node/n2"), (wrong_roots, "root that the token names")] {
        let parent = Parent::start(&ca, right_clock(), issuing);
        let error =
            join(&token, &parent.addresses(), &wish(), &credentials, &right_clock()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(credentials.load().unwrap().is_none());
    }
}
