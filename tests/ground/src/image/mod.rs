//! Images from recipes: Debian packages, single binaries and files, as OCI layouts on disk.
//!
//! A recipe is a TOML file ([`Recipe`]) in the workspace's `images` folder. [`build_all`] makes `OUT/NAME` for each, an OCI
//! image layout with one manifest, and skips what is there already. The packages come from the machine's own apt sources.

mod debian;
mod layer;
mod layout;
mod recipe;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run_command;
use layer::{Entries, Layer};
pub use recipe::{Binary, Config, Recipe, TextFile, User};

/// Part of every cache key: count it up when the same recipe gives another image.
const FORMAT: u32 = 1;

/// The file beside a layout that says which recipe it was made from.
const KEY_FILE: &str = "recipe.sha256";

/// An image on disk.
#[derive(Debug, Clone)]
pub struct Image {
    /// The recipe's file name without its ending.
    pub name: String,
    /// The tag to push it under.
    pub tag: String,
    /// The folder of its OCI layout.
    pub layout: PathBuf,
    /// Digest of its manifest, `sha256:...`.
    pub digest: String,
    /// Bytes of its compressed layers together.
    pub layer_bytes: u64,
    /// Whether this call made it; `false` when it was there.
    pub fresh: bool,
}

impl Image {
    /// `NAME:TAG`
    pub fn name_and_tag(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }
}

/// The image of this name, which must have been built into `out`.
pub fn built(out: &Path, name: &str) -> Result<Image> {
    let layout = out.join(name);
    let Some(found) = layout::read(&layout)? else {
        bail!("{} is not built: run `cargo xtask images`", layout.display());
    };
    Ok(found.into_image(name, layout, false))
}

/// Builds every recipe in `recipes` that is not a base of others into a layout below `out`. `told` is called with the name
/// of each image before work on it begins; one that is up to date is not told.
pub fn build_all(recipes: &Path, out: &Path, mut told: impl FnMut(&str)) -> Result<Vec<Image>> {
    let recipes = Recipe::read_all(recipes)?;
    let mut bases: BTreeMap<String, (Layer, Entries)> = BTreeMap::new();
    let mut images = Vec::new();
    for recipe in recipes.values().filter(|recipe| !recipe.is_base) {
        let base =
            recipe.base.as_deref().map(|name| recipes.get(name).with_context(|| format!("no recipe {name}")));
        let base = base.transpose()?;
        let key = format!("{FORMAT} {}", layout::digest(recipe.key_text(base).as_bytes()));
        let layout = out.join(&recipe.name);
        if fs::read_to_string(layout.join(KEY_FILE)).is_ok_and(|found| found == key)
            && let Some(found) = layout::read(&layout)?
        {
            images.push(found.into_image(&recipe.name, layout, false));
            continue;
        }
        crate::check_interrupt()?;
        told(&recipe.name);
        let base = match base {
            None => None,
            Some(base) => {
                if !bases.contains_key(&base.name) {
                    bases.insert(base.name.clone(), package_layer(base, None)?);
                }
                bases.get(&base.name)
            }
        };
        let mut layers: Vec<Layer> = base.iter().map(|(layer, _)| layer.clone()).collect();
        if !recipe.packages.is_empty() {
            layers.push(package_layer(recipe, base.map(|(_, entries)| entries))?.0);
        }
        layers.extend(own_layer(recipe)?);
        // A layout that is half written has no key, and is made again.
        layout::write(&layout, recipe, &layers).with_context(|| format!("writing {}", layout.display()))?;
        fs::write(layout.join(KEY_FILE), &key).context("marking the layout as done")?;
        let found = layout::read(&layout)?.context("the layout is gone")?;
        images.push(found.into_image(&recipe.name, layout, true));
    }
    Ok(images)
}

/// The recipe's packages, without what the base holds already.
fn package_layer(recipe: &Recipe, base: Option<&Entries>) -> Result<(Layer, Entries)> {
    let mut packages = recipe.packages.clone();
    packages.extend(recipe.base_packages.iter().cloned());
    let archive =
        debian::extract(&packages).with_context(|| format!("extracting the packages of {}", recipe.name))?;
    layer::from_archive(&archive, base, &recipe.drop)
}

/// Users, files and the binary of the recipe; `None` when it has none.
fn own_layer(recipe: &Recipe) -> Result<Option<Layer>> {
    let mut writer = layer::Writer::new();
    for folder in &recipe.folders {
        writer.folder(&folder.path, folder.mode, folder.owner)?;
    }
    if !recipe.users.is_empty() {
        writer.file("/etc/passwd", 0o644, recipe.passwd().as_bytes())?;
        writer.file("/etc/group", 0o644, recipe.group().as_bytes())?;
    }
    for file in &recipe.files {
        writer.file(&file.path, file.mode, file.text.as_bytes())?;
    }
    for link in &recipe.links {
        writer.link(&link.path, &link.to)?;
    }
    if let Some(binary) = &recipe.binary {
        writer.file(&binary.path, 0o755, &compile(&recipe.folder.join(&binary.source))?)?;
    }
    writer.finish()
}

/// Compiles one Rust file to a static binary that does not move in memory: it needs no loader in the image and starts
/// fastest.
fn compile(source: &Path) -> Result<Vec<u8>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let binary = std::env::temp_dir().join(format!("skerry-image-{}", std::process::id()));
    let options = ["opt-level=s", "panic=abort", "strip=symbols", "lto=fat", "relocation-model=static"];
    let mut command = Command::new(rustc);
    command.args(["--edition", "2024", "--crate-type", "bin", "-C", "target-feature=+crt-static"]);
    command.args(options.iter().flat_map(|option| ["-C", option])).arg("-o").arg(&binary).arg(source);
    let compiled = run_command(&mut command).with_context(|| format!("compiling {}", source.display()));
    let bytes = compiled.and_then(|()| fs::read(&binary).context("reading the compiled binary"));
    if binary.exists() {
        fs::remove_file(&binary).context("removing the compiled binary")?;
    }
    bytes
}
