//! Real masters, and their API.
#![allow(dead_code, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use skerry_api::v1;
use skerry_api::v1::operator_client::OperatorClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Longest that anything in these tests may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Where a master of a test lives.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) region: String,
    pub(crate) dir: PathBuf,
    pub(crate) api: u16,
    pub(crate) links: u16,
    /// More of the command line.
    pub(crate) more: Vec<String>,
}

/// A running master; ends with the test.
pub(crate) struct Master {
    child: Child,
    pub(crate) place: Place,
    log: Arc<Mutex<Vec<String>>>,
}

impl Place {
    pub(crate) fn new(root: &Path, region: &str) -> Self {
        // Held only until the master takes them; other tests get others from the kernel.
        let api = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let links = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { region: region.to_owned(), dir: root.join(region), api, links, more: Vec::new() }
    }

    pub(crate) fn with(mut self, more: &[&str]) -> Self {
        self.more.extend(more.iter().map(|&word| word.to_owned()));
        self
    }

    /// Below another, by a token of it.
    pub(crate) fn below(self, parent: &Place, token: &str) -> Self {
        let address = format!("127.0.0.1:{}", parent.links);
        self.with(&["--parent", &address, "--join-token", token])
    }

    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skerry-master"));
        command
            .arg(verb)
            .args(["--region", &self.region, "--data-dir"])
            .arg(&self.dir)
            .args(["--api", &format!("127.0.0.1:{}", self.api)])
            .args(["--links", &format!("127.0.0.1:{}", self.links)])
            .args(&self.more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn init(&self) -> Output {
        self.command("init").output().unwrap()
    }

    /// Makes the CA of a root.
    pub(crate) fn made(self) -> Self {
        let output = self.init();
        assert!(output.status.success(), "{}", text(&output));
        self
    }

    pub(crate) fn start(self) -> Master {
        let mut child = self.command("run").spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = Arc::clone(&log);
        // Ends with the process, whose end of the pipe closes.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Master { child, place: self, log }
    }

    /// A client of this master's API, with the first operator of `whose` data directory.
    pub(crate) async fn client_as(&self, whose: &Place) -> OperatorClient<Channel> {
        let read = |name: &str| std::fs::read(whose.dir.join("ca/operator").join(name)).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem")))
            .identity(Identity::from_pem(read("cert.pem"), read("key.pem")))
            .domain_name("skerry-master");
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", self.api)).unwrap();
        let endpoint = endpoint.tls_config(tls).unwrap();
        let began = Instant::now();
        loop {
            match endpoint.connect().await {
                Ok(channel) => return OperatorClient::new(channel),
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Master {
    pub(crate) async fn client(&self) -> OperatorClient<Channel> {
        let operator = self.place.dir.join("ca/operator/key.pem");
        wait_for("the operator's certificate", || operator.exists().then_some(())).await;
        self.place.client_as(&self.place).await
    }

    /// A token for a region below, for one use.
    pub(crate) async fn region_token(&self, name: &str) -> String {
        self.token("", Some(v1::RegionScope { name: name.to_owned() })).await
    }

    pub(crate) async fn site_token(&self, site: &str) -> String {
        self.token(site, None).await
    }

    async fn token(&self, site: &str, region: Option<v1::RegionScope>) -> String {
        let request = v1::CreateTokenRequest { site: site.to_owned(), ttl_ms: 600_000, uses: 1, region };
        self.client().await.create_token(request).await.unwrap().into_inner().token
    }

    /// The regions that this master shows, itself included.
    pub(crate) async fn regions(&self) -> Vec<v1::Region> {
        let request = v1::ListRequest { below: true, ..v1::ListRequest::default() };
        self.client().await.list_regions(request).await.unwrap().into_inner().regions
    }

    /// Waits until a region below is heard from, or is not.
    pub(crate) async fn sees(&self, region: &str, connected: bool) -> v1::Region {
        let began = Instant::now();
        loop {
            let regions = self.regions().await;
            let found = regions.iter().find(|one| one.name == region && one.connected == connected);
            if let Some(found) = found {
                return found.clone();
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{region} is not connected={connected}: {regions:?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub(crate) async fn says(&self, words: &str) -> String {
        wait_for(words, || {
            let log = self.log.lock().unwrap();
            log.iter().find(|line| line.contains(words)).cloned()
        })
        .await
    }

    /// How often the log has a line with these words.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn kill(mut self) -> Place {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.place.clone()
    }

    /// SIGTERM; returns how long the process took to end, and whether well.
    pub(crate) fn terminate(mut self) -> (Duration, bool, Place) {
        let began = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (began.elapsed(), status.success(), self.place.clone());
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of {}:\n{}", self.place.region, self.log());
        }
    }
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Polls until there is something.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
