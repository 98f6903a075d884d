//! What no agent and no operator sends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::time::timeout;

const SEED: u64 = 7444;
const PATIENCE: Duration = Duration::from_secs(30);

/// Random datagrams of every length; half of them begin as a first packet of QUIC version 1 does.
pub(super) fn datagrams(to: SocketAddr) -> Result<()> {
    let mut random = StdRng::seed_from_u64(SEED);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    for number in 0..3000 {
        let mut bytes = vec![0; random.random_range(1..1400)];
        random.fill_bytes(&mut bytes);
        if number % 2 == 0 && bytes.len() > 6 {
            bytes[..5].copy_from_slice(&[0xc0, 0, 0, 0, 1]);
            bytes[5] %= 21;
        }
        socket.send_to(&bytes, to).context("sending noise")?;
    }
    Ok(())
}

/// Connections that say something else than TLS, begin it and go, or say nothing; all at once, so that none waits for another.
pub(super) fn connections(to: SocketAddr) -> Result<()> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut open = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        let mut bytes = vec![0; random.random_range(1..100_000)];
        random.fill_bytes(&mut bytes);
        match number % 4 {
            0 => {}
            1 => bytes = b"GET / HTTP/1.1\r\nHost: master\r\n\r\n".to_vec(),
            // A record that announces a hello, and what follows is none.
            2 => bytes.splice(..0, [0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]).for_each(drop),
            _ => bytes.clear(),
        }
        // The master may have hung up already.
        stream.write_all(&bytes).or_else(hung_up)?;
        open.push((number, stream));
    }
    for (number, mut stream) in open.into_iter().filter(|(number, _)| number % 4 < 2) {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(drop).or_else(hung_up).context("the master does not hang up")?;
        ensure!(answer.len() < 100, "connection {number} was answered with {} bytes", answer.len());
    }
    Ok(())
}

fn hung_up(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}

/// Frames as only a broken or hostile node sends them, with the certificate of a node.
pub(super) fn frames(to: SocketAddr, identity: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut random = StdRng::seed_from_u64(SEED);
        let mut noise = vec![0; 2000];
        random.fill_bytes(&mut noise);
        let framed = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            [length.to_le_bytes().as_slice(), bytes].concat()
        };
        let too_long = [u32::MAX.to_le_bytes().as_slice(), &noise].concat();
        let just_too_long = [(1_048_577_u32).to_le_bytes().as_slice(), &noise].concat();
        for protocol in [skerry_link::ALPN_LINK, skerry_link::ALPN_ENROLL] {
            for bytes in [&too_long, &just_too_long, &framed(&noise), &framed(&[]), &noise] {
                refused(to, identity, protocol, bytes).await?;
            }
        }
        Ok(())
    })
}

/// Sends this as the first words and waits until the master closes the connection.
async fn refused(to: SocketAddr, identity: &Path, protocol: &[u8], bytes: &[u8]) -> Result<()> {
    let mut endpoint = Endpoint::client("0.0.0.0:0".parse()?)?;
    endpoint.set_default_client_config(client(identity, protocol)?);
    let connection: Connection = endpoint.connect(to, "skerry")?.await?;
    let (mut sender, _receiver) = connection.open_bi().await?;
    // The master may stop reading in the middle.
    drop(sender.write_all(bytes).await);
    let what =
        || format!("the master bears {} strange bytes by {}", bytes.len(), String::from_utf8_lossy(protocol));
    let closed = timeout(PATIENCE, connection.closed()).await.with_context(what)?;
    ensure!(matches!(closed, quinn::ConnectionError::ApplicationClosed(_)), "{}: {closed}", what());
    endpoint.wait_idle().await;
    Ok(())
}

fn client(identity: &Path, protocol: &[u8]) -> Result<ClientConfig> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(identity.join("cert.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(identity.join("key.pem"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    config.enable_sni = false;
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?)))
}

/// Believes every master: here it is the master that is tested.
#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
