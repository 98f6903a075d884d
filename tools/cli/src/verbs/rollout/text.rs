//! An update as people read it. Pure.

use serde_json::{Value, json};
use skerry_api::v1::{Revision, Rollout};
use skerry_types::WallTime;

use crate::age::{age, ago};
use crate::print::table::{Cell, Tone};

/// Where an update stands, in one line: `generation 3 (from 2) running: 2 of 5 updated, 1 well, wave 1 of 3`.
pub(crate) fn sentence(rollout: &Rollout, now: WallTime) -> String {
    let from = match rollout.from_generation {
        0 => String::new(),
        from => format!(" (from {from})"),
    };
    let counts = counts(rollout);
    let mut text =
        format!("generation {}{from} {}: {counts}", rollout.generation, state_text(&rollout.state));
    if rollout.ended_at_ms > 0 {
        text = format!("{text}, ended {}", ago(now, rollout.ended_at_ms));
    }
    if !rollout.message.is_empty() {
        text = format!("{text}; {}", rollout.message);
    }
    text
}

/// `2 of 5 updated, 1 well, 1 failed, 3 deferred, wave 1 of 3`, without what is nought.
fn counts(rollout: &Rollout) -> String {
    let mut parts = vec![format!("{} of {} updated", rollout.updated, rollout.total)];
    parts.push(format!("{} well", rollout.healthy));
    if rollout.failed > 0 {
        parts.push(format!("{} failed", rollout.failed));
    }
    if rollout.deferred > 0 {
        parts.push(format!("{} not heard from and deferred", rollout.deferred));
    }
    if rollout.wave > 0 && rollout.waves > 1 {
        parts.push(format!("wave {} of {}", rollout.wave, rollout.waves));
    }
    parts.join(", ")
}

/// A state as people say it.
fn state_text(state: &str) -> &str {
    match state {
        "running" => "is going out",
        "paused" => "is paused",
        "waiting_promotion" => "waits for promotion",
        "done" => "is out",
        "reverting" => "is being taken back",
        "failed" => "failed",
        "superseded" => "was overtaken by a newer one",
        other => other,
    }
}

/// The state of a rollout or revision in a table.
pub(super) fn state_cell(state: &str) -> Cell {
    let tone = match state {
        "done" => Tone::Good,
        "failed" => Tone::Bad,
        "superseded" => Tone::Plain,
        _ => Tone::Warning,
    };
    Cell::toned(state.replace('_', " "), tone)
}

/// Generations as rows: which, what became of them, how long ago they were applied and, where it is wide, since when that is so,
/// and the images by which people know them.
pub(super) fn history_rows(revisions: &[Revision], now: WallTime, is_wide: bool) -> Vec<Vec<Cell>> {
    let row = |one: &Revision| {
        let ended = if one.ended_at_ms == 0 { String::new() } else { age(now, one.ended_at_ms) };
        let known =
            [Cell::new(one.generation.to_string()), state_cell(&one.state), Cell::age(age(now, one.at_ms))];
        let ended = is_wide.then(|| Cell::age(ended));
        known.into_iter().chain(ended).chain([Cell::new(images(&one.manifest).join(", "))]).collect()
    };
    revisions.iter().map(row).collect()
}

fn images(manifest: &str) -> Vec<String> {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or(Value::Null);
    let containers = manifest["spec"]["containers"].as_array().cloned().unwrap_or_default();
    containers.iter().filter_map(|one| one["image"].as_str().map(ToOwned::to_owned)).collect()
}

/// A generation for programs, with its manifest as a value.
pub(super) fn history_document(one: &Revision) -> Value {
    let manifest: Value =
        serde_json::from_str(&one.manifest).unwrap_or_else(|_| Value::String(one.manifest.clone()));
    json!({
        "generation": one.generation,
        "at_ms": one.at_ms,
        "state": one.state,
        "ended_at_ms": one.ended_at_ms,
        "manifest": manifest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(10_000_000);

    fn rollout(state: &str) -> Rollout {
        Rollout {
            generation: 3,
            from_generation: 2,
            state: state.to_owned(),
            updated: 2,
            healthy: 1,
            total: 5,
            ..Rollout::default()
        }
    }

    #[test]
    fn where_an_update_stands_is_one_line() {
        let check = |rollout: &Rollout, expect: &str| assert_eq!(sentence(rollout, NOW), expect);
        check(&rollout("running"), "generation 3 (from 2) is going out: 2 of 5 updated, 1 well");
        check(
            &Rollout { wave: 1, waves: 3, deferred: 4, failed: 1, ..rollout("paused") },
            "generation 3 (from 2) is paused: 2 of 5 updated, 1 well, 1 failed, 4 not heard from and deferred, wave 1 of 3",
        );
        check(
            &Rollout {
                from_generation: 0,
                ended_at_ms: NOW.0 - 120_000,
                message: "no instance became well within 10m".to_owned(),
                ..rollout("failed")
            },
            "generation 3 failed: 2 of 5 updated, 1 well, ended 2m ago; no instance became well within 10m",
        );
    }

    #[test]
    fn revisions_are_known_by_their_images() {
        let one = Revision {
            generation: 2,
            at_ms: NOW.0 - 3_600_000,
            state: "waiting_promotion".to_owned(),
            manifest: r#"{"spec":{"containers":[{"image":"registry.example/a:1"},{"image":"registry.example/b:2"}]}}"#
                .to_owned(),
            ended_at_ms: 0,
        };
        let rows = history_rows(std::slice::from_ref(&one), NOW, false);
        let texts: Vec<&str> = rows[0].iter().map(Cell::shown).collect();
        assert_eq!(texts, ["2", "waiting promotion", "1h", "registry.example/a:1, registry.example/b:2"]);
        let done = Revision { state: "done".to_owned(), ended_at_ms: NOW.0 - 120_000, ..one.clone() };
        assert_eq!(history_rows(&[done], NOW, true)[0][3].shown(), "2m");
        assert_eq!(
            history_document(&one)["manifest"]["spec"]["containers"][0]["image"],
            "registry.example/a:1"
        );
    }
}
