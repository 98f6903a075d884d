use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::output;

/// Mounts a file system of this size on `folder`, which is made if it is not there. It goes with the [`Run`](crate::Run)
/// whose folder it is in.
pub fn small_disk(folder: &Path, mebibytes: u32) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "skerry-ground"]);
    output(command.arg(folder)).map(drop)
}

/// A file that takes all the room that was left on a disk. The room is free again when this is dropped.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// Fills the disk that `folder` is on, to the last block.
    pub fn fill(folder: &Path) -> Result<Self> {
        let ballast = Self { path: folder.join("ballast") };
        let mut file = File::create(&ballast.path).context("making the ballast")?;
        for size in [1 << 20, 4096, 1] {
            let block = vec![1; size];
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("writing the ballast"),
                }
            }
        }
        file.sync_all().context("writing the ballast")?;
        Ok(ballast)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            eprintln!("the ballast {} stays: {error}", self.path.display());
        }
    }
}
