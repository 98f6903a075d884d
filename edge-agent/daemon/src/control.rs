//! A socket in the run directory by which a second `skerry-agent` process asks the running one, which alone may touch the image
//! cache. One line asks (`import PATH`), lines answer, the last is `done` or `failed WHY`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use skerry_link::LinkClock;
use skerry_runtime::image::{Digest, ImageStore, Limits, PullError, Registry};
use skerry_types::{WallTime, chain};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Settings;

/// Longest line: a path (4096 on Linux) and a word.
const LINE_MAX: u64 = 5000;
/// How long an asker may take to say what it wants.
const ASK_WAIT: Duration = Duration::from_secs(10);
/// Askers at a time; more wait in the socket's backlog.
const ASKERS_MAX: usize = 4;

fn socket(settings: &Settings) -> PathBuf {
    settings.run_dir.join("agent.sock")
}

/// Listens. What an earlier process left is replaced: the ledger's lock says that it is gone.
pub(crate) fn listen(settings: &Settings) -> Result<UnixListener> {
    let path = socket(settings);
    let cannot = || format!("cannot listen on {}", path.display());
    std::fs::create_dir_all(&settings.run_dir).with_context(cannot)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(cannot),
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(cannot)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).with_context(cannot)?;
    Ok(listener)
}

/// Answers until `cancel`.
pub(crate) async fn serve(listener: UnixListener, images: ImageStore, cancel: CancellationToken) {
    let mut askers = JoinSet::new();
    loop {
        tokio::select! {
            // All are cancel-safe; who is not accepted stays in the backlog.
            () = cancel.cancelled() => return,
            accepted = listener.accept(), if askers.len() < ASKERS_MAX => match accepted {
                Ok((stream, _)) => {
                    askers.spawn(answer(stream, images.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "nobody can ask the agent on its socket any more");
                    return cancel.cancelled().await;
                }
            },
            Some(ended) = askers.join_next() => match ended {
                Ok(Err(error)) => tracing::debug!(%error, "an asker has gone"),
                Ok(Ok(())) => {}
                Err(error) => tracing::error!(%error, "an answer failed in a way that is a defect of the agent"),
            },
        }
    }
}

async fn answer(mut stream: UnixStream, images: ImageStore) -> io::Result<()> {
    let mut line = String::new();
    let (from, mut to) = stream.split();
    timeout(ASK_WAIT, BufReader::new(from.take(LINE_MAX)).read_line(&mut line)).await??;
    let answer = match line.trim_end_matches('\n').strip_prefix("import ") {
        Some(path) => match images.import(Path::new(path)).await {
            Ok(imported) => lines(&imported) + "done\n",
            Err(error) => format!("failed {}\n", chain(&error).replace('\n', " ")),
        },
        None => "failed this agent does not know that request: are both of one version?\n".to_owned(),
    };
    to.write_all(answer.as_bytes()).await
}

fn lines(imported: &[(Option<String>, Digest)]) -> String {
    let line = |(name, digest): &(Option<String>, Digest)| match name {
        Some(name) => format!("{name} {digest}\n"),
        None => format!("{digest}\n"),
    };
    imported.iter().map(line).collect()
}

/// Imports the images of an OCI archive or layout: by the agent that runs, or else directly. Gives a line for each image.
pub async fn import_images(settings: &Settings, file: &Path) -> Result<String> {
    let file = std::path::absolute(file).with_context(|| format!("cannot use {}", file.display()))?;
    match UnixStream::connect(socket(settings)).await {
        Ok(stream) => ask(stream, &file).await,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            // It pulls nothing, so no certificate is judged.
            let images = open_images(settings, Arc::new(LinkClock::system(WallTime(0))))?;
            Ok(lines(&images.import(&file).await?))
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot ask the agent on {}", socket(settings).display()))
        }
    }
}

async fn ask(mut stream: UnixStream, file: &Path) -> Result<String> {
    let path = file.to_str().filter(|path| !path.contains('\n'));
    let path = path
        .with_context(|| format!("{} is no path that can be asked for: rename the file", file.display()))?;
    stream.write_all(format!("import {path}\n").as_bytes()).await.context("the agent went away")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.context("the agent went away")?;
    match answer.lines().last() {
        Some("done") => Ok(answer.strip_suffix("done\n").unwrap_or(&answer).to_owned()),
        Some(last) => match last.strip_prefix("failed ") {
            Some(why) => bail!("{why}"),
            None => bail!("the agent ended before the import did: try again"),
        },
        None => bail!("the agent ended before the import did: try again"),
    }
}

/// The images of this node. Registries' certificates are judged by `clock`, which knows the master's time.
pub(crate) fn open_images(settings: &Settings, clock: Arc<LinkClock>) -> Result<ImageStore, ImagesError> {
    let registries = crate::run::registries(settings)?;
    let limits = Limits { reserve_bytes: settings.reserve.disk.0, ..Limits::default() };
    let registry = Registry::by_clock(registries, move || Duration::from_millis(clock.now().0));
    Ok(ImageStore::open(&settings.cache_dir, limits, registry)?)
}

/// Why the images cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImagesError {
    #[error(transparent)]
    Registries(#[from] skerry_registry::ConfigError),
    #[error(transparent)]
    Images(#[from] PullError),
}
