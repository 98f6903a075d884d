//! Lists that go on: what changes is printed as it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use skerry_types::WallTime;
use tokio::time::{Instant, sleep, sleep_until};

use super::listing::{self, Style};
use crate::age::{now, short};
use crate::args::Output;
use crate::failure::Failure;
use crate::fetch::{List, Query, list, list_after};
use crate::master::Master;
use crate::print::table::Table;
use crate::print::{document, out, say};
use crate::rows::Row;
use crate::transport::CallError;

/// Shortest time between two lists, so that a busy region is shown a few times a second and no more.
const PACE: Duration = Duration::from_millis(250);
/// First and longest wait before a lost master is asked again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Prints the list, then each change of it, until it is ended.
pub(crate) async fn watch<T: Row>(master: &Master, query: &Query, style: Style) -> Result<(), Failure> {
    let first: List<T> = list(master, query).await?;
    let mut seen = Seen::new(style);
    let mut change = first.change;
    let mut lack = first.lack();
    if let Some(lack) = &lack {
        say(lack);
    }
    out(&seen.first(&first.items, now())?)?;
    loop {
        let earliest = Instant::now() + PACE;
        let next: List<T> = follow(master, query, change).await?;
        change = next.change;
        if next.lack() != lack {
            lack = next.lack();
            say(lack.as_deref().unwrap_or("all regions are heard from again"));
        }
        // What a region that cannot be asked had is not gone.
        let not_heard_from = &next.not_heard_from;
        let changes = seen.changes(&next.items, not_heard_from, now())?;
        changes.gone.iter().for_each(|name| say(&format!("{name} is gone")));
        out(&changes.text)?;
        sleep_until(earliest).await;
    }
}

/// The next list; a master that is gone for a while is asked again until it is back.
async fn follow<T: Row>(master: &Master, query: &Query, change: u64) -> Result<List<T>, CallError> {
    let mut wait = RETRY.0;
    let mut since = change;
    loop {
        match list_after(master, query, since, Duration::MAX).await {
            Err(error) if error.may_pass() => {
                say(&format!("{error}; asking again in {}", short(wait)));
                sleep(wait).await;
                wait = (wait * 2).min(RETRY.1);
                // A master that started again may count from another number: take whatever it has.
                since = 0;
            }
            other => return other,
        }
    }
}

/// Region and name, which tell a thing from all others of its kind.
type Key = (String, String);

/// What was printed of each thing.
struct Seen {
    style: Style,
    table: Option<Table>,
    marks: BTreeMap<Key, String>,
}

/// What is to be printed.
#[derive(Debug, Default)]
struct Changes {
    text: String,
    /// What is no longer there, where the text has no place for them.
    gone: Vec<String>,
}

impl Seen {
    fn new(style: Style) -> Self {
        Self { style, table: None, marks: BTreeMap::new() }
    }

    fn first<T: Row>(&mut self, items: &[T], now: WallTime) -> Result<String, Failure> {
        let mut table = self.style.table::<T>();
        let rows: Vec<_> = items.iter().map(|item| self.style.cells(item, now)).collect();
        let is_table = matches!(self.style.output, Output::Table | Output::Wide);
        let head = if is_table { table.head(&rows) } else { String::new() };
        self.table = Some(table);
        Ok(head + &self.changes(items, &BTreeSet::new(), now)?.text)
    }

    /// What is news. Things of regions that are not heard from keep their marks.
    fn changes<T: Row>(
        &mut self,
        items: &[T],
        not_heard_from: &BTreeSet<String>,
        now: WallTime,
    ) -> Result<Changes, Failure> {
        let mut changes = Changes::default();
        let mut marks = BTreeMap::new();
        for item in items {
            let key = (item.region().to_owned(), item.name());
            let mark = self.mark(item, now);
            if self.marks.get(&key) != Some(&mark) {
                changes.text.push_str(&self.show(item, now)?);
            }
            marks.insert(key, mark);
        }
        let silent = self.marks.iter().filter(|((region, _), _)| not_heard_from.contains(region));
        for (key, mark) in silent {
            marks.entry(key.clone()).or_insert_with(|| mark.clone());
        }
        // Events leave the list when it is full: that is no news of theirs.
        if T::KIND != crate::kind::Kind::Event {
            for (region, name) in self.marks.keys().filter(|key| !marks.contains_key(*key)) {
                let place = if self.style.all && T::KIND.is_in_regions() && !region.is_empty() {
                    format!(" in region '{region}'")
                } else {
                    String::new()
                };
                match self.style.output {
                    Output::Json => changes.text.push_str(&document::json_line(
                        &json!({"gone": format!("{}/{name}", T::KIND), "region": region}),
                    )),
                    _ => changes.gone.push(format!("{}/{name}{place}", T::KIND)),
                }
            }
        }
        self.marks = marks;
        Ok(changes)
    }

