use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use tar::{Archive, Builder, EntryType, Header};

use super::layout::digest;

/// The time of every file of an image, so that the same recipe and packages give the same bytes: 2024-01-01.
pub(super) const EPOCH: u64 = 1_704_067_200;

/// Left out of every layer: what only apt, dpkg and readers of documentation use.
const DROPPED: &[&str] = &[
    "dev",
    "etc/apt",
    "proc",
    "run",
    "sys",
    "usr/include",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
];

/// What is at each path of a layer: enough to tell whether another layer would change it.
pub(super) type Entries = BTreeMap<String, String>;

/// A layer, compressed.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) gzip: Vec<u8>,
    /// Digest of the tar archive inside: what the image's configuration lists.
    pub(super) diff_id: String,
}

/// Makes a layer of an archive, without what the base has already and what the recipe drops.
pub(super) fn from_archive(
    archive: &[u8],
    base: Option<&Entries>,
    drop: &[String],
) -> Result<(Layer, Entries)> {
    let mut entries = Entries::new();
    let mut writer = Writer::new();
    let mut archive = Archive::new(archive);
    for entry in archive.entries().context("reading the archive")? {
        let mut entry = entry.context("reading an entry of the archive")?;
        let path = entry.path().context("reading a path of the archive")?.into_owned();
        let path = path.to_string_lossy().trim_start_matches("./").trim_end_matches('/').to_owned();
        let dropped = DROPPED.iter().copied().chain(drop.iter().map(String::as_str));
        if path.is_empty() || dropped.into_iter().any(|drop| Path::new(&path).starts_with(drop)) {
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).with_context(|| format!("reading {path}"))?;
        let target = entry.link_name().context("reading a link")?.map(|to| to.to_string_lossy().into_owned());
        let header = entry.header();
        let what = format!(
            "{:?} {:o} {}:{} {target:?} {}",
            header.entry_type(),
            header.mode()?,
            header.uid()?,
            header.gid()?,
            digest(&content)
        );
        if base.is_none_or(|base| base.get(&path) != Some(&what)) {
            writer.entry(&path, header, target.as_deref(), &content)?;
        }
        entries.insert(path, what);
    }
    let layer = writer.finish()?.context("the packages hold no file")?;
    Ok((layer, entries))
}

/// Writes a layer entry by entry.
pub(super) struct Writer {
    archive: Builder<Vec<u8>>,
    folders: BTreeSet<String>,
    empty: bool,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { archive: Builder::new(Vec::new()), folders: BTreeSet::new(), empty: true }
    }

    pub(super) fn folder(&mut self, path: &str, mode: u32, owner: u64) -> Result<()> {
        self.parents(path)?;
        self.folders.insert(path.trim_start_matches('/').to_owned());
        self.add(EntryType::Directory, path, mode, owner, None, &[])
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.add(EntryType::Regular, path, mode, 0, None, content)
    }

    pub(super) fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.parents(path)?;
        self.add(EntryType::Symlink, path, 0o777, 0, Some(to), &[])
    }

    /// The layer; `None` when nothing was written.
    pub(super) fn finish(self) -> Result<Option<Layer>> {
        if self.empty {
            return Ok(None);
        }
        let archive = self.archive.into_inner().context("ending the archive")?;
        let mut gzip = Vec::new();
        // No name and no time in the header: they would change the digest.
        let mut encoder = GzBuilder::new().read(archive.as_slice(), Compression::new(6));
        encoder.read_to_end(&mut gzip).context("compressing a layer")?;
        Ok(Some(Layer { diff_id: digest(&archive), gzip }))
    }

    fn entry(&mut self, path: &str, from: &Header, target: Option<&str>, content: &[u8]) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(from.entry_type());
        header.set_mode(from.mode()?);
        header.set_uid(from.uid()?);
        header.set_gid(from.gid()?);
        self.append(header, path, target, content)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        let path = path.trim_start_matches('/');
        let slashes: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        for at in slashes {
            let folder = path.get(..at).unwrap_or_default().to_owned();
            // The usual folders of a Debian base are there, with these same permissions but for /tmp.
            if folder != "tmp" && self.folders.insert(folder.clone()) {
                self.add(EntryType::Directory, &folder, 0o755, 0, None, &[])?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        owner: u64,
        target: Option<&str>,
        content: &[u8],
    ) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        self.append(header, path.trim_start_matches('/'), target, content)
    }

    fn append(&mut self, mut header: Header, path: &str, target: Option<&str>, content: &[u8]) -> Result<()> {
        header.set_mtime(EPOCH);
        header.set_size(u64::try_from(content.len()).context("a file of more than 16 EiB")?);
        self.empty = false;
        match target {
            Some(target) => self.archive.append_link(&mut header, path, target),
            None => self.archive.append_data(&mut header, path, content),
        }
        .with_context(|| format!("adding {path} to the layer"))
    }
}
