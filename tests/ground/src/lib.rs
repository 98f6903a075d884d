//! What a run of Skerry stands on outside of Skerry: hosts in network namespaces whose links can be cut, a registry with
//! TLS and a password, images, processes that end with their guard, and a comparison of the machine before and after.
//!
//! It is shared by `cargo xtask demo`, the end-to-end tests and the benchmarks. It knows nothing of Skerry's insides:
//! only binaries, namespaces, addresses and files. All of it needs root.
//!
//! Start with [`Run`]: it names everything that belongs to one run, so that all of it can be found and taken down, also by
//! the next run when this one was killed. Then [`Wan`] and [`Host`], [`Registry`], [`Process`], [`Snapshot`], and [`region`] for
//! Skerry's own processes.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use skerry_ground::{Cut, Run, Wan};
//! let run = Run::start("example")?;
//! let mut wan = Wan::new(&run)?;
//! let node = wan.host("n1")?;
//! node.cut(&Cut::Both)?;
//! node.heal()?;
//! run.take_down()?;
//! # Ok(())
//! # }
//! ```

mod cgroup;
mod command;
mod disk;
pub mod http;
pub mod image;
mod interrupt;
mod leak;
pub mod measure;
mod mount;
mod namespace;
mod places;
mod process;
pub mod region;
mod registry;
mod relay;
mod run;
mod seen;
mod wait;
mod wan;

pub use command::{output, run_command};
pub use disk::{Ballast, small_disk};
pub use interrupt::{catch_interrupts, check_interrupt};
pub use leak::Snapshot;
pub use namespace::Namespace;
pub use places::{binary, image_dir, workspace_root};
pub use process::Process;
pub use registry::Registry;
pub use relay::{Line, Relay};
pub use run::Run;
pub use seen::{Seen, processes};
pub use wait::{until, until_ok};
pub use wan::{Cut, Host, Traffic, Wan};
