//! Moves the wall clock of the program that preloads this by `$WALL_CLOCK_OFFSET_S` seconds.

#![no_std]

use core::ffi::{CStr, c_char, c_int, c_long};
use core::sync::atomic::{AtomicBool, AtomicI64, Ordering};

const CLOCK_REALTIME: c_int = 0;
const CLOCK_REALTIME_COARSE: c_int = 5;
#[cfg(target_arch = "x86_64")]
const SYS_CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const SYS_CLOCK_GETTIME: c_long = 113;

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn getenv(name: *const c_char) -> *const c_char;
    fn atol(text: *const c_char) -> c_long;
    fn abort() -> !;
}

static KNOWN: AtomicBool = AtomicBool::new(false);
static OFFSET: AtomicI64 = AtomicI64::new(0);

fn offset() -> i64 {
    if !KNOWN.load(Ordering::Acquire) {
        let name: &CStr = c"WALL_CLOCK_OFFSET_S";
        // SAFETY: the name ends with a zero; what `getenv` gives is text or null.
        let seconds = unsafe {
            let text = getenv(name.as_ptr());
            if text.is_null() { 0 } else { atol(text) }
        };
        OFFSET.store(seconds, Ordering::Relaxed);
        KNOWN.store(true, Ordering::Release);
    }
    OFFSET.load(Ordering::Relaxed)
}

/// As the C library's, with the wall clock moved.
///
/// # Safety
/// `time` is valid for a write, as for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    // SAFETY: the caller's promise is the system call's.
    let result = unsafe { syscall(SYS_CLOCK_GETTIME, c_long::from(clock), time) };
    if result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        // SAFETY: the call above has just written it.
        unsafe { (*time).seconds += offset() };
    }
    if result == 0 { 0 } else { -1 }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it may be called at any time.
    unsafe { abort() }
}
