//! skerry-keeper-protocol.
