//! Builds the images of the recipes in `images/` into `target/images/`.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use skerry_ground::image::{self, Image};
use skerry_ground::image_dir;

/// Builds what is not up to date and gives all images.
pub(crate) fn run(root: &Path) -> Result<Vec<Image>> {
    let start = Instant::now();
    let images = image::build_all(&root.join("images"), &image_dir(), |name| println!("  building {name}"))?;
    for image in &images {
        let state = if image.fresh { "built" } else { "there" };
        let kilobytes = image.layer_bytes.div_ceil(1000);
        let digest = image.digest.get(..19).unwrap_or(&image.digest);
        println!("  {:14} {state}  {kilobytes:>7} kB  {digest}", image.name_and_tag());
    }
    println!(
        "  {} images in {}, {:.1} s",
        images.len(),
        image_dir().display(),
        start.elapsed().as_secs_f32()
    );
    Ok(images)
}
