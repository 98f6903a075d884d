//! Values that the format has and this release does not: refused by name, never ignored.

/// A value, and what to do for the time being.
struct Later {
    /// Path with open indices.
    pattern: &'static str,
    value: &'static str,
    instead: &'static str,
}

const LATER: &[Later] = &[Later { pattern: "spec.exclusive", value: "true", instead: "leave it out" }];

/// What to do instead of this value, if it is one that a later release will have.
pub(crate) fn instead_of_value(pattern: &str, value: &str) -> Option<&'static str> {
    LATER.iter().find(|later| later.pattern == pattern && later.value == value).map(|later| later.instead)
}
