//! The life of a workload after it is placed, as plans: updates, fleets, jobs, scale, disconnection, drain.
