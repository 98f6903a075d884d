//! Attributes of all nodes by column, each value as a small number, so that a selector is read once for each distinct
//! combination of the values it asks for and not once for each node.

use std::collections::BTreeMap;

use skerry_types::Attributes;

use crate::classes::Classes;

/// The number of a value in its column. 0 says that the node lacks the attribute.
pub(crate) type ValueId = u32;
pub(crate) const MISSING: ValueId = 0;

/// All attributes of all nodes; row `i` is the node in slot `i`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    columns: BTreeMap<String, Column>,
    rows: usize,
}

#[derive(Debug, Clone, Default)]
struct Column {
    ids: Vec<ValueId>,
    values: Vec<String>,
    numbers: BTreeMap<String, ValueId>,
}

/// Some of the columns, found once.
pub(crate) struct Selected<'a> {
    columns: Vec<(&'a str, &'a Column)>,
}

impl<'a> Selected<'a> {
    /// The value of `key` at the node in `slot`, if it has one and `key` was selected.
    pub(crate) fn value(&self, key: &str, slot: usize) -> Option<&'a str> {
        let (_, column) = self.columns.iter().find(|(known, _)| *known == key)?;
        column.value(column.ids[slot])
    }

    /// The numbers of the values that the node in `slot` has of these keys.
    pub(crate) fn ids(&self, keys: &[String], slot: usize) -> Vec<ValueId> {
        let column = |key: &String| self.columns.iter().find(|(known, _)| known == key);
        keys.iter().map(|key| column(key).map_or(MISSING, |(_, column)| column.ids[slot])).collect()
    }
}

impl Columns {
    /// Makes room for a node at `slot`; those from there on move up.
    pub(crate) fn insert_row(&mut self, slot: usize) {
        self.rows += 1;
        for column in self.columns.values_mut() {
            column.ids.insert(slot, MISSING);
        }
    }

    /// Takes the node at `slot` out; those after it move down.
    pub(crate) fn remove_row(&mut self, slot: usize) {
        self.rows -= 1;
        for column in self.columns.values_mut() {
            column.ids.remove(slot);
        }
        self.columns.retain(|_, column| column.ids.iter().any(|id| *id != MISSING));
    }

    /// Replaces the attributes of the node at `slot`. False when they are what they were.
    pub(crate) fn set_row(&mut self, slot: usize, attributes: &Attributes) -> bool {
        let mut changed = false;
        for (key, column) in &mut self.columns {
            let id = attributes.get(key).map_or(MISSING, |value| column.number(value));
            changed |= column.ids[slot] != id;
            column.ids[slot] = id;
        }
        for (key, value) in attributes {
            if !self.columns.contains_key(key) {
                let mut column = Column { ids: vec![MISSING; self.rows], ..Column::default() };
                column.ids[slot] = column.number(value);
                self.columns.insert(key.clone(), column);
                changed = true;
            }
        }
        changed
    }

    /// The attributes of the node at `slot`.
    pub(crate) fn row(&self, slot: usize) -> Attributes {
        let value = |(key, column): (&String, &Column)| {
            Some((key.clone(), column.value(column.ids[slot])?.to_owned()))
        };
        self.columns.iter().filter_map(value).collect()
    }

    /// The number of the value that the node at `slot` has of `key`.
    pub(crate) fn id(&self, key: &str, slot: usize) -> ValueId {
        self.columns.get(key).map_or(MISSING, |column| column.ids[slot])
    }

    /// Whether any node has `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.columns.contains_key(key)
    }

    /// How many numbers the values of `key` have, the missing one included.
    pub(crate) fn numbers(&self, key: &str) -> usize {
        self.columns.get(key).map_or(1, |column| column.values.len() + 1)
    }

    /// The columns of `keys`.
    pub(crate) fn selected<'a>(&'a self, keys: impl Iterator<Item = &'a str>) -> Selected<'a> {
        let mut columns: Vec<(&str, &Column)> =
            keys.filter_map(|key| self.columns.get(key).map(|column| (key, column))).collect();
        columns.sort_unstable_by_key(|(key, _)| *key);
        columns.dedup_by_key(|(key, _)| *key);
        Selected { columns }
    }

    /// Sorts all nodes into classes that have the same values of the selected keys.
    pub(crate) fn classes(&self, selected: &Selected<'_>) -> Classes {
        let split = |classes: Classes, (_, column): &(&str, &Column)| {
            classes.split(&column.ids, column.values.len() + 1)
        };
        selected.columns.iter().fold(Classes::one(self.rows), split)
    }
}

impl Column {
    fn number(&mut self, value: &str) -> ValueId {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        self.values.push(value.to_owned());
        let number = ValueId::try_from(self.values.len()).expect("a region has fewer than 2^32 values");
        self.numbers.insert(value.to_owned(), number);
        number
    }

    fn value(&self, number: ValueId) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.values.get(index).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nodes_of_the_same_values_are_one_class() {
        let mut columns = Columns::default();
        let rows = [
            attributes(&[("a", "1"), ("b", "x")]),
            attributes(&[("a", "1")]),
            attributes(&[("a", "2"), ("b", "x")]),
            attributes(&[("a", "1"), ("b", "x"), ("c", "odd")]),
        ];
        for row in &rows {
            columns.insert_row(0);
            columns.set_row(0, row);
        }
        let check = |columns: &Columns, keys: &[&str], expect: &[usize]| {
            let classes = columns.classes(&columns.selected(keys.iter().copied()));
            let of: Vec<usize> = (0..expect.len()).map(|slot| classes.of(slot)).collect();
            assert_eq!(of, expect, "{keys:?}");
        };
        // The last row is first.
        check(&columns, &["a", "b"], &[0, 1, 2, 0]);
        check(&columns, &[], &[0; 4]);
        check(&columns, &["no such key"], &[0; 4]);
        let selected = columns.selected(["b", "a", "b"].into_iter());
        assert_eq!((selected.value("a", 1), selected.value("c", 0)), (Some("2"), None));
        assert_eq!(selected.ids(&["b".to_owned(), "d".to_owned()], 2), [MISSING, MISSING]);
        columns.remove_row(1);
        check(&columns, &["a", "b"], &[0, 1, 0]);
    }
}
