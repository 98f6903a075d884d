//! A registry that serves what a test puts in, breaks as the test says, and counts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use base64::Engine;
use skerry_registry::{Digest, ImageRef};

pub(crate) const USER: &str = "edge";
pub(crate) const PASSWORD: &str = "fjord-secret";
const TOKEN: &str = "let-me-in";

/// How the server behaves and what it has seen.
#[derive(Default)]
pub(crate) struct Script {
    /// Body by path below `/v2/`.
    pub(crate) bodies: BTreeMap<String, (String, Vec<u8>)>,
    /// Close the connection after this many body bytes of a blob; used up one by one.
    pub(crate) cuts: Vec<usize>,
    /// Answer a range request with the whole body.
    pub(crate) ignore_range: bool,
    /// Demand a bearer token, which this server gives for `USER` and `PASSWORD`.
    pub(crate) token_auth: bool,
    /// Answer everything with this status.
    pub(crate) status: Option<u16>,
    /// Accept requests for paths with this part and never answer them.
    pub(crate) hang: Option<String>,
    /// Body bytes written, by path.
    pub(crate) served: BTreeMap<String, u64>,
    /// Request lines and the `Range` header, in order.
    pub(crate) requests: Vec<String>,
}

/// The server; it stops when dropped.
pub(crate) struct FakeRegistry {
    script: Arc<Mutex<Script>>,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeRegistry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let script = Arc::new(Mutex::new(Script::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (script, stop) = (Arc::clone(&script), Arc::clone(&stop));
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let script = Arc::clone(&script);
                    // A broken connection is what many tests are about.
                    std::thread::spawn(move || stream.map(|stream| serve(stream, &script, address)));
                }
            }
        });
        Self { script, address, stop, thread: Some(thread) }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn image(&self, rest: &str) -> ImageRef {
        format!("{}/{rest}", self.host()).parse().expect("image reference")
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("script")
    }

    /// A `registries.toml` that names this server and `more`.
    pub(crate) fn config(&self, more: &str) -> String {
        format!("[host.\"{}\"]\ninsecure_http = true\n{more}\n", self.host())
    }

    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.put_blob_as(repository, &digest, bytes);
        digest
    }

    /// Serves `bytes` under a digest that need not be theirs.
    pub(crate) fn put_blob_as(&self, repository: &str, digest: &Digest, bytes: &[u8]) {
        self.put(&format!("{repository}/blobs/{digest}"), "application/octet-stream", bytes);
    }

    /// Serves a manifest under its digest and under `tag`.
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, json: &str) -> Digest {
        let digest = Digest::of(json.as_bytes());
        let kind = if json.contains("\"manifests\"") { "index" } else { "manifest" };
        let kind = format!("application/vnd.oci.image.{kind}.v1+json");
        self.put(&format!("{repository}/manifests/{tag}"), &kind, json.as_bytes());
        self.put(&format!("{repository}/manifests/{digest}"), &kind, json.as_bytes());
        digest
    }

    fn put(&self, path: &str, kind: &str, bytes: &[u8]) {
        self.script().bodies.insert(path.to_owned(), (kind.to_owned(), bytes.to_vec()));
    }

    pub(crate) fn served(&self, part: &str) -> u64 {
        self.script().served.iter().filter(|(path, _)| path.contains(part)).map(|(_, bytes)| bytes).sum()
    }

    pub(crate) fn requests(&self, part: &str) -> Vec<String> {
        self.script().requests.iter().filter(|line| line.contains(part)).cloned().collect()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept loop; if it fails the loop has ended already.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("accept loop");
        }
    }
}

struct Request {
    path: String,
    range: Option<usize>,
    authorization: Option<String>,
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut request = Request { path: first.split(' ').nth(1)?.to_owned(), range: None, authorization: None };
    for line in lines {
        let line = line.ok()?;
        match line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value)) {
            None => return Some(request),
            Some((name, value)) if name == "range" => {
                request.range = value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok();
            }
            Some((name, value)) if name == "authorization" => request.authorization = Some(value.to_owned()),
            Some(_) => {}
        }
    }
    None
}

fn serve(mut stream: TcpStream, script: &Mutex<Script>, address: SocketAddr) -> Option<()> {
    let request = read_request(&stream)?;
    let mut script = script.lock().expect("script");
    let range = request.range.map(|at| format!(" from {at}")).unwrap_or_default();
    script.requests.push(format!("GET {}{range}", request.path));
    if script.hang.as_ref().is_some_and(|part| request.path.contains(part)) {
        drop(script);
        // Blocks until the client gives up.
        return BufReader::new(stream).lines().next().map(drop);
    }
    if let Some(status) = script.status {
        return respond(&mut stream, status, "", b"{\"errors\":[{\"code\":\"X\",\"message\":\"scripted\"}]}");
    }
    if request.path.starts_with("/token") {
        return respond_token(&mut stream, &request);
    }
    if script.token_auth && request.authorization.as_deref() != Some(&format!("Bearer {TOKEN}")) {
        let header =
            format!("WWW-Authenticate: Bearer realm=\"http://{address}/token\",service=\"test\"\r\n");
        return respond(&mut stream, 401, &header, b"");
    }
    let path = request.path.strip_prefix("/v2/")?.to_owned();
    let Some((kind, body)) = script.bodies.get(&path).cloned() else {
        return respond(&mut stream, 404, "", b"{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"no\"}]}");
    };
    let start = request.range.filter(|_| !script.ignore_range).unwrap_or(0);
    if start > 0 && start >= body.len() {
        return respond(&mut stream, 416, "", b"");
    }
    let cut =
        if path.contains("/blobs/") && !script.cuts.is_empty() { script.cuts.remove(0) } else { usize::MAX };
    let sent = &body[start..body.len().min(start.saturating_add(cut))];
    *script.served.entry(path).or_default() += sent.len() as u64;
    drop(script);
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    let range = format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len());
    let range = if start > 0 { range } else { String::new() };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{range}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len() - start
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(sent).ok()
}

fn respond_token(stream: &mut TcpStream, request: &Request) -> Option<()> {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let scoped = request.path.contains("scope=repository%3A") && request.path.contains("%3Apull");
    if scoped && request.authorization == Some(format!("Basic {basic}")) {
        return respond(stream, 200, "", format!("{{\"token\":\"{TOKEN}\",\"expires_in\":300}}").as_bytes());
    }
    respond(stream, 401, "", b"{}")
}

fn respond(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) -> Option<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()
}
