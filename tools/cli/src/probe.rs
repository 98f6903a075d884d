//! A second look at a connection that broke: why.
//!
//! A master that does not take a certificate says so in an alert and hangs up. With TLS 1.3 that comes after the client's first
//! request, and the request still on its way makes the kernel throw the alert away. A handshake that asks for nothing hears it.

use std::io::{self, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use tonic::codegen::http::Uri;

use crate::context::Credentials;
use crate::transport::{Fault, read_chain};

/// Longest wait for each step. The caller knows already that something is wrong, so this blocks.
const LIMIT: Duration = Duration::from_secs(2);

/// What is wrong with the handshake, if that can be found out.
pub(crate) fn handshake(credentials: &Credentials, name: &'static str) -> Option<Fault> {
    let mut tls = connection(credentials, name)?;
    let mut socket = connect(&credentials.server)?;
    let mut byte = [0];
    // The first byte of an answer is as good as any: then the certificate was taken.
    let error = Stream::new(&mut tls, &mut socket).read(&mut byte).err()?;
    read_chain(&error)
}

fn connection(credentials: &Credentials, name: &'static str) -> Option<ClientConnection> {
    let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().collect()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&credentials.ca));
    let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes()).ok()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&credentials.cert), key)
        .ok()?;
    config.alpn_protocols.push(b"h2".to_vec());
    ClientConnection::new(Arc::new(config), ServerName::try_from(name).ok()?).ok()
}

fn connect(server: &str) -> Option<TcpStream> {
    let uri: Uri = server.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let address = (host, uri.port_u16()?).to_socket_addrs().ok()?.next()?;
    let socket = TcpStream::connect_timeout(&address, LIMIT).ok()?;
    let bounded: io::Result<()> =
        socket.set_read_timeout(Some(LIMIT)).and_then(|()| socket.set_write_timeout(Some(LIMIT)));
    bounded.ok().map(|()| socket)
}
