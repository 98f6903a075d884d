//! skerry-types.
