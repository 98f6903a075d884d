use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Host, Process, output, run_command, until_ok};

/// The account of every registry of a test ground. It guards nothing: what matters is that a client must know it.
const USER: &str = "skerry";
const PASSWORD: &str = "low-water";
/// `htpasswd -B` of the password. The registry checks it again for each request: the lowest cost keeps that out of
/// measurements.
const HTPASSWD: &str = "skerry:$2y$04$Pyme54NiwB1AG0wMIxx4EOti2KwD9rIiuP/cxQ6CEqmWq5yAWmFOi\n";
const PORT: u16 = 5000;
const START_LIMIT: Duration = Duration::from_secs(10);

/// A docker-registry on a host, with a certificate of its own CA and a password. It ends with its guard; what was pushed
/// stays on the host's disk.
#[derive(Debug)]
pub struct Registry {
    host: Host,
    process: Option<Process>,
}

impl Registry {
    /// Makes the CA and the certificate, starts the registry and waits until it takes connections.
    pub fn start(host: &Host) -> Result<Self> {
        let mut registry = Self { host: host.clone(), process: None };
        let folder = registry.folder();
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        make_certificates(&folder, host.address()).context("making the registry's certificates")?;
        fs::write(folder.join("htpasswd"), HTPASSWD).context("writing the registry's password")?;
        fs::write(folder.join("config.yml"), configuration(&folder, host.address()))
            .context("writing the registry's configuration")?;
        registry.resume()?;
        Ok(registry)
    }

    /// Stops answering, as a registry that is down. [`Registry::resume`] starts it again with all it holds.
    pub fn pause(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().map(drop),
            None => Ok(()),
        }
    }

    /// Starts answering again.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = self.host.command("docker-registry");
        command.arg("serve").arg(self.folder().join("config.yml"));
        let process = Process::start("docker-registry", command, self.host.log("registry"))?;
        let address = (self.host.address(), PORT).into();
        let inside = self.host.namespace();
        until_ok("a connection to the registry", START_LIMIT, || {
            inside
                .within(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)))?
                .context("connecting")
        })
        .with_context(|| format!("the registry says: {}", process.log()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Leaves the registry running for good.
    pub fn leave(mut self) {
        if let Some(process) = self.process.take() {
            process.leave();
        }
    }

    /// `ADDRESS:PORT`, as an image reference begins.
    pub fn authority(&self) -> String {
        format!("{}:{PORT}", self.host.address())
    }

    /// The user of the registry's one account.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The password of the registry's one account.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The certificate of the CA that signed the registry's, in PEM.
    pub fn ca(&self) -> PathBuf {
        self.folder().join("ca.crt")
    }

    /// Pushes the image in an OCI layout as `NAME:TAG` and gives the full reference to pull it by.
    pub fn push(&self, layout: &Path, name_and_tag: &str) -> Result<String> {
        let reference = format!("{}/{name_and_tag}", self.authority());
        let mut command = self.skopeo("copy");
        command.arg("--all").arg(format!("--dest-cert-dir={}", self.folder().join("trust").display()));
        command.arg(format!("--dest-creds={USER}:{PASSWORD}"));
        command.arg(format!("oci:{}", layout.display())).arg(format!("docker://{reference}"));
        run_command(&mut command).with_context(|| format!("pushing {reference}"))?;
        Ok(reference)
    }

    /// The digest of what `NAME:TAG` names in the registry, `sha256:...`.
    pub fn digest(&self, name_and_tag: &str) -> Result<String> {
        let mut command = self.skopeo("inspect");
        command.arg(format!("--cert-dir={}", self.folder().join("trust").display()));
        command.arg(format!("--creds={USER}:{PASSWORD}")).args(["--format", "{{.Digest}}"]);
        command.arg(format!("docker://{}/{name_and_tag}", self.authority()));
        Ok(output(&mut command)?.trim().to_owned())
    }

    /// The file in which the registry keeps a blob, so that a test can shorten it or change a byte.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hash = digest.trim_start_matches("sha256:");
        let blobs = self.folder().join("store/docker/registry/v2/blobs/sha256");
        blobs.join(hash.get(..2).unwrap_or_default()).join(hash).join("data")
    }

    fn skopeo(&self, verb: &str) -> Command {
        let mut command = self.host.command("skopeo");
        // No trust policy: Debian's skopeo refuses every image where none is configured.
        command.args(["--insecure-policy", verb]);
        command
    }

    fn folder(&self) -> PathBuf {
        self.host.disk().join("registry")
    }
}

fn configuration(folder: &Path, address: Ipv4Addr) -> String {
    let folder = folder.display();
    format!(
        "version: 0.1
log:
  accesslog: {{disabled: true}}
  level: warn
storage:
  filesystem: {{rootdirectory: {folder}/store}}
  delete: {{enabled: true}}
http:
  addr: {address}:{PORT}
  tls: {{certificate: {folder}/server.crt, key: {folder}/server.key}}
auth:
  htpasswd: {{realm: ground, path: {folder}/htpasswd}}
"
    )
}

/// A CA, a server certificate for the address, and a folder as skopeo wants it. Valid for ten days, for demos that are
/// left running.
fn make_certificates(folder: &Path, address: Ipv4Addr) -> Result<()> {
    let extensions = format!(
        "[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:{address}
"
    );
    fs::write(folder.join("extensions.cnf"), extensions)?;
    let request = |subject: &str, extensions: &str, name: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(folder).args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ]);
        command.args(["-nodes", "-sha256", "-days", "10", "-config", "extensions.cnf", "-subj", subject]);
        command.args(["-extensions", extensions]);
        command.arg("-keyout").arg(format!("{name}.key")).arg("-out").arg(format!("{name}.crt"));
        command
    };
    run_command(&mut request("/CN=ground CA", "ca", "ca"))?;
    run_command(request("/CN=registry", "server", "server").args(["-CA", "ca.crt", "-CAkey", "ca.key"]))?;
    let trust = folder.join("trust");
    fs::create_dir_all(&trust)?;
    fs::copy(folder.join("ca.crt"), trust.join("ca.crt"))?;
    Ok(())
}
