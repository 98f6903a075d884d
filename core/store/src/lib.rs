//! skerry-store.
