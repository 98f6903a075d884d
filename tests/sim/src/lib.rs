//! skerry-sim.
