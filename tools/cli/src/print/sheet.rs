//! Blocks of labels and values, for `describe`.

use super::plain;
use super::table::{Cell, Table};

/// Text under construction.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    text: String,
    fields: Vec<(String, String)>,
}

impl Sheet {
    /// Begins with a heading.
    pub(crate) fn new(heading: &str) -> Self {
        Self { text: format!("{}\n", plain(heading)), fields: Vec::new() }
    }

    /// A label and its value; nothing when the value is empty. Labels of one block line up.
    pub(crate) fn field(&mut self, label: &str, value: impl AsRef<str>) -> &mut Self {
        if !value.as_ref().is_empty() {
            self.fields.push((label.to_owned(), plain(value.as_ref())));
        }
        self
    }

    /// Ends the block and begins one with a heading.
    pub(crate) fn section(&mut self, heading: &str) -> &mut Self {
        self.flush();
        self.text.extend(["\n", &plain(heading), "\n"]);
        self
    }

    /// A line within the block.
    pub(crate) fn line(&mut self, text: &str) -> &mut Self {
        self.flush();
        self.text.extend(["  ", &plain(text), "\n"]);
        self
    }

    /// Several lines, further in, such as the end of a log. Only line ends are kept of what a terminal would act on.
    pub(crate) fn quote(&mut self, text: &str) -> &mut Self {
        self.flush();
        for line in text.lines() {
            self.text.extend(["    | ", &plain(line), "\n"]);
        }
        self
    }

    /// Lines that are laid out already.
    pub(crate) fn laid_out(&mut self, text: &str) -> &mut Self {
        self.flush();
        for line in text.lines() {
            self.text.extend(["  ", line, "\n"]);
        }
        self
    }

    /// A table within the block, or `none` where there are no rows.
    pub(crate) fn table(&mut self, titles: &[&'static str], rows: &[Vec<Cell>], color: bool) -> &mut Self {
        if rows.is_empty() {
            return self.line("none");
        }
        let text = Table::new(titles.to_vec(), color).whole(rows);
        self.laid_out(&text)
    }

    /// The text.
    pub(crate) fn finish(mut self) -> String {
        self.flush();
        self.text
    }

    fn flush(&mut self) {
        let width = self.fields.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, value) in self.fields.drain(..) {
            self.text.extend([format!("  {label:width$}   "), value, "\n".to_owned()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_line_up_by_themselves() {
        let mut sheet = Sheet::new("node/n1");
        sheet.field("Site", "oslo").field("Certificate", "in 3d").field("Empty", "");
        sheet.section("Taints").line("maintenance").quote("one\ntwo\x1b[2J");
        sheet.section("Allocations").table(&["ID"], &[], false);
        let expect = "\
node/n1
  Site          oslo
  Certificate   in 3d

Taints
  maintenance
    | one
    | two[2J

Allocations
  none
";
        assert_eq!(sheet.finish(), expect);
    }
}
