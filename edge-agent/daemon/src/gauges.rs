//! Gauges that containers publish: numbers in a file of theirs, by which a service may scale.
//!
//! The file is read through the container's own root. It is a stranger's: no link leads out of that root, only a plain file is
//! read, and only the beginning of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

/// Where a container writes its gauges: `NAME VALUE` lines. The directory is writable also where the root file system is not.
pub(crate) const PATH: &str = "dev/shm/skerry-gauges";
/// Most bytes that are read.
const BYTES_MAX: u64 = 4096;
/// Most gauges of a container, and the longest name: a row that goes up stays small.
const GAUGES_MAX: usize = 16;
const NAME_MAX: usize = 63;

/// The gauges of the container that this process is the first of, in thousandths; none when it has no such file.
pub(crate) fn read(pid: u32) -> BTreeMap<String, u64> {
    parse(&text_of(pid).unwrap_or_default())
}

fn text_of(pid: u32) -> io::Result<String> {
    let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), path, Mode::empty())?;
    // A pipe would keep its reader waiting for ever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(&root, PATH, flags, Mode::empty(), resolve)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::from(file).take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads `NAME VALUE` lines; others are passed over. A last line without its end may be half written.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let gauges = whole.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(char::is_whitespace)?;
        let good = name.len() <= NAME_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let value: f64 = value.trim().parse().ok()?;
        let bounded = (0.0..=f64::from(u32::MAX)).contains(&value);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "its bounds were looked at"
        )]
        let milli = (value * 1000.0).round() as u64;
        (good && bounded).then(|| (name.to_owned(), milli))
    });
    gauges.take(GAUGES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gauges_or_passed_over() {
        let check = |text: &str, expect: &[(&str, u64)]| {
            let expect: BTreeMap<String, u64> = expect.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
            assert_eq!(parse(text), expect, "{text:?}");
        };
        check("", &[]);
        check("queue_length 12.5\nsessions  3\n", &[("queue_length", 12_500), ("sessions", 3000)]);
        check("queue 1\nhalf 2", &[("queue", 1000)]);
        check("a -1\nb NaN\nc inf\nd\ne/f 1\n# 2\ng 1\n", &[("g", 1000)]);
        let many: Vec<String> = (0..99).map(|n| format!("g{n} {n}\n")).collect();
        assert_eq!(parse(&many.concat()).len(), GAUGES_MAX);
    }

    #[test]
    fn a_process_without_the_file_has_none() {
        assert_eq!(read(u32::MAX), BTreeMap::new());
    }

    #[test]
    fn the_file_is_read_through_the_process_root() {
        // This process's own root stands for a container's.
        let path = format!("/{PATH}");
        std::fs::write(&path, "queue 2\n").unwrap();
        let found = read(std::process::id());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        let link = text_of(std::process::id());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found, [("queue".to_owned(), 2000)].into());
        assert!(link.is_err(), "a link is not followed");
    }
}
