//! skerry-keeper.
