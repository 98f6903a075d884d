//! skerry-master.
