//! The clocks of the agent: the brain's two, and the time floor that outlives the process.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use skerry_types::{MonoTime, Now, WallTime};

/// The floor is written at most this often: it only has to be far newer than a certificate is long, and flash wears out.
const FLOOR_EVERY: Duration = Duration::from_hours(6);

/// Further than any timer of the brain.
const FAR: Duration = Duration::from_hours(365 * 24);

/// Time since the machine was booted, sleep included.
fn boottime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A moment as the keeper knows it.
pub(crate) fn boottime_ms(at: MonoTime) -> u64 {
    u64::try_from(at.0.as_millis()).unwrap_or(u64::MAX)
}

/// Both clocks of the brain. The one that never jumps is `CLOCK_BOOTTIME`: it goes on while the machine sleeps, as a lease does,
/// and is the same for the keeper.
pub(crate) fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    Now { mono: MonoTime(boottime()), wall }
}

/// The moment of a timer, for the async runtime.
pub(crate) fn instant(at: MonoTime) -> tokio::time::Instant {
    // A moment beyond what the clock can say is as good as a year away: the brain is asked again then.
    let now = Instant::now();
    now.checked_add(at.since(MonoTime(boottime()))).unwrap_or_else(|| now + FAR).into()
}

/// A moment that has certainly passed, told by an authenticated master and kept in a file, so that a machine without a
/// battery does not believe certificates that ran out long ago.
#[derive(Debug)]
pub(crate) struct TimeFloor {
    path: PathBuf,
    kept: WallTime,
}

impl TimeFloor {
    /// Reads the file; a missing or damaged one is no floor.
    pub(crate) fn open(data_dir: &Path) -> Self {
        let path = data_dir.join("time-floor");
        let kept = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        Self { path, kept: WallTime(kept.unwrap_or_default()) }
    }

    pub(crate) fn kept(&self) -> WallTime {
        self.kept
    }

    /// Keeps what the master says, unless that is near what is kept.
    pub(crate) fn raise(&mut self, told: WallTime) {
        // A master whose clock was put right may tell an earlier time: then the floor goes down with it.
        let near = told.since(self.kept) < FLOOR_EVERY && self.kept.since(told) < FLOOR_EVERY;
        if near {
            return;
        }
        match self.write(told) {
            Ok(()) => self.kept = told,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the master's time cannot be kept on disk");
            }
        }
    }

    fn write(&self, told: WallTime) -> std::io::Result<()> {
        let draft = self.path.with_extension("draft");
        let mut file = File::create(&draft)?;
        writeln!(file, "{}", told.0)?;
        file.sync_all()?;
        std::fs::rename(draft, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_outlives_the_process_and_spares_the_flash() {
        let dir = tempfile::tempdir().unwrap();
        let hour = 3_600_000;
        let mut floor = TimeFloor::open(dir.path());
        assert_eq!(floor.kept(), WallTime(0));
        floor.raise(WallTime(100 * hour));
        floor.raise(WallTime(105 * hour));
        assert_eq!(TimeFloor::open(dir.path()).kept(), WallTime(100 * hour));
        floor.raise(WallTime(107 * hour));
        assert_eq!(TimeFloor::open(dir.path()).kept(), WallTime(107 * hour));
        floor.raise(WallTime(50 * hour));
        assert_eq!(TimeFloor::open(dir.path()).kept(), WallTime(50 * hour));
        std::fs::write(dir.path().join("time-floor"), "nonsense").unwrap();
        assert_eq!(TimeFloor::open(dir.path()).kept(), WallTime(0));
    }
}
