//! skerry-runtime.
