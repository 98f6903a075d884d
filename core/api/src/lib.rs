//! The operator API: stubs made from `proto/`, and conversions from the types that they show.
//!
//! Deliberately lacks: transport. Start from [`v1::operator_client::OperatorClient`] and [`v1::operator_server::Operator`].

mod convert;

pub use convert::{exit, explanation, instances, quota, resources};

/// Version 1 of the API.
#[expect(missing_docs, clippy::pedantic, reason = "generated; documented in the .proto file")]
pub mod v1 {
    tonic::include_proto!("skerry.v1");

    /// The definitions, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}

/// Largest message either side takes: a page of 500 workloads with their manifests.
pub const MESSAGE_MAX: usize = 16 * 1024 * 1024;

/// Metadata of an answer: names, with commas between them, of the regions that a list lacks as they are not heard from.
pub const NOT_HEARD_FROM: &str = "skerry-not-heard-from";

/// Most items in one page.
pub const PAGE_MAX: u32 = 500;
