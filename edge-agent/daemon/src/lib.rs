//! skerry-agent.
