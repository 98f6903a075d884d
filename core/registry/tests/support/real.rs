//! The real docker-registry as a child process, with TLS and a password, filled through skopeo.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use skerry_registry::ImageRef;

use super::fake::{PASSWORD, USER};

/// bcrypt of `PASSWORD` with the least cost.
const HTPASSWD: &str = "$2b$05$abcdefghijklmnopqrstuumn4Q7i5GV/pYfYUUUqwiLzLjBZqmyTW";

/// A running docker-registry; it is killed when dropped.
pub(crate) struct RealRegistry {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl RealRegistry {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        make_certificates(folder.path());
        std::fs::write(folder.path().join("htpasswd"), format!("{USER}:{HTPASSWD}\n")).expect("htpasswd");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // The port is free when it is picked; if another process takes it first, the next round picks another.
            let port = free_port();
            let mut child = spawn(folder.path(), port);
            loop {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { child, folder, port };
                }
                if child.try_wait().expect("wait").is_some() {
                    break;
                }
                assert!(Instant::now() < deadline, "docker-registry does not listen on port {port}");
                std::thread::yield_now();
            }
            assert!(Instant::now() < deadline, "docker-registry ends at once");
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn image(&self, rest: &str) -> ImageRef {
        format!("{}/{rest}", self.host()).parse().expect("image reference")
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A `registries.toml` section with the CA and these credentials.
    pub(crate) fn config(&self, password: &str) -> String {
        let ca = self.ca().display().to_string();
        format!("[host.\"{}\"]\nca = {ca:?}\nusername = \"{USER}\"\npassword = \"{password}\"\n", self.host())
    }

    /// Copies an image with skopeo, from any of its transports, to `rest` here.
    pub(crate) fn copy_in(&self, from: &str, rest: &str, options: &[&str]) {
        let to = format!("docker://{}/{rest}", self.host());
        let credentials = format!("{USER}:{PASSWORD}");
        let mut all = vec!["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"];
        all.extend(["--dest-creds", &credentials]);
        all.extend(options);
        all.extend([from, &to]);
        skopeo(&all);
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        // A registry that has ended by itself is fine when a test is over.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs skopeo with these arguments.
pub(crate) fn skopeo(args: &[&str]) {
    let output =
        Command::new("skopeo").args(args).output().expect("skopeo is needed: apt-get install skopeo");
    assert!(output.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("port").port()
}

fn spawn(folder: &Path, port: u16) -> Child {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {:?}}}, delete: {{enabled: true}}}}\n\
         http:\n  addr: 127.0.0.1:{port}\n  tls: {{certificate: {:?}, key: {:?}}}\n\
         auth: {{htpasswd: {{realm: test, path: {:?}}}}}\n",
        path("data"),
        path("cert.pem"),
        path("key.pem"),
        path("htpasswd"),
    );
    std::fs::write(path("config.yml"), config).expect("config");
    Command::new("docker-registry")
        .args(["serve", &path("config.yml")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry is needed: apt-get install docker-registry")
}

fn make_certificates(folder: &Path) {
    let ca_key = KeyPair::generate().expect("key");
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).expect("CA");
    let key = KeyPair::generate().expect("key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let cert = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).expect("certificate");
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("write");
    write("ca.pem", ca_cert.pem());
    write("cert.pem", cert.pem());
    write("key.pem", key.serialize_pem());
}
