//! One registry host: its HTTP client, its trust and its authorization.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::auth::{self, Authorization, Challenge};
use crate::clock::Clock;
use crate::config::{ConfigError, Credentials, HostConfig, Timeouts};
use crate::error::RegistryError;
use crate::image_ref::ImageRef;

/// A token answer is a few kilobytes; more is not a token.
const MAX_TOKEN_LEN: u64 = 64 << 10;
/// How much of an error answer is read.
const MAX_ERROR_LEN: u64 = 16 << 10;
/// Registries redirect blobs to storage once, storage rarely again.
const MAX_REDIRECTS: usize = 5;

pub(crate) struct Endpoint {
    host: String,
    base: String,
    http: reqwest::Client,
    credentials: Option<Credentials>,
    timeouts: Timeouts,
    by_repository: Mutex<BTreeMap<String, Authorization>>,
}

/// What a request is about, for the errors.
pub(crate) struct Ask<'a> {
    pub(crate) image: &'a ImageRef,
    /// Below `/v2/<repository>/`.
    pub(crate) path: String,
    pub(crate) accept: &'static str,
    /// First byte wanted, for blobs that are resumed.
    pub(crate) offset: u64,
}

impl Endpoint {
    pub(crate) fn new(
        host: &str,
        config: &HostConfig,
        timeouts: Timeouts,
        clock: &Clock,
    ) -> Result<Self, ConfigError> {
        let scheme = if config.insecure_http { "http" } else { "https" };
        let credentials = config.credentials()?;
        let tls = tls_config(trusted(host, config)?, clock);
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect_policy())
            .connect_timeout(timeouts.connect)
            .read_timeout(timeouts.stall)
            .pool_max_idle_per_host(2)
            .user_agent(concat!("skerry/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| ConfigError::Client { host: host.to_owned(), reason: source.to_string() })?;
        Ok(Self {
            host: host.to_owned(),
            base: format!("{scheme}://{}", dial_name(host)),
            http,
            credentials,
            timeouts,
            by_repository: Mutex::default(),
        })
    }

    /// Sends the request, answers one challenge, and returns a response with a success status.
    pub(crate) async fn get(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let known = self.authorization(ask.image);
        let response = self.send(ask, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.checked(ask, response).await;
        }
        let fresh = self.authorize(ask.image, response.headers()).await?;
        let response = self.send(ask, Some(&fresh)).await?;
        let response = self.checked(ask, response).await?;
        self.lock().insert(ask.image.repository().to_owned(), fresh);
        Ok(response)
    }

    /// Fetches a small document whole, within the time for documents.
    pub(crate) async fn document(
        &self,
        ask: &Ask<'_>,
        limit: u64,
    ) -> Result<(HeaderMap, Bytes), RegistryError> {
        let fetch = async {
            let response = self.get(ask).await?;
            let headers = response.headers().clone();
            Ok((headers, self.read(response, limit, &ask.path).await?))
        };
        self.in_time(fetch).await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let limit = self.timeouts.document;
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let reason = format!("no complete answer within {} s", limit.as_secs());
            Err(RegistryError::unreachable(&self.host, reason))
        })
    }

    async fn send(
        &self,
        ask: &Ask<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Response, RegistryError> {
        let url = format!("{}/v2/{}/{}", self.base, ask.image.repository(), ask.path);
        let mut request = self.http.get(url).header(ACCEPT, ask.accept);
        if ask.offset > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.offset));
        }
        let request = match authorization {
            None => request,
            Some(Authorization::Basic) => self.with_password(request),
            Some(Authorization::Bearer { header, .. }) => request.header(AUTHORIZATION, header.clone()),
        };
        request.send().await.map_err(|error| RegistryError::transport(&self.host, error))
    }

    fn with_password(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Some(credentials) => request.basic_auth(&credentials.username, Some(&credentials.password)),
            None => request,
        }
    }

    fn authorization(&self, image: &ImageRef) -> Option<Authorization> {
        let known = self.lock().get(image.repository()).cloned();
        known.filter(|known| known.is_fresh(Instant::now()))
    }

    /// Answers the challenge in `headers`.
    async fn authorize(&self, image: &ImageRef, headers: &HeaderMap) -> Result<Authorization, RegistryError> {
        match Challenge::from_headers(headers) {
            Some(Challenge::Basic) if self.credentials.is_some() => Ok(Authorization::Basic),
            Some(Challenge::Basic) => {
                Err(self.unauthorized(image, "it wants a password and none is configured"))
            }
            Some(Challenge::Bearer { realm, service }) => {
                let plain = realm.scheme() != "https" && self.base.starts_with("https:");
                if plain {
                    return Err(self.unauthorized(image, "its token server is not reached over https"));
                }
                let url = auth::token_url(realm, service.as_deref(), image.repository());
                self.in_time(self.token(image, url)).await
            }
            None => Err(self.unauthorized(image, "it names no way to log in that is supported")),
        }
    }

    async fn token(&self, image: &ImageRef, url: reqwest::Url) -> Result<Authorization, RegistryError> {
        let server = url.host_str().unwrap_or("token server").to_owned();
        let response = self
            .with_password(self.http.get(url))
            .send()
            .await
            .map_err(|error| RegistryError::transport(&server, error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.unauthorized(image, "its token server refused the login"));
            }
            status => return Err(self.status_error(status, "a token", String::new())),
        }
        let body = self.read(response, MAX_TOKEN_LEN, "token").await?;
        auth::parse_token(&body, Instant::now()).ok_or_else(|| RegistryError::Malformed {
            what: "token".to_owned(),
            host: server,
            reason: "the answer holds no usable token".to_owned(),
        })
    }

    /// Passes a success on and turns everything else into its error.
    async fn checked(&self, ask: &Ask<'_>, response: Response) -> Result<Response, RegistryError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let what = &ask.path;
        let body = self.read(response, MAX_ERROR_LEN, what).await.unwrap_or_default();
        let message = error_message(&body);
        Err(match status {
            StatusCode::NOT_FOUND => {
                RegistryError::NotFound { image: ask.image.to_string(), host: self.host.clone() }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.lock().remove(ask.image.repository());
                let tried =
                    if self.credentials.is_some() { "with its password" } else { "without a password" };
                self.unauthorized(ask.image, &format!("status {} {tried}: {message}", status.as_u16()))
            }
            _ => self.status_error(status, what, message),
        })
    }

    /// Reads a body to its end, but not beyond `limit` bytes.
    async fn read(&self, mut response: Response, limit: u64, what: &str) -> Result<Bytes, RegistryError> {
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| RegistryError::transport(&self.host, error))?
        {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(RegistryError::TooLarge {
                    what: what.to_owned(),
                    host: self.host.clone(),
                    limit,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    fn unauthorized(&self, image: &ImageRef, reason: &str) -> RegistryError {
        let (host, image) = (self.host.clone(), image.to_string());
        RegistryError::Unauthorized { host, image, reason: reason.to_owned() }
    }

    fn status_error(&self, status: StatusCode, what: &str, message: String) -> RegistryError {
        RegistryError::Status {
            host: self.host.clone(),
            status: status.as_u16(),
            what: what.to_owned(),
            message,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Authorization>> {
        // Every update is one insert or remove, so a panic elsewhere cannot leave the map half changed.
        self.by_repository.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name that is dialled for a host: one well-known registry is served under another name than people write.
fn dial_name(host: &str) -> &str {
    if host == "docker.io" { "registry-1.docker.io" } else { host }
}

/// The CAs of a host: its own when configured, else the system's.
fn trusted(host: &str, config: &HostConfig) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    match &config.ca {
        _ if config.insecure_http => {}
        Some(path) => {
            for certificate in read_ca(host, path)? {
                // A file with one unusable certificate is refused below only if it has no usable one.
                if roots.add(certificate).is_err() {
                    tracing::warn!(host, path = %path.display(), "unusable certificate in the CA file");
                }
            }
            if roots.is_empty() {
                return Err(ConfigError::BadCa { path: path.clone(), host: host.to_owned() });
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    Ok(roots)
}

fn read_ca(host: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let pem = std::fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| ConfigError::BadCa { path: path.to_owned(), host: host.to_owned() })
}

fn tls_config(roots: RootCertStore, clock: &Clock) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Follows a few redirects, but never from https to plain http. Credentials are not sent across hosts: the HTTP
/// library drops them.
fn redirect_policy() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
        if secure && attempt.url().scheme() != "https" {
            attempt.error("redirected from https to http")
        } else if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else {
            attempt.follow()
        }
    })
}

/// The first message of an OCI error body, or the beginning of whatever text there is.
fn error_message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        code: String,
        #[serde(default)]
        message: String,
    }
    let readable = |text: &str| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    match serde_json::from_slice::<Errors>(body).ok().and_then(|all| all.errors.into_iter().next()) {
        Some(entry) => readable(&format!("{}: {}", entry.code, entry.message)),
        None => readable(&String::from_utf8_lossy(body)),
    }
}
