//! What comes in and what goes out: demands, answers, bookings.

use skerry_types::{
    AllocationId, GpuBinding, InstanceSpec, Labels, NodeName, Placement, PortBinding, WorkloadKey,
};

/// What is to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The workload; affinities see the other workloads of its tenant.
    pub key: &'a WorkloadKey,
    /// Its labels, by which the affinities of others find it.
    pub labels: &'a Labels,
    /// 0 to 100; [`crate::Cluster::preempt`] takes room only from lower ones.
    pub priority: u8,
    /// What one instance is.
    pub spec: &'a InstanceSpec,
    /// Where instances may and should go.
    pub placement: &'a Placement,
    /// The nodes of the instances that the workload already has, one entry for each instance. Nodes that are gone are
    /// passed over.
    pub existing: &'a [NodeName],
}

/// Where an instance goes. Its room is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The allocation that the room is booked for.
    pub id: AllocationId,
    /// The node.
    pub node: NodeName,
    /// Host ports, one for each port of the spec that has one, in the order of the spec.
    pub ports: Vec<PortBinding>,
    /// Graphics processors, for each container that asks for some, in the order of the spec: one entry for each whole one, or
    /// one for a part.
    pub gpus: Vec<GpuBinding>,
}

/// An allocation that was placed before, as when state is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Booking<'a> {
    /// Which.
    pub id: &'a AllocationId,
    /// Of which workload.
    pub key: &'a WorkloadKey,
    /// The workload's labels.
    pub labels: &'a Labels,
    /// The workload's priority.
    pub priority: u8,
    /// What the instance is.
    pub spec: &'a InstanceSpec,
    /// Its host ports.
    pub ports: &'a [PortBinding],
    /// Its graphics processors.
    pub gpus: &'a [GpuBinding],
}

/// The books know no such thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// The cluster has no such node.
    #[error("the region has no node '{0}'")]
    UnknownNode(NodeName),
    /// The node holds no such allocation.
    #[error("node '{node}' holds no allocation '{id}'")]
    UnknownAllocation {
        /// Which allocation.
        id: AllocationId,
        /// Which node.
        node: NodeName,
    },
}
