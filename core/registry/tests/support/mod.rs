//! Registries for tests: a scripted one in this process, and the real docker-registry as a child process.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod fake;
pub(crate) mod image;
pub(crate) mod real;
