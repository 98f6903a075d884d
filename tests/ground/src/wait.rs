use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::check_interrupt;

/// Pause between two looks at a state.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` gives a value, and fails when it has not after `limit`, naming `what` was waited for. An error of
/// `look` ends the wait at once.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        check_interrupt()?;
        if let Some(value) = look()? {
            return Ok(value);
        }
        if start.elapsed() > limit {
            bail!("{what}: not after {} s", limit.as_secs_f32());
        }
        std::thread::sleep(PAUSE);
    }
}

/// As [`until`], for a look that fails until the state is there. The last failure is the cause of the timeout.
pub fn until_ok<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        check_interrupt()?;
        match look() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(anyhow!("{what}: not after {} s", limit.as_secs_f32())));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
