//! The real binary against a small master in this process, over real TLS.

#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

mod apply;
mod authority;
mod config;
mod fake_master;
mod get;
mod life;
mod logs;
mod regions;
mod skerry;
mod tls;
mod wait;
