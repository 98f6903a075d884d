use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use skerry_ground::run_command;

/// Wall clocks that are wrong, each for one program, and that jump. Monotonic clocks are left alone.
///
/// The kernel has a namespace for the monotonic clock but none for the wall clock, so it is the C library's call that is moved, by
/// a library that the program is made to load.
#[derive(Debug)]
pub struct WrongClocks {
    folder: PathBuf,
    library: PathBuf,
}

impl WrongClocks {
    /// Builds the library; it and the clocks lie in `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        let library = folder.join("wrong_clock.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/wrong_clock.rs");
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args(["--edition", "2024", "--crate-type", "cdylib", "-C", "panic=abort"]);
        command.args(["-C", "opt-level=s", "-o"]);
        run_command(command.arg(&library).arg(source)).context("building the wrong clock")?;
        Ok(Self { folder: folder.to_owned(), library })
    }

    /// The environment of a program whose clock has this name.
    pub fn environment(&self, name: &str) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("WALL_CLOCK_FILE", self.file(name).display().to_string()),
        ]
    }

    /// Sets a clock this many seconds ahead of the right time, or behind it. Programs that go by it see it jump.
    pub fn set(&self, name: &str, ahead_s: i64) -> Result<()> {
        let path = self.file(name);
        // Programs have it mapped: it is written in place.
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        file.and_then(|file| file.write_all_at(&ahead_s.to_le_bytes(), 0))
            .with_context(|| format!("setting {}", path.display()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.clock"))
    }
}
