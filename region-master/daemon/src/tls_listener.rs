//! The API's listener: TLS handshakes beside each other, and what the caller's certificate says.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use skerry_link::{KeyHash, PeerCertificate, SpiffeId};
use skerry_types::WallTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;

/// Enough for a round trip of 2 s with losses.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(20);
/// Connections whose handshake is done and that the server has not taken yet.
pub(crate) const READY_MAX: usize = 64;

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// What the certificate says, or why it says nothing.
    pub(crate) certificate: Result<Arc<PeerCertificate>, String>,
}

/// A connection of the API.
pub(crate) struct ApiStream {
    stream: TlsStream<TcpStream>,
    caller: Caller,
}

/// Accepts connections until `cancel`; each is handed on once its handshake is done.
pub(crate) async fn accept(
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    ready: mpsc::Sender<io::Result<ApiStream>>,
    cancel: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(config);
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            // Cancel-safe: a connection stays in the backlog.
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                let (acceptor, ready) = (acceptor.clone(), ready.clone());
                tasks.spawn(async move { shake_hands(&acceptor, stream, remote, ready).await });
            }
            Err(error) => {
                // Out of file descriptors, most likely: give those in use time to end.
                tracing::warn!(%error, "a connection to the API cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    remote: SocketAddr,
    ready: mpsc::Sender<io::Result<ApiStream>>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "no delay-free sending");
    }
    match timeout(HANDSHAKE_WAIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let caller = caller_of(&stream);
            if ready.send(Ok(ApiStream { stream, caller })).await.is_err() {
                tracing::debug!(%remote, "a caller came while the API shut down");
            }
        }
        Ok(Err(error)) => tracing::info!(%remote, %error, "a TLS handshake with the API failed"),
        Err(_) => tracing::info!(%remote, "a TLS handshake with the API took too long"),
    }
}

fn caller_of(stream: &TlsStream<TcpStream>) -> Caller {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = PeerCertificate::from_chain(chain).map(Arc::new).map_err(|error| error.to_string());
    Caller { certificate }
}

impl Caller {
    /// The name of the operator, or why the caller is none. `authorities` are the CAs whose users are operators here.
    pub(crate) fn operator(&self, now: WallTime, authorities: &[KeyHash]) -> Result<String, String> {
        let certificate =
            self.certificate.as_ref().map_err(|error| format!("the certificate cannot be read: {error}"))?;
        if let Some(expired) = certificate.chain.expired_for(now) {
            let hours = expired.as_secs() / 3600;
            return Err(format!("the certificate of {} ran out {hours} h ago: make another", certificate.id));
        }
        match &certificate.id {
            SpiffeId::User { user, .. } => match certificate.vouchers.first() {
                Some(nearest) if !authorities.contains(&nearest.key) => Err(format!(
                    "{} was certified by region '{}', which is not above this one: use a certificate of this region or of one above",
                    certificate.id, nearest.region
                )),
                _ => Ok(user.to_string()),
            },
            other => Err(format!(
                "{other} is the certificate of a {}, and this is the operators' API: use an operator's certificate, such as the one 'skerry-master init' made",
                other.kind()
            )),
        }
    }
}

impl Connected for ApiStream {
    type ConnectInfo = Caller;
    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for ApiStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ApiStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
