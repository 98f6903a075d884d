//! skerry-agent-state.
