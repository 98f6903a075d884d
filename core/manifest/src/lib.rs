//! skerry-manifest.
