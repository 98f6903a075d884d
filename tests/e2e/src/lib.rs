//! skerry-e2e.
