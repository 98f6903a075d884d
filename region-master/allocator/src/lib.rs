//! skerry-allocator.
