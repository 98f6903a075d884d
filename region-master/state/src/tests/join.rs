//! Who may join and who may stay.

use skerry_types::{SiteName, WallTime};

use super::bench::*;
use crate::*;

fn token(bench: &mut Bench, id: &str, uses: u32) -> TokenId {
    let id: TokenId = id.parse().unwrap();
    let scope = TokenScope::Site(SiteName::new("s1").unwrap());
    let expires = WallTime(bench.now.wall.0 + 60_000);
    let new = NewToken { id: id.clone(), secret: SecretHash([7; 32]), scope, expires, uses };
    bench.call(ApiCall::CreateToken(new)).expect("a token");
    id
}

#[test]
fn a_token_lets_in_as_many_as_it_says_until_it_runs_out() {
    let mut bench = Bench::new();
    let id = token(&mut bench, "abc", 2);
    let ok = |node: &str| Ok(Enrolled::Node { node: node_name(node), site: SiteName::new("s1").unwrap() });
    assert_eq!(bench.enroll(&id, "n1", None, key_of("n1")), ok("n1"));
    assert_eq!(bench.enroll(&id, "n2", Some("s1"), key_of("n2")), ok("n2"));
    let full = Err(EnrollRefusal::TokenUsedUp { uses: 2 });
    assert_eq!(bench.enroll(&id, "n3", None, key_of("n3")), full);
    let late = token(&mut bench, "late", 9);
    bench.pass(std::time::Duration::from_secs(61));
    assert_eq!(bench.enroll(&late, "n3", None, key_of("n3")), Err(EnrollRefusal::TokenExpired));
}

#[test]
fn a_token_is_for_its_site_its_secret_and_free_names() {
    let mut bench = Bench::new();
    let id = token(&mut bench, "abc", 9);
    let site = |name| SiteName::new(name).unwrap();
    let other = EnrollRefusal::OtherSite { wanted: site("s2"), site: site("s1") };
    assert_eq!(bench.enroll(&id, "n1", Some("s2"), key_of("n1")), Err(other));
    let unknown = "zzz".parse().unwrap();
    assert_eq!(bench.enroll(&unknown, "n1", None, key_of("n1")), Err(EnrollRefusal::TokenUnknown));
    let call = bench.call_id();
    let (secret, key) = (SecretHash([8; 32]), key_of("n1"));
    let wish = EnrollWish::Node { node: node_name("n1"), site: None };
    bench.feed(Input::Enroll { call, token: id.clone(), secret, wish, key });
    assert_eq!(bench.certified.remove(&call), Some(Err(EnrollRefusal::TokenUnknown)));
    bench.enroll(&id, "n1", None, key_of("n1")).unwrap();
    let taken = Err(EnrollRefusal::NameTaken { node: node_name("n1") });
    assert_eq!(bench.enroll(&id, "n1", None, key_of("other")), taken);
}

#[test]
fn asking_again_with_the_same_key_gets_the_same_answer_and_uses_nothing() {
    let mut bench = Bench::new();
    let id = token(&mut bench, "abc", 1);
    let first = bench.enroll(&id, "n1", None, key_of("n1"));
    bench.restart();
    bench.pass(DAY);
    assert_eq!(bench.enroll(&id, "n1", None, key_of("n1")), first);
    let Ok(ApiReply::Tokens(tokens)) = bench.call(ApiCall::Tokens) else { panic!() };
    assert_eq!(tokens[0].1.used, 1);
}

#[test]
fn a_certificate_is_not_given_before_its_node_is_on_disk() {
    let mut bench = Bench::new();
    let token = token(&mut bench, "abc", 1);
    bench.full = true;
    let call = bench.call_id();
    let (secret, key) = (SecretHash([7; 32]), key_of("n1"));
    let wish = EnrollWish::Node { node: node_name("n1"), site: None };
    bench.feed(Input::Enroll { call, token, secret, wish, key });
    assert!(bench.certified.is_empty());
    bench.full = false;
    bench.drain();
    assert!(bench.certified[&call].is_ok());
}

#[test]
fn a_token_can_be_taken_back_and_old_ones_go_by_themselves() {
    let mut bench = Bench::new();
    let id = token(&mut bench, "abc", 1);
    bench.call(ApiCall::RevokeToken(id.clone())).unwrap();
    assert_eq!(bench.enroll(&id, "n1", None, key_of("n1")), Err(EnrollRefusal::TokenUnknown));
    let old = token(&mut bench, "old", 1);
    bench.pass(DAY * 7);
    token(&mut bench, "young", 1);
    assert_eq!(bench.enroll(&old, "n1", None, key_of("n1")), Err(EnrollRefusal::TokenExpired));
    bench.pass(DAY);
    token(&mut bench, "younger", 1);
    assert_eq!(bench.enroll(&old, "n1", None, key_of("n1")), Err(EnrollRefusal::TokenUnknown));
    bench.restart();
    let Ok(ApiReply::Tokens(tokens)) = bench.call(ApiCall::Tokens) else { panic!() };
    assert_eq!(tokens.len(), 2);
}

#[test]
fn only_the_key_that_joined_may_renew() {
    let mut bench = Bench::with_nodes(1);
    let mut check = |identity: NodeIdentity, good: bool| {
        let call = bench.call_id();
        bench.feed(Input::Renew { call, identity: ChildIdentity::Node(identity) });
        assert_eq!(bench.certified.remove(&call).unwrap().is_ok(), good);
    };
    let good = NodeIdentity {
        node: node_name("n1"),
        site: SiteName::new("s1").unwrap(),
        expires: WallTime(0),
        key: key_of("n1"),
    };
    check(NodeIdentity { key: [9; 32], ..good.clone() }, false);
    check(NodeIdentity { node: node_name("n2"), ..good.clone() }, false);
    check(good, true);
}
