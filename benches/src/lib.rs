//! skerry-benches.
