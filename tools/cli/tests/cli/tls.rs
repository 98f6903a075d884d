//! What a person is told when the connection cannot be made.

use std::io::Write as _;

use crate::authority::Authority;
use crate::fake_master::{FakeMaster, Script};
use crate::skerry::Desk;

#[test]
fn nobody_listens() {
    let desk = Desk::new(Script::default());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    desk.context(&free.to_string(), desk.authority.pem(), &desk.authority.sign("operator"));
    desk.run(&["get", "nodes"]).failed(
        1,
        &[
            "connection refused",
            &free.to_string(),
            "context 'north'",
            "try: see whether skerry-master runs there",
        ],
    );
    let said = desk.run(&["version"]);
    said.failed(1, &["connection refused"]);
    assert!(said.out.starts_with("client "));
}

#[test]
fn the_master_is_of_another_ca() {
    let desk = Desk::new(Script::default());
    let other = Authority::new();
    desk.context(&desk.master.address.to_string(), other.pem(), &other.sign("operator"));
    desk.run(&["get", "nodes"])
        .failed(1, &["certificate that the CA of this context did not sign", "'north'"]);
}

#[test]
fn the_operators_certificate_is_of_another_ca() {
    let desk = Desk::new(Script::default());
    let other = Authority::new();
    desk.context(&desk.master.address.to_string(), desk.authority.pem(), &other.sign("operator"));
    desk.run(&["get", "nodes"]).failed(1, &["does not know the CA that signed your certificate"]);
}

#[test]
fn certificates_have_run_out() {
    let desk = Desk::new(Script::default());
    let expired = desk.authority.sign_until("operator", 2020);
    desk.context(&desk.master.address.to_string(), desk.authority.pem(), &expired);
    desk.run(&["get", "nodes"]).failed(1, &["your certificate in context 'north' has expired", "try: "]);

    let old = FakeMaster::start(
        Script::default(),
        &desk.authority.sign_until("skerry-master", 2020),
        &desk.authority,
    );
    desk.context(&old.address.to_string(), desk.authority.pem(), &desk.authority.sign("operator"));
    desk.run(&["get", "nodes"]).failed(1, &["not valid at this time", "clocks"]);
}

#[test]
fn the_master_has_another_name() {
    let desk = Desk::new(Script::default());
    let other = FakeMaster::start(Script::default(), &desk.authority.sign("skerry-agent"), &desk.authority);
    desk.context(&other.address.to_string(), desk.authority.pem(), &desk.authority.sign("operator"));
    desk.run(&["get", "nodes"]).failed(1, &["cannot be trusted"]);
}

#[test]
fn key_and_certificate_do_not_belong_together() {
    let desk = Desk::new(Script::default());
    let mut pair = desk.authority.sign("operator");
    pair.key = desk.authority.sign("operator").key;
    desk.context(&desk.master.address.to_string(), desk.authority.pem(), &pair);
    desk.run(&["get", "nodes"]).failed(1, &["cannot be used", "'north'"]);
}

#[test]
fn what_listens_is_no_master() {
    let desk = Desk::new(Script::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let web = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    desk.context(&address.to_string(), desk.authority.pem(), &desk.authority.sign("operator"));
    desk.run(&["get", "nodes"]).failed(1, &["is not a master's API", "7443/tcp"]);
    web.join().unwrap();
}

#[test]
fn nobody_answers_the_handshake() {
    let desk = Desk::new(Script::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    desk.context(&address.to_string(), desk.authority.pem(), &desk.authority.sign("operator"));
    desk.run(&["get", "nodes", "--request-timeout", "300ms"]).failed(1, &["no answer", "--request-timeout"]);
}
