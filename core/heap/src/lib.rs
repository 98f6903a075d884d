//! How a process keeps little memory that it does not use: settings of the C library's allocator, and giving back what is free.
//!
//! By itself the allocator has eight arenas for each core, and after every wave of work each of them keeps the most that it ever
//! held. Only glibc has these settings; with another C library the functions do nothing.

use std::ffi::c_int;

/// The variable by which an operator sets the number of arenas. Whoever sets it knows what they want: nothing is changed then.
const SET_BY_HAND: &str = "MALLOC_ARENA_MAX";

/// What the allocator keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thrift {
    /// Heaps that threads share. Each keeps holes of its own.
    pub arenas: u16,
    /// Bytes free at the end of a heap from which on they go back to the system.
    pub trim_at: u32,
    /// Bytes from which on an allocation is a mapping of its own, which goes back as soon as it is freed.
    pub map_from: u32,
}

impl Thrift {
    /// One heap for all threads, little of it free: for what is there for months on a small machine. Measured at an agent after 50
    /// containers were started: 2 MiB less.
    pub const SMALL: Self = Self { arenas: 1, trim_at: 64 << 10, map_from: 64 << 10 };

    /// Settles the allocator of this process. To be called first of all, as heaps that are there stay.
    pub fn settle(self) {
        if std::env::var_os(SET_BY_HAND).is_none() {
            let bytes = |number: u32| c_int::try_from(number).unwrap_or(c_int::MAX);
            libc_heap::set(self.arenas.into(), bytes(self.trim_at), bytes(self.map_from));
        }
    }
}

/// Gives all whole pages that are free back to the system, and says whether there were any. Each heap is locked meanwhile, for
/// about a millisecond for every two megabytes: to be called when little is going on.
pub fn give_back() -> bool {
    libc_heap::trim()
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the calls have no safe wrapper")]
mod libc_heap {
    use std::ffi::c_int;

    pub(crate) fn set(arenas: c_int, trim_at: c_int, map_from: c_int) {
        let settings = [
            (libc::M_ARENA_MAX, arenas),
            (libc::M_TRIM_THRESHOLD, trim_at),
            (libc::M_MMAP_THRESHOLD, map_from),
        ];
        for (name, value) in settings {
            // SAFETY: takes numbers only, under the allocator's own lock. A value that it refuses changes nothing, and the
            // process runs all the same.
            unsafe { libc::mallopt(name, value) };
        }
    }

    pub(crate) fn trim() -> bool {
        // SAFETY: only pages on which nothing lives go back, under the locks of their heaps.
        unsafe { libc::malloc_trim(0) != 0 }
    }
}

#[cfg(not(target_env = "gnu"))]
mod libc_heap {
    use std::ffi::c_int;

    pub(crate) fn set(_: c_int, _: c_int, _: c_int) {}

    pub(crate) fn trim() -> bool {
        false
    }
}
