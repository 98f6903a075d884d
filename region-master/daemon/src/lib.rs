//! The master: links, API, store and CA of one region around the brain in `skerry-region-state`.
//!
//! `brain` owns the brain and feeds it; everything else is a way in or out: `links` for nodes, `enroll` for nodes
//! that want a certificate, `api` for operators. No decision is made here but who a certificate belongs to and what an image's
//! tag means at present.
//!
//! Deliberately lacks: placement, sync and token rules, which are the brain's.

pub mod ca;

mod api;
mod brain;
mod clock;
mod enroll;
mod images;
mod init;
mod links;
mod logs;
mod node_life;
mod run;
mod settings;
mod tls_listener;
mod view;

pub use init::{InitReport, init};
pub use node_life::{NodeLife, NodeLifeError};
pub use run::run;
pub use settings::{Flags, Settings, SettingsError};
