//! No account database.
//!
//! libcontainer asks the C library for a user's home when the environment names none, and asks inside the container.
//! The C library would then load name service modules out of the container's image into a process that still holds
//! the worker's descriptors. The environment always names a home, and this answer makes sure; it also keeps name
//! services and their loader out of a static program.

use std::ffi::{c_char, c_int, c_void};

/// Answers that there is no such user, in place of the C library's function of this name.
///
/// # Safety
///
/// `result` points to a pointer that may be written, as POSIX demands of the caller.
#[expect(unsafe_code, reason = "replaces a function of the C library, by its name and through its pointer")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getpwuid_r(
    _uid: u32,
    _entry: *mut c_void,
    _buffer: *mut c_char,
    _length: usize,
    result: *mut *mut c_void,
) -> c_int {
    // SAFETY: the caller promises a writable pointer; a null one is told apart.
    if let Some(result) = unsafe { result.as_mut() } {
        *result = std::ptr::null_mut();
    }
    0
}
