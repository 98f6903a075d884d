//! The words that every part of Skerry shares: ids, units, labels and selectors, the workload and allocation model, and the
//! durable outbox that brains use to keep a promise of "durable before visible".
//!
//! Deliberately lacks: any IO, clock or randomness, and anything that only one shelf needs.
//!
//! Start from [`WorkloadSpec`] (what an operator asks for), [`AllocationIntent`] (what a node should hold),
//! [`AllocationStatus`] (what a node says is so) and [`Outbox`].

mod allocation;
mod chain;
mod durable;
mod duration;
mod event;
mod explain;
mod id;
mod instances;
mod label;
mod layer;
mod lease;
mod life;
pub mod mutant;
mod node;
mod placement;
mod region;
mod selector;
mod tenant;
mod time;
mod unit;
mod workload;

pub use allocation::{
    AllocationIntent, AllocationLoad, AllocationStatus, ContainerState, ContainerStatus, Desired, Exit,
    ExitKind, GpuBinding, Phase, PortBinding, Reason, ReasonCode,
};
pub use chain::chain;
pub use durable::{Batch, Outbox, PersistId, TableName, Write};
pub use duration::{DurationError, parse_duration, show_duration};
pub use event::{Event, EventLevel, EventSubject};
pub use explain::{Explanation, PlacedWhy, RefusedWhy, ScorePart, Target};
pub use id::{
    AllocationId, ContainerName, Generation, IdError, ImageDigest, InstanceIndex, NodeName, PortName,
    RegionName, SiteName, TenantName, WorkloadName,
};
pub use instances::InstanceSet;
pub use label::{LabelError, Labels, Taint, check_labels};
pub use layer::{LayerId, LayerSize, NodeLayers};
pub use lease::{FencingToken, Lease, LeaseError};
pub use life::{
    Hold, JobPolicy, Leave, OnDisconnect, OnReturn, Overlap, PartProgress, Probe, ProbeCheck, Probes, Scale,
    ScaleTarget, Schedule, TimeZone, UpdatePolicy, Wave, WaveMembers, WaveSize, Window,
};
pub use mutant::Mutant;
pub use node::{AllocationLimit, Gpu, NodeFacts, NodeUsage, Reachability};
pub use placement::{Affinity, Near, Place, Placement, Preference, Refusal, Rule, Spread, SpreadBy};
pub use region::{
    HandedBack, LinkClass, NodeDigest, Point, PointError, RegionDigest, Share, ShareStatus, SiteDigest,
    SiteSpec, Sketch, SketchBucket, SketchClass, TenantGrant, TenantUse,
};
pub use selector::{Attributes, Selector, SelectorError};
pub use tenant::{Excess, Quota, TenantSpec};
pub use time::{MonoTime, Now, WallTime};
pub use unit::{Bandwidth, Bytes, MilliCpu, MilliGpu, QuantityError, Resources};
pub use workload::{
    Capabilities, ContainerSpec, EnvVar, HostPort, InstanceSpec, Limits, PortSpec, Protocol, RestartPolicy,
    RestartWhen, WorkloadKey, WorkloadKind, WorkloadSpec,
};
