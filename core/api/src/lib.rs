//! skerry-api.
