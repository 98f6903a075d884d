//! A place in a log that is spread over rotated files. Blocking.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use skerry_keeper_protocol::{current_log, parse_log_line, rotated_log};
use skerry_types::WallTime;

use super::{LogEntry, LogQuery};

/// Read at once, and the most of an entry's text that is waited for: four times the keeper's longest entry.
const BLOCK: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Cursor {
    dir: PathBuf,
    /// Entries before this time are passed over; compares as text.
    since: Option<String>,
    file: Option<Open>,
    /// The beginning of an entry whose end is not read yet.
    rest: Vec<u8>,
}

/// A file is known by its inode: its name changes with each rotation.
#[derive(Debug)]
struct Open {
    file: File,
    inode: u64,
}

impl Cursor {
    pub(super) fn open(dir: &Path, query: LogQuery) -> io::Result<Self> {
        let since = query.since.map(rfc3339).transpose()?;
        let file = match query.tail {
            Some(count) => open_at_tail(dir, count)?,
            None => newest_first(dir)?.pop(),
        };
        Ok(Self { dir: dir.to_owned(), since, file, rest: Vec::new() })
    }

    /// The next entries, a block of them at most; empty when there are no more at this moment.
    pub(super) fn read(&mut self) -> io::Result<Vec<LogEntry>> {
        loop {
            let Some(open) = &mut self.file else {
                self.file = newest_first(&self.dir)?.pop();
                if self.file.is_none() {
                    return Ok(Vec::new());
                }
                continue;
            };
            let mut block = vec![0; BLOCK];
            let mut count = open.file.read(&mut block)?;
            let mut newer = None;
            if count == 0 {
                newer = newer_than(&self.dir, open.inode)?;
                // The writer may have gone on between the read and the rotation.
                count = if newer.is_some() { open.file.read(&mut block)? } else { 0 };
            }
            if count > 0 {
                let entries = self.take(&block[..count]);
                if !entries.is_empty() {
                    return Ok(entries);
                }
            } else if newer.is_some() {
                self.file = newer;
                self.rest.clear();
            } else {
                return Ok(Vec::new());
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<LogEntry> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            // Not what the keeper writes; a foreign file must not fill the memory.
            if self.rest.len() > BLOCK {
                self.rest.clear();
            }
            return Vec::new();
        };
        let entries = self.rest[..end].split(|byte| *byte == b'\n').filter_map(|line| self.entry(line));
        let entries = entries.collect();
        self.rest.drain(..=end);
        entries
    }

    fn entry(&self, line: &[u8]) -> Option<LogEntry> {
        let line = parse_log_line(line)?;
        let is_old = self.since.as_deref().is_some_and(|since| line.time < since);
        (!is_old).then(|| LogEntry {
            time: line.time.to_owned(),
            stream: line.stream,
            partial: line.partial,
            text: line.text.to_vec(),
        })
    }
}

/// As the keeper writes times: nine digits of a second.
fn rfc3339(time: WallTime) -> io::Result<String> {
    let millis = i64::try_from(time.0).map_err(io::Error::other)?;
    let stamp = jiff::Timestamp::from_millisecond(millis).map_err(io::Error::other)?;
    Ok(format!("{stamp:.9}"))
}

/// All files of a log.
fn newest_first(dir: &Path) -> io::Result<Vec<Open>> {
    let mut ages = match fs::read_dir(dir) {
        Ok(entries) => entries.filter_map(|entry| age(&entry.ok()?.path())).collect::<Vec<_>>(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    ages.sort_unstable();
    let mut files: Vec<Open> = Vec::new();
    for age in ages {
        let path = if age == 0 { current_log(dir) } else { rotated_log(dir, age) };
        let file = match File::open(path) {
            Ok(file) => file,
            // A rotation is under way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        // During a rotation one file may be met under two names: its older name counts.
        files.retain(|open| open.inode != inode);
        files.push(Open { file, inode });
    }
    Ok(files)
}

/// The age in a log file's name: 0 for the current one.
fn age(path: &Path) -> Option<u16> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".log")?;
    if stem == "current" { Some(0) } else { stem.parse().ok().filter(|age| *age > 0) }
}

/// The file that was begun after this one; the oldest when this one is no longer kept.
fn newer_than(dir: &Path, inode: u64) -> io::Result<Option<Open>> {
    let mut files = newest_first(dir)?;
    match files.iter().position(|open| open.inode == inode) {
        Some(0) => Ok(None),
        Some(place) => Ok(Some(files.swap_remove(place - 1))),
        None => Ok(files.pop()),
    }
}

/// The file in which the last `count` entries begin, read up to there.
fn open_at_tail(dir: &Path, count: usize) -> io::Result<Option<Open>> {
    let mut missing = count;
    let mut chosen = None;
    for mut open in newest_first(dir)? {
        let (offset, found) = last_lines(&open.file, missing)?;
        io::Seek::seek(&mut open.file, io::SeekFrom::Start(offset))?;
        chosen = Some(open);
        missing -= found.min(missing);
        if missing == 0 {
            break;
        }
    }
    Ok(chosen)
}

/// Where the last `count` lines of a file begin, and how many of them there are.
fn last_lines(file: &File, count: usize) -> io::Result<(u64, usize)> {
    let length = file.metadata()?.len();
    if count == 0 {
        return Ok((length, 0));
    }
    let mut block = vec![0; BLOCK];
    let mut end = length;
    let mut found = 0;
    while end > 0 {
        let size = usize::try_from(end).unwrap_or(usize::MAX).min(BLOCK);
        let start = end - size as u64;
        file.read_exact_at(&mut block[..size], start)?;
        for place in (0..size).rev().filter(|place| block[*place] == b'\n') {
            let line_start = start + place as u64 + 1;
            // The line end that closes the last line opens none.
            found += usize::from(line_start < length);
            if found == count {
                return Ok((line_start, found));
            }
        }
        end = start;
    }
    Ok((0, found + usize::from(length > 0)))
}
