//! Memory that a keeper or worker does not need while it waits.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::mm::{Advice, madvise};

/// How long a process waits with all of its pages: longer than an announced create takes to come.
const IDLE_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// Waits until there is something to read, with little memory if that takes long.
pub(crate) fn wait_lean(source: &impl AsFd) {
    let mut sources = [PollFd::new(source, PollFlags::IN)];
    // An error, if it is one, shows again when it is read.
    if poll(&mut sources, Some(&IDLE_AFTER)) == Ok(0) {
        give_back();
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    end: usize,
}

/// Gives back the pages of this program's code and constants.
///
/// The kernel maps a program's file in large pieces, and most of this one is what only a worker runs. What the loop
/// needs is mapped again at its next step, from the page cache.
pub(crate) fn give_back() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    for range in unwritten(&maps, &program.to_string_lossy()) {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is mapped from the program's file, was never writable and so never written: the pages that
        // go come back with the same bytes when they are touched.
        #[expect(
            unsafe_code,
            reason = "advice about memory of one's own is unsafe when it may change what is there"
        )]
        unsafe {
            // It is advice: without it only more memory is used.
            madvise(start, range.end - range.start, Advice::LinuxDontNeed).ok();
        }
    }
}

/// The ranges of `maps` that are mapped from `program` and were never writable: code, and constants before it. What
/// is read-only after the code was written at the start, when addresses were filled in.
fn unwritten(maps: &str, program: &str) -> Vec<Range> {
    let mut ranges = Vec::new();
    for line in maps.lines().filter(|line| line.ends_with(program)) {
        let mut words = line.split_whitespace();
        let (Some(range), Some(access)) = (words.next(), words.next()) else { continue };
        let Some(range) = parse_range(range) else { continue };
        match access {
            "r--p" => ranges.push(range),
            "r-xp" => {
                ranges.push(range);
                return ranges;
            }
            _ => return Vec::new(),
        }
    }
    Vec::new()
}

fn parse_range(text: &str) -> Option<Range> {
    let (start, end) = text.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(Range { start: number(start)?, end: number(end)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_written() {
        let maps = "\
00200000-002dc000 r--p 00000000 fe:00 1 /k
002dc000-0053f000 r-xp 000db000 fe:00 1 /k
00540000-00545000 r--p 0033e000 fe:00 1 /k
00545000-0054a000 rw-p 00342000 fe:00 1 /k
01a00000-01a20000 rw-p 00000000 00:00 0 [heap]
";
        let expect = [Range { start: 0x20_0000, end: 0x2d_c000 }, Range { start: 0x2d_c000, end: 0x53_f000 }];
        assert_eq!(unwritten(maps, "/k"), expect);
        assert_eq!(unwritten(maps, "/other"), []);
        assert_eq!(unwritten(&maps.replace("r--p 0000", "rw-p 0000"), "/k"), []);
    }

    #[test]
    fn the_program_goes_on() {
        give_back();
        assert_eq!(format!("{:?}", Range { start: 1, end: 2 }), "Range { start: 1, end: 2 }");
    }
}
