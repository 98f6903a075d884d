//! Reads the log files that the keeper writes: the end, from a time on, and on as they grow, over rotations.
//!
//! Waiting is by inotify: a follower of a silent container costs nothing.

mod cursor;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use skerry_keeper_protocol::LogStream;
use skerry_types::WallTime;
use tokio::net::unix::pipe::Receiver;

use cursor::Cursor;

/// Which part of a log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Only this many lines from the end of what is there; all when `None`.
    pub tail: Option<usize>,
    /// Only what was written at this time or later.
    pub since: Option<WallTime>,
    /// Go on as the log grows.
    pub follow: bool,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// RFC 3339, UTC, nanoseconds; sorts as text.
    pub time: String,
    /// Whose text it is.
    pub stream: LogStream,
    /// Whether the line goes on in the stream's next entry.
    pub partial: bool,
    /// The bytes, without a line end; not always UTF-8.
    pub text: Vec<u8>,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log {} cannot be read", dir.display())]
pub struct LogError {
    /// The container's log directory.
    pub dir: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Reads one container's log. Each call of [`LogReader::next`] gives a bounded number of entries.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    /// Away while a read is under way, and gone for good when that was cancelled or failed.
    cursor: Option<Cursor>,
    watch: Option<Receiver>,
}

impl LogReader {
    /// Begins to read the log in `dir`, which may be empty, or absent until the container first starts.
    pub async fn open(dir: &Path, query: LogQuery) -> Result<Self, LogError> {
        let failed = |source| LogError { dir: dir.to_owned(), source };
        // Watching begins before the first look: what is written in between is then seen by one of them.
        let watch = if query.follow { Some(watch(dir).map_err(failed)?) } else { None };
        let path = dir.to_owned();
        let cursor = blocking(move || Cursor::open(&path, query)).await.map_err(failed)?;
        Ok(Self { dir: dir.to_owned(), cursor: Some(cursor), watch })
    }

    /// The next entries, oldest first. Empty means the end; of a log that is followed, that it was removed. Not to be called again after a call
    /// was cancelled.
    pub async fn next(&mut self) -> Result<Vec<LogEntry>, LogError> {
        loop {
            let entries = self.read().await.map_err(|source| LogError { dir: self.dir.clone(), source })?;
            let Some(watch) = self.watch.as_ref().filter(|_| entries.is_empty()) else { return Ok(entries) };
            let goes_on = changed(watch, &self.dir)
                .await
                .map_err(|source| LogError { dir: self.dir.clone(), source })?;
            if !goes_on {
                return Ok(Vec::new());
            }
        }
    }

    async fn read(&mut self) -> io::Result<Vec<LogEntry>> {
        let cancelled = || io::Error::other("an earlier read was cancelled");
        let mut cursor = self.cursor.take().ok_or_else(cancelled)?;
        let (cursor, entries) = blocking(move || {
            let entries = cursor.read()?;
            Ok((cursor, entries))
        })
        .await?;
        self.cursor = Some(cursor);
        Ok(entries)
    }
}

/// The text of the last lines since a time, at most `max` bytes from the end, for people.
pub async fn tail_text(dir: &Path, since: WallTime, max: usize) -> Result<String, LogError> {
    // A line has a byte at least, so more lines than bytes are never needed; few have less than eight.
    let query = LogQuery { tail: Some(max / 8), since: Some(since), follow: false };
    let mut reader = LogReader::open(dir, query).await?;
    let mut text = String::new();
    loop {
        let entries = reader.next().await?;
        if entries.is_empty() {
            return Ok(text);
        }
        for entry in entries {
            text.push_str(&String::from_utf8_lossy(&entry.text));
            text.push_str(if entry.partial { "" } else { "\n" });
        }
        let excess = text.len().saturating_sub(max);
        text.drain(..text.ceil_char_boundary(excess));
    }
}

/// An inotify instance is read like a pipe. The events themselves are not looked at: the cursor looks at the files.
fn watch(dir: &Path) -> io::Result<Receiver> {
    std::fs::create_dir_all(dir)?;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(dir, changes | AddWatchFlags::IN_DELETE_SELF)?;
    Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify))
}

/// Waits for a change. False when the directory is gone: nothing will be written any more.
async fn changed(watch: &Receiver, dir: &Path) -> io::Result<bool> {
    let mut events = [0; 4096];
    loop {
        watch.readable().await?;
        match watch.try_read(&mut events) {
            Ok(_) => return Ok(dir.exists()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