    /// What must differ for a thing to be printed again.
    fn mark<T: Row>(&self, item: &T, now: WallTime) -> String {
        match self.style.output {
            Output::Json | Output::Yaml => item.document().to_string(),
            Output::Name => String::new(),
            Output::Table | Output::Wide => {
                let cells = self.style.cells(item, now);
                cells.iter().flat_map(|cell| [cell.news(), "\u{0}"]).collect()
            }
        }
    }

    fn show<T: Row>(&mut self, item: &T, now: WallTime) -> Result<String, Failure> {
        match self.style.output {
            Output::Table | Output::Wide => {
                let row = self.style.cells(item, now);
                let table = self.table.get_or_insert_with(|| self.style.table::<T>());
                Ok(table.body(&[row]))
            }
            Output::Name => Ok(listing::name_line(item)),
            Output::Json => Ok(document::json_line(&item.document())),
            Output::Yaml => Ok(format!("---\n{}", listing::yaml(item)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use skerry_api::v1::Node;

    use super::*;

    const NOW: WallTime = WallTime(10_000_000);

    fn style(output: Output) -> Style {
        Style { output, all: false, color: false }
    }

    fn node(name: &str, reachable: bool, last_seen_ms: u64) -> Node {
        Node { name: name.to_owned(), site: "oslo".to_owned(), reachable, last_seen_ms, ..Node::default() }
    }

    #[test]
    fn only_what_changed_is_printed_and_time_passing_is_no_change() {
        let mut seen = Seen::new(style(Output::Table));
        let first = seen.first(&[node("n1", true, 9_000_000), node("n2", true, 9_000_000)], NOW).unwrap();
        assert_eq!(first.lines().count(), 3, "{first}");
        let later = WallTime(NOW.0 + 500_000);
        let same = seen
            .changes(&[node("n1", true, 9_900_000), node("n2", true, 9_900_000)], &BTreeSet::new(), later)
            .unwrap();
        assert_eq!(same.text, "");
        let cut = seen
            .changes(&[node("n1", true, 9_950_000), node("n2", false, 9_900_000)], &BTreeSet::new(), later)
            .unwrap();
        assert_eq!(cut.text.lines().count(), 1);
        assert!(cut.text.starts_with("n2") && cut.text.contains("unreachable 10m"), "{}", cut.text);
        let longer = seen
            .changes(
                &[node("n1", true, 9_950_000), node("n2", false, 9_900_000)],
                &BTreeSet::new(),
                WallTime(later.0 * 2),
            )
            .unwrap();
        assert_eq!(longer.text, "");
    }

    #[test]
    fn what_is_gone_is_told_once() {
        let mut seen = Seen::new(style(Output::Json));
        let first = seen.first(&[node("n1", true, 1)], NOW).unwrap();
        assert_eq!(first.lines().count(), 1);
        assert_eq!(
            seen.changes::<Node>(&[], &BTreeSet::new(), NOW).unwrap().text,
            "{\"gone\":\"node/n1\",\"region\":\"\"}\n"
        );
        assert_eq!(seen.changes::<Node>(&[], &BTreeSet::new(), NOW).unwrap().text, "");
        let mut seen = Seen::new(style(Output::Table));
        seen.first(&[node("n1", true, 1)], NOW).unwrap();
        assert_eq!(seen.changes::<Node>(&[], &BTreeSet::new(), NOW).unwrap().gone, ["node/n1"]);
    }

    #[test]
    fn what_a_silent_region_had_is_not_gone() {
        let south = |name: &str| Node { region: "south".to_owned(), ..node(name, true, 1) };
        let mut seen = Seen::new(style(Output::Table));
        seen.first(&[node("n1", true, 1), south("s1")], NOW).unwrap();
        let silent = BTreeSet::from(["south".to_owned()]);
        let cut = seen.changes(&[node("n1", true, 1)], &silent, NOW).unwrap();
        assert!(cut.gone.is_empty() && cut.text.is_empty(), "{cut:?}");
        let back = seen.changes(&[node("n1", true, 1)], &BTreeSet::new(), NOW).unwrap();
        assert_eq!(back.gone, ["node/s1"]);
    }
}
