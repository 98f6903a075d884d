//! skerry-link.
