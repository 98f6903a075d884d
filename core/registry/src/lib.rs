//! skerry-registry.
