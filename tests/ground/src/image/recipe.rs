use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// How an image is made. The file's name is the image's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// The image's name.
    #[serde(skip)]
    pub name: String,
    /// The folder of the recipe, from which `binary.source` counts.
    #[serde(skip)]
    pub folder: PathBuf,
    #[serde(skip)]
    text: String,
    /// The tag to push it under; empty for a base.
    #[serde(default)]
    pub tag: String,
    /// Only the first layer of other images.
    #[serde(default)]
    pub is_base: bool,
    /// The recipe whose layer comes first.
    #[serde(default)]
    pub base: Option<String>,
    /// Debian packages, with what they depend on.
    #[serde(default)]
    pub packages: Vec<String>,
    #[serde(skip)]
    pub(super) base_packages: Vec<String>,
    /// Paths without a leading `/` that are left out, with all below them.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Accounts beside root.
    #[serde(default, rename = "user")]
    pub users: Vec<User>,
    /// Folders with an owner of their own.
    #[serde(default, rename = "folder")]
    pub folders: Vec<Folder>,
    /// Text files.
    #[serde(default, rename = "file")]
    pub files: Vec<TextFile>,
    /// Symbolic links.
    #[serde(default, rename = "link")]
    pub links: Vec<Link>,
    /// A Rust program of one file.
    #[serde(default)]
    pub binary: Option<Binary>,
    /// What runs, and how.
    #[serde(default)]
    pub config: Config,
}

/// An account in `/etc/passwd` with a group of the same name and number. No maintainer script runs when packages are
/// extracted, so the accounts that those would add are in the recipe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Number of the user and of the group.
    pub id: u32,
}

/// A folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Absolute path.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Number of the user and of the group.
    pub owner: u64,
}

/// A file owned by root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFile {
    /// Absolute path.
    pub path: String,
    /// Permission bits.
    #[serde(default = "readable")]
    pub mode: u32,
    /// Content.
    pub text: String,
}

/// A symbolic link.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Absolute path of the link.
    pub path: String,
    /// What it points to.
    pub to: String,
}

/// A program that is compiled into the image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// The Rust file, from the recipe's folder.
    pub source: PathBuf,
    /// Absolute path in the image.
    pub path: String,
}

/// The image's configuration, by the names of the OCI image specification.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// First words of the command line.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Further words, which a workload may replace.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// `NAME=VALUE`.
    #[serde(default)]
    pub env: Vec<String>,
    /// User by name or number; root when empty.
    #[serde(default)]
    pub user: String,
    /// `PORT/tcp` or `PORT/udp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// The signal that asks it to end.
    #[serde(default)]
    pub stop_signal: Option<String>,
}

fn readable() -> u32 {
    0o644
}

impl Recipe {
    /// Reads every `*.toml` in a folder, by name.
    pub fn read_all(folder: &Path) -> Result<BTreeMap<String, Self>> {
        let mut recipes = BTreeMap::new();
        for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                let recipe = Self::read(&path)?;
                recipes.insert(recipe.name.clone(), recipe);
            }
        }
        let bases: BTreeMap<String, Vec<String>> =
            recipes.iter().map(|(name, recipe)| (name.clone(), recipe.packages.clone())).collect();
        for recipe in recipes.values_mut() {
            if let Some(base) = &recipe.base {
                recipe.base_packages = bases.get(base).cloned().unwrap_or_default();
            }
        }
        Ok(recipes)
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut recipe: Self =
            toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        recipe.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        recipe.folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        ensure!(
            recipe.is_base == recipe.tag.is_empty(),
            "{}: a base has no tag, every other image has",
            path.display()
        );
        recipe.text = text;
        Ok(recipe)
    }

    /// All that the image is made from, as one text: when it is the same, so is the image, but for newer packages.
    pub(super) fn key_text(&self, base: Option<&Self>) -> String {
        let source = self.binary.as_ref().map(|binary| fs::read_to_string(self.folder.join(&binary.source)));
        let source = source.and_then(Result::ok).unwrap_or_default();
        let base = base.map_or("", |base| base.text.as_str());
        format!("{}\n{base}\n{}\n{source}", std::env::consts::ARCH, self.text)
    }

    pub(super) fn passwd(&self) -> String {
        let mut lines = vec!["root:x:0:0:root:/root:/bin/sh".to_owned()];
        let account =
            |User { name, id }: &User| format!("{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin");
        lines.extend(self.users.iter().map(account));
        lines.join("\n") + "\n"
    }

    pub(super) fn group(&self) -> String {
        let mut lines = vec!["root:x:0:".to_owned()];
        lines.extend(self.users.iter().map(|User { name, id }| format!("{name}:x:{id}:")));
        lines.join("\n") + "\n"
    }
}
