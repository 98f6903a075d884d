//! Attributes of all nodes by column, each value as a small number, so that a selector is read once for each distinct
//! combination of the values it asks for and not once for each node.

use std::collections::BTreeMap;

use skerry_types::Attributes;

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

/// Which nodes have the same values of some attributes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Classes {
    // Empty when all nodes are of one class.
    of_slot: Vec<usize>,
    /// The values of each class, in the order of the keys that were asked for.
    pub(crate) values: Vec<Vec<ValueId>>,
}

impl Classes {
    /// The class of the node in `slot`.
    pub(crate) fn of(&self, slot: usize) -> usize {
        self.of_slot.get(slot).copied().unwrap_or_default()
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

    /// How many numbers the values of `key` have, the missing one included.
    pub(crate) fn numbers(&self, key: &str) -> usize {
        self.columns.get(key).map_or(1, |column| column.values.len() + 1)
    }

    /// Sorts all nodes into classes that have the same values of `keys`. Without keys all nodes are of one class.
    pub(crate) fn classes(&self, keys: &[&str]) -> Classes {
        if keys.is_empty() {
            return Classes { of_slot: Vec::new(), values: vec![Vec::new()] };
        }
        let columns: Vec<Option<&Column>> = keys.iter().map(|key| self.columns.get(*key)).collect();
        let id = |column: Option<&Column>, slot: usize| column.map_or(MISSING, |column| column.ids[slot]);
        let mut classes = Classes { of_slot: Vec::with_capacity(self.rows), values: Vec::new() };
        let mut known: BTreeMap<Vec<ValueId>, usize> = BTreeMap::new();
        let mut values = vec![MISSING; keys.len()];
        let mut last = None;
        for slot in 0..self.rows {
            let mut same = true;
            for (value, column) in values.iter_mut().zip(&columns) {
                let id = id(*column, slot);
                same &= *value == id;
                *value = id;
            }
            // Neighbours by name are often of one site and make.
            let class = match last {
                Some(class) if same => class,
                _ => *known.entry(values.clone()).or_insert_with(|| {
                    classes.values.push(values.clone());
                    classes.values.len() - 1
                }),
            };
            last = Some(class);
            classes.of_slot.push(class);
        }
        classes
    }

    /// The attributes that a class of `keys` has.
    pub(crate) fn attributes(&self, keys: &[&str], values: &[ValueId]) -> Attributes {
        keys.iter()
            .zip(values)
            .filter_map(|(key, id)| {
                let value = self.columns.get(*key)?.value(*id)?;
                Some(((*key).to_owned(), value.to_owned()))
            })
            .collect()
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
        let classes = columns.classes(&["a", "b"]);
        assert_eq!(classes.of_slot, [0, 1, 2, 0], "the last row is first");
        assert_eq!(
            columns.attributes(&["a", "b"], &classes.values[0]),
            attributes(&[("a", "1"), ("b", "x")])
        );
        assert_eq!(columns.attributes(&["a", "b"], &classes.values[2]), attributes(&[("a", "1")]));
        assert_eq!(columns.classes(&[]).values.len(), 1);
        assert_eq!(columns.classes(&["no such key"]).of_slot, [0, 0, 0, 0]);
        columns.remove_row(1);
        assert_eq!(columns.classes(&["a", "b"]).of_slot, [0, 1, 0]);
    }
}
