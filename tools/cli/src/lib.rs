//! skerry-cli.
