//! The bounded files that a container's output ends up in.

use crate::clock;
use crate::diag;
use skerry_keeper_protocol::{LogPolicy, LogStream, current_log, rotated_log};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

/// The least size at which a file is rotated: one turn's worth, so that rotation cannot happen at every write.
const MIN_FILE_BYTES: u64 = 64 * 1024;

/// The current file and what could not be written to it.
#[derive(Debug)]
pub(super) struct LogFile {
    policy: LogPolicy,
    file: Option<File>,
    bytes: u64,
    lost_lines: u64,
    /// A write stopped inside a line, so the next has to begin with a line end.
    torn: bool,
}

impl LogFile {
    /// Opens the current file for appending, making the directory if needed.
    pub(super) fn open(policy: &LogPolicy) -> io::Result<Self> {
        std::fs::create_dir_all(&policy.dir)?;
        let mut log = Self { policy: policy.clone(), file: None, bytes: 0, lost_lines: 0, torn: false };
        log.reopen()?;
        Ok(log)
    }

    /// Appends whole entries. What does not fit on the disk is counted and dropped: neither the container nor the
    /// keeper waits for space. The count is written as an entry of the keeper when there is space again.
    pub(super) fn append(&mut self, entries: &[u8]) {
        if entries.is_empty() {
            return;
        }
        let length = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes + length > self.policy.max_bytes.max(MIN_FILE_BYTES) {
            self.rotate();
        }
        self.mark_losses();
        if self.lost_lines > 0 {
            self.lost_lines += count_lines(entries);
            return;
        }
        let written = self.write(entries);
        if written < entries.len() {
            self.torn = entries[..written].last().is_some_and(|byte| *byte != b'\n');
            self.lost_lines += count_lines(&entries[written..]);
            diag!(Warn, "output is lost: no space for {}", self.policy.dir.display());
        }
    }

    /// Tries to write how many lines were lost, if any were.
    pub(super) fn mark_losses(&mut self) {
        if self.lost_lines == 0 {
            return;
        }
        let mut mark = Vec::with_capacity(96);
        if self.torn {
            mark.push(b'\n');
        }
        clock::write_rfc3339(&mut mark, clock::unix_nanos());
        let text = format!(" {} F {} lines lost\n", LogStream::Keeper.as_str(), self.lost_lines);
        mark.extend_from_slice(text.as_bytes());
        let written = self.write(&mark);
        if written == mark.len() {
            self.lost_lines = 0;
            self.torn = false;
        } else {
            self.torn |= written > 0;
        }
    }

    /// Writes as much as goes, and says how much that was.
    fn write(&mut self, bytes: &[u8]) -> usize {
        if self.file.is_none() && self.reopen().is_err() {
            return 0;
        }
        let mut written = 0;
        while let Some(file) = self.file.as_mut().filter(|_| written < bytes.len()) {
            match file.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.bytes += u64::try_from(written).unwrap_or(u64::MAX);
        written
    }

    fn rotate(&mut self) {
        let dir = &self.policy.dir;
        let oldest = self.policy.max_files.max(1) - 1;
        self.file = None;
        // A file that is not there needs no rename; any other failure shows when the file is opened below.
        for age in (1..oldest).rev() {
            drop(std::fs::rename(rotated_log(dir, age), rotated_log(dir, age + 1)));
        }
        if oldest == 0 {
            drop(std::fs::remove_file(current_log(dir)));
        } else {
            drop(std::fs::rename(current_log(dir), rotated_log(dir, 1)));
        }
        if let Err(error) = self.reopen() {
            diag!(Warn, "cannot open a log file in {}: {error}", self.policy.dir.display());
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let path = current_log(&self.policy.dir);
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        self.bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }
}

fn count_lines(entries: &[u8]) -> u64 {
    let ends = entries.split(|byte| *byte == b'\n').count() - 1;
    u64::try_from(ends).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(dir: &std::path::Path, max_files: u16) -> LogPolicy {
        LogPolicy { dir: dir.to_owned(), max_bytes: MIN_FILE_BYTES, max_files }
    }

    #[test]
    fn size_and_count_are_bounded() {
        let check = |max_files: u16, expect: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            let mut log = LogFile::open(&policy(dir.path(), max_files)).unwrap();
            let line = vec![b'x'; 1000];
            for _ in 0..400 {
                log.append(&[&line[..], b"\n"].concat());
            }
            let mut names: Vec<String> = Vec::new();
            for file in std::fs::read_dir(dir.path()).unwrap() {
                let file = file.unwrap();
                assert!(file.metadata().unwrap().len() <= MIN_FILE_BYTES);
                names.push(file.file_name().into_string().unwrap());
            }
            names.sort();
            assert_eq!(names, expect);
        };
        check(1, &["current.log"]);
        check(3, &["1.log", "2.log", "current.log"]);
        check(0, &["current.log"]);
    }

    #[test]
    fn an_earlier_file_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        LogFile::open(&policy(dir.path(), 2)).unwrap().append(b"one\n");
        LogFile::open(&policy(dir.path(), 2)).unwrap().append(b"two\n");
        assert_eq!(std::fs::read(current_log(dir.path())).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn losses_are_counted_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(&policy(dir.path(), 2)).unwrap();
        log.append(b"one\n");
        // A device that is always full stands in for the disk.
        log.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
        log.append(b"two\nthree\n");
        log.append(b"four\n");
        log.file = None;
        log.append(b"five\n");
        let text = std::fs::read_to_string(current_log(dir.path())).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].ends_with(" keeper F 3 lines lost"), "{text}");
        assert_eq!((lines[0], lines[2]), ("one", "five"));
    }
}
