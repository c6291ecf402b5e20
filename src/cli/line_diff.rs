//! Two texts line by line, as `diff -u` shows them.

use crate::cli::render::{Colour, Paint, one_line};
use crate::unit::secret::masked;

/// Lines around each difference.
const CONTEXT: usize = 3;

/// Of the table by which the longest common lines are found; beyond it all lines between are shown as replaced.
const MOST_PAIRS: usize = 4_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    Both(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// `None`: there is no such file.
pub(crate) fn unified(name: &str, before: Option<&str>, after: Option<&str>, paint: Paint) -> String {
    let head = |mark: &str, side: &str, text: Option<&str>| {
        let file = if text.is_some() { format!("{side}/{name}") } else { "/dev/null".to_owned() };
        paint.paint(Colour::Strong, &format!("{mark} {}", one_line(&file))) + "\n"
    };
    let mut text = head("---", "before", before) + &head("+++", "after", after);
    let lines = compared(before.unwrap_or_default(), after.unwrap_or_default());
    let is_near = |at: usize| {
        let from = at.saturating_sub(CONTEXT);
        let to = at.saturating_add(CONTEXT + 1).min(lines.len());
        lines[from..to].iter().any(|line| !matches!(line, Line::Both(_)))
    };
    let (mut old, mut new, mut was_shown) = (1_usize, 1_usize, false);
    for (at, line) in lines.iter().enumerate() {
        let is_shown = is_near(at);
        if is_shown && !was_shown {
            text += &paint.paint(Colour::Faint, &format!("@@ line {old}, now {new} @@"));
            text.push('\n');
        }
        was_shown = is_shown;
        let (mark, colour, content) = match line {
            Line::Both(content) => (" ", Colour::Plain, content),
            Line::Gone(content) => ("-", Colour::Bad, content),
            Line::New(content) => ("+", Colour::Good, content),
        };
        if is_shown {
            text += &paint.paint(colour, &format!("{mark}{}", one_line(&masked(content))));
            text.push('\n');
        }
        old += usize::from(!matches!(line, Line::New(_)));
        new += usize::from(!matches!(line, Line::Gone(_)));
    }
    text
}

fn compared<'a>(before: &'a str, after: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old_middle, new_middle) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    let mut lines: Vec<Line<'a>> = old[..head].iter().map(|line| Line::Both(line)).collect();
    lines.extend(middle(old_middle, new_middle));
    lines.extend(old_rest[old_rest.len() - tail..].iter().map(|line| Line::Both(line)));
    lines
}

/// By the longest list of lines that both have, in their order.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    if old.len().saturating_mul(new.len()) > MOST_PAIRS {
        return old
            .iter()
            .map(|line| Line::Gone(line))
            .chain(new.iter().map(|line| Line::New(line)))
            .collect();
    }
    // `common[i][j]`: how many lines `old[i..]` and `new[j..]` have in common.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::with_capacity(old.len() + new.len());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Both(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(Line::Gone(old[i]));
            i += 1;
        } else {
            lines.push(Line::New(new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint { is_on: false };

    #[test]
    fn only_what_differs_is_shown_with_three_lines_around() {
        let before: String = (1..=20).map(|line| format!("{line}\n")).collect();
        let after = before.replace("\n10\n", "\nten\n10½\n");
        assert_eq!(
            unified("a.yaml", Some(&before), Some(&after), PLAIN),
            "--- before/a.yaml\n+++ after/a.yaml\n@@ line 7, now 7 @@\n 7\n 8\n 9\n-10\n+ten\n+10½\n 11\n 12\n 13\n"
        );
        assert_eq!(
            unified("a.yaml", None, Some("x\n"), PLAIN),
            "--- /dev/null\n+++ after/a.yaml\n@@ line 1, now 1 @@\n+x\n"
        );
    }

    #[test]
    fn what_is_shown_makes_the_one_text_of_the_other() {
        // Every pair of texts of up to four lines out of two.
        let texts: Vec<Vec<&str>> = (0..31_u32)
            .map(|number| {
                let length = (number + 1).ilog2();
                (0..length).map(|bit| if (number + 1) >> bit & 1 == 1 { "a" } else { "b" }).collect()
            })
            .collect();
        for old in &texts {
            for new in &texts {
                let (before, after) = (old.join("\n"), new.join("\n"));
                let lines = compared(&before, &after);
                let side = |is_old: bool| -> Vec<&str> {
                    let kept = |line: &Line<'_>| match line {
                        Line::Both(_) => true,
                        Line::Gone(_) => is_old,
                        Line::New(_) => !is_old,
                    };
                    let kept = lines.iter().copied().filter(kept);
                    kept.map(|(Line::Both(text) | Line::Gone(text) | Line::New(text))| text).collect()
                };
                assert_eq!((side(true), side(false)), (old.clone(), new.clone()));
            }
        }
    }
}
