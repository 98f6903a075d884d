//! Which layers of images the node holds: the master is told, so that it can say what an update costs before it begins.

use skerry_runtime::image::ImageStore;
use skerry_types::{LayerId, NodeLayers};
use tokio::task::JoinSet;

/// Looks at the image store when images came or went.
pub(crate) struct Layers {
    images: ImageStore,
    /// What the store's count of changes was at the last look.
    seen: Option<u64>,
    look: JoinSet<Option<NodeLayers>>,
}

impl Layers {
    pub(crate) fn new(images: ImageStore) -> Self {
        Self { images, seen: None, look: JoinSet::new() }
    }

    /// The next news; never while nothing changed. It is noticed when this is called, which the task that owns it does after
    /// everything that it hears of. Cancel-safe.
    pub(crate) async fn next(&mut self) -> NodeLayers {
        loop {
            let changes = self.images.changes();
            if self.look.is_empty() && self.seen != Some(changes) {
                self.seen = Some(changes);
                let images = self.images.clone();
                self.look.spawn_blocking(move || held(&images));
            }
            match self.look.join_next().await {
                Some(Ok(Some(layers))) => return layers,
                Some(Ok(None)) => {}
                Some(Err(error)) => tracing::error!(%error, "a look at the images failed"),
                None => return std::future::pending().await,
            }
        }
    }
}

fn held(images: &ImageStore) -> Option<NodeLayers> {
    match images.layers() {
        Ok(layers) => Some(NodeLayers::new(layers.iter().map(|digest| LayerId::of(digest.as_bytes())))),
        Err(error) => {
            tracing::warn!(error = skerry_types::chain(&error), "the images cannot be listed");
            None
        }
    }
}
