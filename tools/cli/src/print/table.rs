//! Aligned tables.

use std::fmt::Write as _;

use super::plain;

/// Between two columns.
const GAP: usize = 3;

/// What a cell means, shown as color on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
    /// What must change for a row to be news; `None` when that is the text.
    news: Option<String>,
}

impl Cell {
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: plain(text.as_ref()), tone, news: None }
    }

    /// A cell that holds an age, which changes by itself and so is never news.
    pub(crate) fn age(text: impl AsRef<str>) -> Self {
        Self::new(text).with_news(String::new())
    }

    /// The cell, with what must change of it for its row to be news.
    #[must_use]
    pub(crate) fn with_news(self, news: String) -> Self {
        Self { news: Some(news), ..self }
    }

    /// What must change of it for its row to be news.
    pub(crate) fn news(&self) -> &str {
        self.news.as_deref().unwrap_or(&self.text)
    }

    /// The text, with `-` for nothing so that columns can be counted by programs.
    pub(crate) fn shown(&self) -> &str {
        if self.text.is_empty() { "-" } else { &self.text }
    }
}

/// A table that grows row by row and keeps its widths, so that rows printed later line up with those before.
#[derive(Debug)]
pub(crate) struct Table {
    titles: Vec<&'static str>,
    widths: Vec<usize>,
    color: bool,
}

impl Table {
    pub(crate) fn new(titles: Vec<&'static str>, color: bool) -> Self {
        let widths = titles.iter().map(|title| title.len()).collect();
        Self { titles, widths, color }
    }

    /// The line of titles, at the widths of `rows`.
    pub(crate) fn head(&mut self, rows: &[Vec<Cell>]) -> String {
        self.widen(rows);
        let cells: Vec<Cell> = self.titles.iter().map(Cell::new).collect();
        self.line(&cells)
    }

    /// Lines for `rows`.
    pub(crate) fn body(&mut self, rows: &[Vec<Cell>]) -> String {
        self.widen(rows);
        rows.iter().map(|row| self.line(row)).collect()
    }

    /// Titles and lines.
    pub(crate) fn whole(&mut self, rows: &[Vec<Cell>]) -> String {
        self.head(rows) + &self.body(rows)
    }

    fn widen(&mut self, rows: &[Vec<Cell>]) {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.shown().chars().count());
            }
        }
    }

    fn line(&self, cells: &[Cell]) -> String {
        let mut line = String::new();
        let last = cells.len().saturating_sub(1);
        for (index, (cell, width)) in cells.iter().zip(&self.widths).enumerate() {
            let text = cell.shown();
            match cell.tone.code().filter(|_| self.color) {
                Some(code) => write!(line, "\x1b[{code}m{text}\x1b[0m"),
                None => write!(line, "{text}"),
            }
            .expect("a string takes any text");
            if index < last {
                let pad = width.saturating_sub(text.chars().count()) + GAP;
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![Cell::new("web"), Cell::toned("running", Tone::Good), Cell::age("5s")],
            vec![Cell::new("a-longer-name"), Cell::new(""), Cell::age("12m")],
        ]
    }

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let text = Table::new(vec!["NAME", "STATE", "AGE"], false).whole(&rows());
        let expect = "\
NAME            STATE     AGE
web             running   5s
a-longer-name   -         12m
";
        assert_eq!(text, expect);
    }

    #[test]
    fn colors_do_not_move_columns() {
        let text = Table::new(vec!["NAME", "STATE", "AGE"], true).body(&rows());
        let first = text.lines().next().unwrap();
        assert_eq!(first, "web             \x1b[32mrunning\x1b[0m   5s");
    }

    #[test]
    fn later_rows_keep_the_widths_of_earlier_ones() {
        let mut table = Table::new(vec!["NAME", "STATE", "AGE"], false);
        table.whole(&rows());
        let later = table.body(&rows()[..1]);
        assert_eq!(later, "web             running   5s\n");
    }

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(Cell::new("a\x1b[2Jb\nc").shown(), "a[2Jb c");
    }
}
