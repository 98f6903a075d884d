//! Measurements of Skerry against its goals and its peers; `cargo xtask bench` prints them.
