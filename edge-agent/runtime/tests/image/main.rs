//! The image store against a scripted registry, the real docker-registry, hostile layers and full disks. Needs root,
//! as the agent does: layers have owners, device nodes for whiteouts, and trusted attributes.

mod disk;
mod hostile;
mod import;
mod layers;
mod node;
mod pull;
mod resume;
#[path = "../../../../core/registry/tests/support/mod.rs"]
mod support;
