use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The folder of the root Cargo.toml of the checkout that this crate was built from.
pub fn workspace_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}

/// The path of one of Skerry's binaries: in `$SKERRY_BIN_DIR`, else where `cargo xtask build` puts them.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("SKERRY_BIN_DIR")
        .map_or_else(|| workspace_root().join("target/skerry/bin"), PathBuf::from);
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is not built: run `cargo xtask build`", path.display());
    Ok(path)
}

/// The folder with one OCI layout per image: `$SKERRY_IMAGE_DIR`, else where `cargo xtask images` puts them.
pub fn image_dir() -> PathBuf {
    std::env::var_os("SKERRY_IMAGE_DIR").map_or_else(|| workspace_root().join("target/images"), PathBuf::from)
}
