//! skerry-wire.
