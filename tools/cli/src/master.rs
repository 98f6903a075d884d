//! The connection to the master: every call has a deadline, and every failure says what it means.

use std::sync::Arc;
use std::time::Duration;

use skerry_api::MESSAGE_MAX;
use skerry_api::v1::operator_client::OperatorClient;
use tokio::time::timeout;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Response, Status, Streaming};

use crate::args::ServerArgs;
use crate::context::{self, Credentials};
use crate::failure::Failure;
use crate::print::say;
use crate::probe;
use crate::transport::{CallError, Fault, Peer};

/// The name that every master's certificate carries, whatever its address is.
const SERVER_NAME: &str = "skerry-master";
/// Longest wait for TCP and TLS: five round trips of the worst link that ARCHITECTURE.md speaks of (2 s).
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A stream that may be silent for long is probed this often, and given up after as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The generated client.
pub(crate) type Client = OperatorClient<Channel>;

/// A region's master.
#[derive(Debug, Clone)]
pub(crate) struct Master {
    client: Client,
    peer: Peer,
    credentials: Arc<Credentials>,
    limit: Duration,
}

impl Master {
    /// Reads the context. The first call connects, and a later one connects again when the connection was lost.
    pub(crate) fn open(args: &ServerArgs) -> Result<Self, Failure> {
        let path = context::path(args.file.config.as_deref())?;
        let file = context::load(&path)?;
        let (name, context) = file.select(args.context.as_deref(), &path)?;
        let found = context.credentials(name, &path)?;
        if let Some(file) = context.exposed_key(&path) {
            let file = file.display();
            say(&format!("warning: others can read the key in {file}: chmod 600 {file}"));
        }
        let peer = Peer { context: found.context.clone(), server: found.server.clone() };
        let tls = ClientTlsConfig::new()
            .domain_name(SERVER_NAME)
            .ca_certificate(Certificate::from_pem(&found.ca))
            .identity(Identity::from_pem(&found.cert, &found.key))
            .timeout(CONNECT_LIMIT);
        let endpoint =
            endpoint(&peer.server, tls).map_err(|error| CallError::of_setup(peer.clone(), &error))?;
        let client = OperatorClient::new(endpoint.connect_lazy()).max_decoding_message_size(MESSAGE_MAX);
        Ok(Self { client, peer, credentials: Arc::new(found), limit: args.request_timeout })
    }

    /// Makes a call and waits for its answer.
    pub(crate) async fn call<T, Sent>(&self, send: impl FnOnce(Client) -> Sent) -> Result<T, CallError>
    where
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_within(Duration::ZERO, send).await
    }

    /// Makes a call that the master may hold for `held` before it answers.
    pub(crate) async fn call_within<T, Sent>(
        &self,
        held: Duration,
        send: impl FnOnce(Client) -> Sent,
    ) -> Result<T, CallError>
    where
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        let limit = self.limit.saturating_add(held);
        match timeout(limit, send(self.client.clone())).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(&status)),
            Err(_) => Err(CallError::new(self.peer.clone(), Fault::Silent(limit))),
        }
    }

    /// The next message of a stream, or `None` at its end. With `patient` it may take any time: the connection itself is
    /// probed, so a master that is gone is noticed.
    pub(crate) async fn next<T>(
        &self,
        stream: &mut Streaming<T>,
        patient: bool,
    ) -> Result<Option<T>, CallError> {
        let next = if patient {
            stream.message().await
        } else {
            timeout(self.limit, stream.message())
                .await
                .map_err(|_| CallError::new(self.peer.clone(), Fault::Silent(self.limit)))?
        };
        next.map_err(|status| self.failed(&status))
    }

    /// What a status means. The reason for a broken connection may be lost with it, so it is looked for then.
    fn failed(&self, status: &Status) -> CallError {
        let mut error = CallError::of_status(self.peer.clone(), status);
        if matches!(error.fault, Fault::Lost(_))
            && let Some(fault) = probe::handshake(&self.credentials, SERVER_NAME)
        {
            error.fault = fault;
        }
        error
    }
}

fn endpoint(server: &str, tls: ClientTlsConfig) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(server.to_owned())?
        .tls_config(tls)?
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .user_agent(concat!("skerry/", env!("CARGO_PKG_VERSION")))?;
    Ok(endpoint)
}
