//! What a measurement found, against what, and whether that is good enough.

mod table;

use serde_json::{Value, json};

pub use table::table;

/// A count as a value.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^52")]
pub fn count(number: usize) -> f64 {
    number as f64
}

/// One value, what it is compared with, and whether its goals are met.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    name: String,
    value: f64,
    unit: &'static str,
    against: Option<(String, f64)>,
    goals: Vec<Goal>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
    BelowPeer,
}

impl Measurement {
    /// A value without a goal.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, against: None, goals: Vec::new() }
    }

    /// The same measured of a peer, or of the floor that no implementation can go below.
    #[must_use]
    pub fn with_peer(mut self, name: impl Into<String>, value: f64) -> Self {
        self.against = Some((name.into(), value));
        self
    }

    /// The goal of a value that should be small.
    #[must_use]
    pub fn at_most(mut self, limit: f64) -> Self {
        self.goals.push(Goal::AtMost(limit));
        self
    }

    /// The goal of a value that should be large.
    #[must_use]
    pub fn at_least(mut self, limit: f64) -> Self {
        self.goals.push(Goal::AtLeast(limit));
        self
    }

    /// The goal of being smaller than the peer. Without a peer it is missed.
    #[must_use]
    pub fn below_peer(mut self) -> Self {
        self.goals.push(Goal::BelowPeer);
        self
    }

    /// What was measured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value, in [`Measurement::unit`].
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The unit of the value and of the peer's.
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// The peer and its value.
    pub fn against(&self) -> Option<(&str, f64)> {
        self.against.as_ref().map(|(name, value)| (name.as_str(), *value))
    }

    /// The value divided by the peer's.
    pub fn ratio(&self) -> Option<f64> {
        self.against.as_ref().map(|(_, peer)| self.value / peer)
    }

    /// The goals in words, `None` without one.
    pub fn goal(&self) -> Option<String> {
        let words: Vec<String> = self
            .goals
            .iter()
            .map(|goal| match goal {
                Goal::AtMost(limit) => format!("<= {limit}"),
                Goal::AtLeast(limit) => format!(">= {limit}"),
                Goal::BelowPeer => format!("< {}", self.against().map_or("peer", |(name, _)| name)),
            })
            .collect();
        (!words.is_empty()).then(|| words.join(" and "))
    }

    /// Whether every goal is met.
    pub fn ok(&self) -> bool {
        self.goals.iter().all(|goal| match *goal {
            Goal::AtMost(limit) => self.value <= limit,
            Goal::AtLeast(limit) => self.value >= limit,
            Goal::BelowPeer => self.against.as_ref().is_some_and(|(_, peer)| self.value < *peer),
        })
    }

    /// The measurement as the JSON object that `cargo xtask bench --json` prints.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "against": self.against().map(|(name, _)| name),
            "against_value": self.against().map(|(_, value)| value),
            "ratio": self.ratio(),
            "goal": self.goal(),
            "ok": self.ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_decide() {
        let ms = |value| Measurement::new("start", value, "ms");
        let good = ms(5.0).with_peer("runc", 20.0).at_most(10.0).below_peer();
        assert!(good.ok());
        assert_eq!(good.goal().as_deref(), Some("<= 10 and < runc"));
        assert_eq!(
            good.to_json().to_string(),
            r#"{"against":"runc","against_value":20.0,"goal":"<= 10 and < runc","name":"start","ok":true,"ratio":0.25,"unit":"ms","value":5.0}"#
        );
        assert!(!ms(11.0).with_peer("runc", 20.0).at_most(10.0).below_peer().ok());
        assert!(!ms(9.0).with_peer("runc", 9.0).at_most(10.0).below_peer().ok());
        assert!(!ms(9.0).below_peer().ok());
        assert!(!ms(9.0).at_least(10.0).ok() && ms(10.0).at_least(10.0).ok());
        assert!(ms(9.0).ok() && ms(9.0).goal().is_none());
        assert!(!ms(f64::NAN).at_most(10.0).ok());
    }
}
