//! Workloads that fail on their node, and what is said of them.
