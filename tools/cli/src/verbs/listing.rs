//! A list of things in the form that was asked for. Pure: rows in, text out.

use serde_json::Value;
use skerry_types::WallTime;

use crate::args::Output;
use crate::failure::Failure;
use crate::print::document;
use crate::print::table::{Cell, Table};
use crate::rows::{Row, Shown};

/// How a list is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) output: Output,
    /// Whether things of several tenants and regions may be in it.
    pub(crate) all: bool,
    pub(crate) color: bool,
}

impl Style {
    /// Whether a column is shown.
    fn shows(self, shown: Shown) -> bool {
        match shown {
            Shown::Always => true,
            Shown::Wide => self.output == Output::Wide,
            Shown::Tenants => self.all,
            Shown::Regions => self.all || self.output == Output::Wide,
        }
    }

    /// An empty table for things of a kind.
    pub(crate) fn table<T: Row>(self) -> Table {
        let titles = T::COLUMNS.iter().filter(|(_, shown)| self.shows(*shown)).map(|(title, _)| *title);
        Table::new(titles.collect(), self.color)
    }

    /// The cells of a thing that are shown.
    pub(crate) fn cells<T: Row>(self, item: &T, now: WallTime) -> Vec<Cell> {
        let cells = item.cells(now).into_iter().zip(T::COLUMNS);
        cells.filter(|(_, (_, shown))| self.shows(*shown)).map(|(cell, _)| cell).collect()
    }
}

/// A whole list; `single` when one thing was asked for by name, which then stands alone and not in a list.
pub(crate) fn text<T: Row>(
    items: &[T],
    style: Style,
    single: bool,
    now: WallTime,
) -> Result<String, Failure> {
    match style.output {
        Output::Table | Output::Wide => {
            let rows: Vec<Vec<Cell>> = items.iter().map(|item| style.cells(item, now)).collect();
            Ok(style.table::<T>().whole(&rows))
        }
        Output::Name => Ok(items.iter().map(name_line).collect()),
        Output::Json => match items {
            [only] if single => document::json(&only.document()),
            _ => document::json(&Value::Array(items.iter().map(Row::document).collect())),
        },
        Output::Yaml => {
            let texts: Result<Vec<String>, Failure> = items.iter().map(yaml).collect();
            Ok(texts?.join("---\n"))
        }
    }
}

/// One thing as YAML.
pub(crate) fn yaml<T: Row>(item: &T) -> Result<String, Failure> {
    item.yaml().map_or_else(|| document::yaml(&item.document()), Ok)
}

/// `KIND/NAME`, as other verbs take it.
pub(crate) fn name_line<T: Row>(item: &T) -> String {
    format!("{}/{}\n", T::KIND, item.name())
}
