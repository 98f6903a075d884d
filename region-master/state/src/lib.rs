//! skerry-region-state.
