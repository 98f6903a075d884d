use std::fmt;

use serde_json::{Value, json};

/// A manifest that tests put together. Every container has small requests, so that many fit on a node.
#[derive(Debug, Clone)]
pub struct Workload {
    manifest: Value,
}

impl Workload {
    /// A service of one instance of `image`, with these arguments.
    pub fn new(name: &str, image: &str, args: &[&str]) -> Self {
        let manifest = json!({
            "apiVersion": "skerry/v1",
            "kind": "Workload",
            "metadata": {"name": name},
            "spec": {
                "type": "service",
                "instances": 1,
                "containers": [{
                    "name": "main",
                    "image": image,
                    "args": args,
                    "resources": {"cpu": "10m", "memory": "16Mi"},
                }],
                "restart": {"policy": "always", "backoff": "1s", "max_backoff": "4s"},
                // Updates and drains are waited for.
                "update": {"min_healthy": "1s"},
            },
        });
        Self { manifest }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// How many.
    #[must_use]
    pub fn instances(self, count: u32) -> Self {
        self.with("", "instances", json!(count))
    }

    /// Gives it a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.manifest["metadata"]["labels"][name] = json!(value);
        self
    }

    /// What nodes must match.
    #[must_use]
    pub fn require(self, selector: &str) -> Self {
        self.with("", "placement", json!({"require": selector}))
    }

    /// Publishes a TCP port; `host` is a number or `auto`.
    #[must_use]
    pub fn port(self, container: u16, host: &Value) -> Self {
        let ports = json!([{"name": "http", "container": container, "host": host}]);
        self.with("/containers/0", "ports", ports)
    }

    /// Sets a field of the container.
    #[must_use]
    pub fn container(self, field: &str, value: Value) -> Self {
        self.with("/containers/0", field, value)
    }

    /// Sets a field of the spec.
    #[must_use]
    pub fn spec(self, field: &str, value: Value) -> Self {
        self.with("", field, value)
    }

    /// Takes a field out of the spec.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        if let Some(fields) = self.manifest.pointer_mut("/spec").and_then(Value::as_object_mut) {
            fields.remove(field);
        }
        self
    }

    fn with(mut self, path: &str, field: &str, value: Value) -> Self {
        if let Some(fields) =
            self.manifest.pointer_mut(&format!("/spec{path}")).and_then(Value::as_object_mut)
        {
            fields.insert(field.to_owned(), value);
        }
        self
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.manifest.fmt(f)
    }
}
