//! The master: links, API, store and CA of one region around the brain in `skerry-region-state`.
//!
//! `brain` owns the brain and feeds it; everything else is a way in or out: `links` for nodes and regions below, `uplink` for
//! the region above, `enroll` for whoever wants a certificate, `api` for operators, `calls` for what operators ask of a region
//! above this one. No decision is made here but who a certificate belongs to and what an image's tag means at present.
//!
//! Deliberately lacks: placement, sync and token rules, which are the brain's.

pub mod ca;

mod above;
mod api;
mod below;
mod brain;
mod calls;
mod clock;
mod enroll;
mod images;
mod init;
mod join;
mod life;
mod links;
mod orders;
mod renewal;
mod run;
mod settings;
mod store;
mod thrift;
mod tls_listener;
mod uplink;
mod view;

pub use init::{InitReport, init};
pub use life::{LifeError, NodeLife, RegionLife};
pub use run::run;
pub use settings::{Flags, Settings, SettingsError};
pub use store::restored;
