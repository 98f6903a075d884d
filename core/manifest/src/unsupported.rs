//! Fields and values that the format has and this release does not: refused by name, never ignored.

/// A field or value, and what to do for the time being.
struct Later {
    /// Path with open indices.
    pattern: &'static str,
    /// The value that is meant; any when absent.
    value: Option<&'static str>,
    instead: &'static str,
}

const LATER: &[Later] = &[
    field("spec.priority", "leave it out; all workloads are equal"),
    field("spec.update", "leave it out; a change replaces the instances"),
    field("spec.on_disconnect", "leave it out; instances of an unreachable node are kept and not replaced"),
    field("spec.schedule", "leave it out; only type 'service' runs"),
    field("spec.scale", "leave it out and set 'instances'"),
    field("spec.containers[].health", "leave it out; a container is taken for healthy while it runs"),
    field("spec.placement.near", "leave it out and use 'prefer'"),
    value("spec.exclusive", "true", "leave it out"),
    value("spec.type", "job", "only 'service' is"),
    value("spec.type", "cron", "only 'service' is"),
    value("spec.type", "daemon", "only 'service' is"),
];

const fn field(pattern: &'static str, instead: &'static str) -> Later {
    Later { pattern, value: None, instead }
}

const fn value(pattern: &'static str, value: &'static str, instead: &'static str) -> Later {
    Later { pattern, value: Some(value), instead }
}

/// What to do instead of this field, if it is one that a later release will have.
pub(crate) fn instead_of_field(pattern: &str) -> Option<&'static str> {
    LATER.iter().find(|later| later.pattern == pattern && later.value.is_none()).map(|later| later.instead)
}

/// What to do instead of this value, if it is one that a later release will have.
pub(crate) fn instead_of_value(pattern: &str, value: &str) -> Option<&'static str> {
    LATER
        .iter()
        .find(|later| later.pattern == pattern && later.value == Some(value))
        .map(|later| later.instead)
}
