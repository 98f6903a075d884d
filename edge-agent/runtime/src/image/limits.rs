//! Bounds on what a pull may take.

use std::time::Duration;

/// Bounds on disk, memory and time of the image store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the cache's filesystem that pulls leave free, for the agent's own state and logs.
    pub reserve_bytes: u64,
    /// The most a layer may unpack to, in bytes, whatever its compressed size.
    pub max_layer_bytes: u64,
    /// How many times its compressed size a layer may unpack to, beyond [`Limits::FREE_BYTES`].
    pub max_ratio: u64,
    /// The most entries in one layer.
    pub max_entries: u64,
    /// Layers that are pulled at once, over all images. Each takes a thread and up to 12 MiB while it runs (8 of
    /// it the window of a zstd layer, usually 2).
    pub concurrent_layers: usize,
    /// After how long without progress a partial download is deleted.
    pub partial_age: Duration,
}

impl Limits {
    /// Unpacked bytes that any layer may have, so that small layers of zeros or text, which compress by hundreds,
    /// are not taken for bombs.
    pub const FREE_BYTES: u64 = 32 << 20;

    /// The unpacked bytes allowed to a layer of `compressed` bytes.
    pub(super) fn layer_bytes(&self, compressed: u64) -> u64 {
        let by_ratio = compressed.saturating_mul(self.max_ratio).saturating_add(Self::FREE_BYTES);
        by_ratio.min(self.max_layer_bytes)
    }
}

impl Default for Limits {
    /// Sizes for a gateway: real layers compress 2 to 5 times, rarely 20, and have up to some 60,000 entries; a bomb
    /// compresses 100 to 30,000 times.
    fn default() -> Self {
        Self {
            reserve_bytes: 256 << 20,
            max_layer_bytes: 8 << 30,
            max_ratio: 32,
            max_entries: 500_000,
            concurrent_layers: 2,
            partial_age: Duration::from_hours(7 * 24),
        }
    }
}
