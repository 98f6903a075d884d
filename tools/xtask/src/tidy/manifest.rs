//! What the manifests must say: lints on everywhere, and a reason beside each dependency.

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Finding;

/// The root manifest: the lint that asks for documentation is on, and every dependency has its reason.
pub(super) fn root(text: &str) -> Result<Vec<Finding>> {
    let table: Table = toml::from_str(text).context("reading Cargo.toml")?;
    let mut found = reasons(text);
    let lint = at(&table, &["workspace", "lints", "rust", "missing_docs"]).and_then(Value::as_str);
    if !matches!(lint, Some("warn" | "deny" | "forbid")) {
        found.push(Finding::new("Cargo.toml", "workspace.lints.rust.missing_docs must be on"));
    }
    Ok(found)
}

/// A member's manifest: it takes the workspace's lints and the workspace's versions.
pub(super) fn member(name: &str, text: &str) -> Result<Vec<Finding>> {
    let table: Table = toml::from_str(text).with_context(|| format!("reading {name}"))?;
    let mut found = Vec::new();
    let own_unsafe = at(&table, &["lints", "rust", "unsafe_code"]).is_some();
    let inherits = at(&table, &["lints", "workspace"]).and_then(Value::as_bool) == Some(true);
    // Cargo cannot inherit lints and change one: a crate that must use unsafe repeats the table, with docs still on.
    let repeats = own_unsafe && at(&table, &["lints", "rust", "missing_docs"]).is_some();
    if !inherits && !repeats {
        found.push(Finding::new(name, "must have `[lints] workspace = true`"));
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(dependencies) = table.get(section).and_then(Value::as_table) else {
            continue;
        };
        for (dependency, value) in dependencies {
            // A crate may name itself, for its own tests with other features.
            let itself = value.get("path").and_then(Value::as_str) == Some(".");
            if value.get("workspace").and_then(Value::as_bool) != Some(true) && !itself {
                found.push(Finding::new(
                    name,
                    format!("{dependency}: name the version once, with its reason, in the root Cargo.toml and use `workspace = true`"),
                ));
            }
        }
    }
    Ok(found)
}

fn at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))
}

/// A dependency's reason stands behind it on its line, or above the group it belongs to.
fn reasons(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut inside = false;
    let mut group_has_reason = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            group_has_reason = false;
        } else if line.is_empty() {
            group_has_reason = false;
        } else if line.starts_with('#') {
            group_has_reason = true;
        } else if inside && !group_has_reason && !line.contains(" # ") && !line.contains("path = ") {
            let name = line.split(['=', '.', ' ']).next().unwrap_or(line);
            found.push(Finding::new(
                format!("Cargo.toml:{}", number + 1),
                format!("{name}: say in a comment why it is here"),
            ));
        }
    }
    found
}
