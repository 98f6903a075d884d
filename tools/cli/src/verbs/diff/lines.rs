//! The difference of two texts, line by line. Pure.

use crate::print::plain;

/// Lines shown before and after a change.
const CONTEXT: usize = 3;
/// Largest table of the comparison, in cells: two texts of 4,000 lines that have nothing in common at either end. Beyond that
/// the middle is shown as replaced.
const CELLS_MAX: usize = 16_000_000;

/// A line of either text or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'t> {
    Same(&'t str),
    Gone(&'t str),
    Fresh(&'t str),
}

/// The change from `old` to `new` in the unified form, or nothing when they are the same.
pub(super) fn unified(name: &str, old: &str, new: &str, color: bool) -> String {
    if old == new {
        return String::new();
    }
    let lines = compare(&old.lines().collect::<Vec<&str>>(), &new.lines().collect::<Vec<&str>>());
    let from = if old.is_empty() { "(none)" } else { "as the master has it" };
    let mut text = format!("--- {name} {from}\n+++ {name} as in the file\n");
    let mut shown_to = 0;
    for (at, line) in lines.iter().enumerate() {
        let near = near_change(&lines, at);
        if !near {
            continue;
        }
        if at > shown_to || at == 0 {
            text.push_str(&hunk_head(&lines, at));
        }
        shown_to = at + 1;
        let (mark, content, code) = match line {
            Line::Same(content) => (" ", content, None),
            Line::Gone(content) => ("-", content, Some("\x1b[31m")),
            Line::Fresh(content) => ("+", content, Some("\x1b[32m")),
        };
        let (on, off) = code.filter(|_| color).map_or(("", ""), |code| (code, "\x1b[0m"));
        text.extend([on, mark, plain(content).as_str(), off, "\n"]);
    }
    text
}

/// Whether a line is a change or near one.
fn near_change(lines: &[Line<'_>], at: usize) -> bool {
    let from = at.saturating_sub(CONTEXT);
    let to = (at + CONTEXT + 1).min(lines.len());
    lines[from..to].iter().any(|line| !matches!(line, Line::Same(_)))
}

/// Where the lines that follow stand in both texts.
fn hunk_head(lines: &[Line<'_>], at: usize) -> String {
    let old = lines[..at].iter().filter(|line| !matches!(line, Line::Fresh(_))).count();
    let new = lines[..at].iter().filter(|line| !matches!(line, Line::Gone(_))).count();
    format!("@@ line {} -> line {} @@\n", old + 1, new + 1)
}

/// All lines of both texts in order, with as many of them the same as can be.
fn compare<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Line<'t>> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old_middle, new_middle) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    let mut lines: Vec<Line<'t>> = old[..head].iter().map(|line| Line::Same(line)).collect();
    lines.extend(middle(old_middle, new_middle));
    lines.extend(old_rest[old_rest.len() - tail..].iter().map(|line| Line::Same(line)));
    lines
}

/// By the longest common subsequence, over a table of how long it is from each pair of places on.
fn middle<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Line<'t>> {
    let width = new.len() + 1;
    if (old.len() + 1).saturating_mul(width) > CELLS_MAX {
        let gone = old.iter().map(|line| Line::Gone(line));
        return gone.chain(new.iter().map(|line| Line::Fresh(line))).collect();
    }
    let mut common = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::with_capacity(old.len() + new.len());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            lines.push(Line::Gone(old[i]));
            i += 1;
        } else {
            lines.push(Line::Fresh(new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, new: &str, expect: &str) {
        let text = unified("workload/web", old, new, false);
        let body: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(body.join("|"), expect, "\n{text}");
    }

    #[test]
    fn changes_stand_with_a_few_lines_around_them() {
        assert_eq!(unified("web", "a\n", "a\n", false), "");
        check("a\nb\nc\n", "a\nx\nc\n", "@@ line 1 -> line 1 @@| a|-b|+x| c");
        check("", "a\nb\n", "@@ line 1 -> line 1 @@|+a|+b");
        check("a\nb\n", "b\n", "@@ line 1 -> line 1 @@|-a| b");
        check(
            "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n",
            "1\nx\n3\n4\n5\n6\n7\n8\n9\n10\n11\ny\n",
            "@@ line 1 -> line 1 @@| 1|-2|+x| 3| 4| 5|@@ line 9 -> line 9 @@| 9| 10| 11|-12|+y",
        );
    }

    #[test]
    fn both_texts_can_be_read_out_of_the_lines() {
        let texts =
            [("a b c d", "b x d"), ("a a a", "a"), ("", "q"), ("k l m", "m l k"), ("a b a b", "b a b a")];
        for (old, new) in texts {
            let (old, new): (Vec<&str>, Vec<&str>) =
                (old.split_whitespace().collect(), new.split_whitespace().collect());
            let lines = compare(&old, &new);
            let side = |fresh: bool| -> Vec<&str> {
                let of = |line: &Line<'_>| match (line, fresh) {
                    (Line::Same(_), _) | (Line::Gone(_), false) | (Line::Fresh(_), true) => true,
                    (Line::Gone(_), true) | (Line::Fresh(_), false) => false,
                };
                let text = |line: &Line<'static>| match *line {
                    Line::Same(text) | Line::Gone(text) | Line::Fresh(text) => text,
                };
                lines.iter().filter(|line| of(line)).map(text).collect()
            };
            assert_eq!((side(false), side(true)), (old, new));
        }
    }
}
