//! The real binary against a small master in this process, over real TLS.

mod apply;
mod config;
mod fake_master;
mod get;
mod logs;
mod skerry;
mod tls;
mod wait;
