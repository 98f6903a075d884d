//! Records of containers on disk: one file each, replaced whole.
//!
//! A rename without a flush survives the death of the keeper, which is what a record is for. After a power cut no
//! container lives, and a record that was lost or torn with it describes nothing.

use rustix::fs::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};
use skerry_keeper_protocol::{
    CgroupPath, ContainerKey, ContainerRecord, ContainerState, Identity, LogPolicy, ProcessIdentity, decode,
    encode,
};
use std::io;
use std::path::PathBuf;

/// Room on disk that is set aside for records: sixty-four blocks.
const ROOM_BYTES: u64 = 256 * 1024;

/// What is on disk of one container. Variants are only appended; see the wire rules of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stored {
    V1(Entry),
}

/// All that is needed to own a container after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Boot of the node in which the container was made.
    pub(crate) boot_id: String,
    /// Its name.
    pub(crate) key: ContainerKey,
    /// As the agent gave it.
    pub(crate) identity: Identity,
    /// Its cgroup.
    pub(crate) cgroup: CgroupPath,
    /// Where its output goes.
    pub(crate) log: LogPolicy,
    /// Where it stands.
    pub(crate) state: ContainerState,
}

impl Entry {
    /// What the agent sees of it.
    pub(crate) fn record(&self, kill_at_ms: Option<u64>) -> ContainerRecord {
        let (key, identity, state) = (self.key.clone(), self.identity.clone(), self.state.clone());
        ContainerRecord { key, identity, state, kill_at_ms }
    }

    /// The first process, while it runs.
    pub(crate) const fn process(&self) -> Option<ProcessIdentity> {
        match self.state {
            ContainerState::Running { process, .. } => Some(process),
            ContainerState::Creating | ContainerState::Exited { .. } => None,
        }
    }

    /// When it started, in milliseconds since 1970.
    pub(crate) const fn started_at_unix_ms(&self) -> Option<u64> {
        match self.state {
            ContainerState::Creating => None,
            ContainerState::Running { started_at_unix_ms, .. } => Some(started_at_unix_ms),
            ContainerState::Exited { started_at_unix_ms, .. } => started_at_unix_ms,
        }
    }
}

/// The directory of records.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
}

/// What a directory of records held.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Readable records.
    pub(crate) entries: Vec<Entry>,
    /// Files that are no records, renamed to end in `_damaged`.
    pub(crate) damaged: Vec<PathBuf>,
}

impl Journal {
    /// Opens the directory, making it if needed.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let journal = Self { dir };
        journal.set_room_aside();
        Ok(journal)
    }

    /// Replaces the record of `entry`'s container.
    pub(crate) fn save(&self, entry: &Entry) -> io::Result<()> {
        let bytes = encode(&Stored::V1(entry.clone())).map_err(io::Error::other)?;
        match self.write(&entry.key, &bytes) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                // Nobody else knows of this file: what it frees is for records.
                std::fs::remove_file(self.room()).map_err(|_| error)?;
                self.write(&entry.key, &bytes)
            }
            Ok(()) => {
                self.set_room_aside();
                Ok(())
            }
            failed => failed,
        }
    }

    fn write(&self, key: &ContainerKey, bytes: &[u8]) -> io::Result<()> {
        let staged = self.dir.join(format!(".{key}.tmp"));
        let written = std::fs::write(&staged, bytes);
        written.and_then(|()| std::fs::rename(&staged, self.dir.join(key.as_str()))).inspect_err(|_| {
            // Whatever is left is overwritten by the next save and ignored by a load.
            drop(std::fs::remove_file(&staged));
        })
    }

    fn room(&self) -> PathBuf {
        self.dir.with_extension("room")
    }

    /// Keeps room on the disk for the records of some dozens of containers: a node whose disk is full must still be able to
    /// restart them, and a record that is not written is a container that a keeper after this one does not know.
    fn set_room_aside(&self) {
        let path = self.room();
        let Ok(file) = std::fs::File::create_new(&path) else { return };
        if fallocate(&file, FallocateFlags::empty(), 0, ROOM_BYTES).is_err() {
            // The disk is too full for it; the next record that fits tries again.
            drop(std::fs::remove_file(&path));
        }
    }

    /// Forgets a container; one that is not there is forgotten already.
    pub(crate) fn forget(&self, key: &ContainerKey) -> io::Result<()> {
        match std::fs::remove_file(self.dir.join(key.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads every record. Staged files of an earlier keeper are removed.
    pub(crate) fn load(&self) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        for file in std::fs::read_dir(&self.dir)? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('.') {
                std::fs::remove_file(&path)?;
            } else if !name.ends_with("_damaged") {
                match read_entry(&path).filter(|entry| entry.key.as_str() == name) {
                    Some(entry) => loaded.entries.push(entry),
                    None => loaded.damaged.push(set_aside(&path)?),
                }
            }
        }
        Ok(loaded)
    }
}

fn read_entry(path: &std::path::Path) -> Option<Entry> {
    let bytes = std::fs::read(path).ok()?;
    // The frame's length prefix tells a torn record from a whole one.
    let (prefix, payload) = bytes.split_first_chunk::<4>()?;
    let whole = usize::try_from(u32::from_le_bytes(*prefix)).ok()? == payload.len();
    let Stored::V1(entry) = decode(payload).ok().filter(|_| whole)?;
    Some(entry)
}

fn set_aside(path: &std::path::Path) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push("_damaged");
    let aside = PathBuf::from(name);
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str) -> Entry {
        Entry {
            boot_id: "b".into(),
            key: key.parse().unwrap(),
            identity: Identity::try_from(vec![1, 2]).unwrap(),
            cgroup: "/c".parse().unwrap(),
            log: LogPolicy { dir: "/l".into(), max_bytes: 1, max_files: 2 },
            state: ContainerState::Creating,
        }
    }

    #[test]
    fn records_come_back_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path().join("records")).unwrap();
        journal.save(&entry("a")).unwrap();
        journal.save(&entry("a")).unwrap();
        assert_eq!(journal.load().unwrap().entries, vec![entry("a")]);
        journal.forget(&entry("a").key).unwrap();
        journal.forget(&entry("a").key).unwrap();
        assert!(journal.load().unwrap().entries.is_empty());
    }

    #[test]
    fn torn_and_foreign_files_are_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path().to_owned()).unwrap();
        journal.save(&entry("whole")).unwrap();
        let bytes = std::fs::read(dir.path().join("whole")).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(dir.path().join("torn"), &bytes[..cut]).unwrap();
            let loaded = journal.load().unwrap();
            assert_eq!(loaded.entries, vec![entry("whole")], "cut at {cut}");
            assert_eq!(loaded.damaged, vec![dir.path().join("torn_damaged")]);
        }
        std::fs::write(dir.path().join("other-name"), &bytes).unwrap();
        std::fs::write(dir.path().join(".x.tmp"), b"half").unwrap();
        assert_eq!(journal.load().unwrap().damaged.len(), 1);
        assert!(!dir.path().join(".x.tmp").exists());
    }

    #[test]
    fn bytes_of_a_record_on_disk() {
        let bytes = encode(&Stored::V1(entry("a"))).unwrap();
        let expect = [16, 0, 0, 0, 0, 1, b'b', 1, b'a', 2, 1, 2, 2, b'/', b'c', 2, b'/', b'l', 1, 2, 0];
        assert_eq!(bytes[1..], expect[1..]);
        assert_eq!(usize::from(bytes[0]), bytes.len() - 4);
    }
}
