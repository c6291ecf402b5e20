//! Everything that is printed goes through here.

use std::io::{IsTerminal as _, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// To standard output. That nobody reads any more (`| head`) is no error of ours.
pub(crate) fn out(text: &str) {
    quietly(std::io::stdout().lock(), text);
}

/// To standard error.
pub(crate) fn err(text: &str) {
    quietly(std::io::stderr().lock(), text);
}

fn quietly(mut stream: impl Write, text: &str) {
    // Neither stream has another one to complain on.
    drop(stream.write_all(text.as_bytes()).and_then(|()| stream.flush()));
}

/// Colour only for people, and only if they want it.
pub(crate) fn is_coloured() -> bool {
    is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns and rows of the terminal on standard output. `None`: it is none.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Colours for a terminal, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    pub is_on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Plain,
    Good,
    Going,
    Bad,
    Faint,
    Strong,
}

impl Paint {
    pub(crate) fn for_output() -> Self {
        Self { is_on: is_coloured() }
    }

    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Plain => return text.to_owned(),
            Colour::Good => "32",
            Colour::Going => "33",
            Colour::Bad => "1;31",
            Colour::Faint => "2",
            Colour::Strong => "1",
        };
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The colour of a state's name.
pub(crate) fn state_colour(state: &str) -> Colour {
    match state {
        "ready" | "completed" => Colour::Good,
        "waiting" | "starting" | "stopping" => Colour::Going,
        "unhealthy" | "backoff" | "failed" => Colour::Bad,
        _ => Colour::Faint,
    }
}

/// A span in its two largest units: `3m12s`, `2d4h`.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (_, _, _) => format!("{days}d{:02}h", hours % 24),
    }
}

/// How long ago a time in RFC 3339 is.
pub(crate) fn ago(at: &str, now: Timestamp) -> String {
    at.parse::<Timestamp>()
        .map_or_else(|_unreadable| "?".to_owned(), |at| span(now.as_second() - at.as_second()))
}

/// A time in RFC 3339 as the clock on the wall showed it; with the date where that was not today.
pub(crate) fn local(at: &str, now: Timestamp) -> String {
    let Ok(at) = at.parse::<Timestamp>() else { return at.to_owned() };
    let here = TimeZone::system();
    let (at, now) = (at.to_zoned(here.clone()), now.to_zoned(here));
    let format = if at.date() == now.date() { "%H:%M:%S" } else { DATE_AND_TIME };
    at.strftime(format).to_string()
}

/// The same, always with the date.
pub(crate) fn local_date(at: &str) -> String {
    at.parse::<Timestamp>().map_or_else(
        |_unreadable| at.to_owned(),
        |at| at.to_zoned(TimeZone::system()).strftime(DATE_AND_TIME).to_string(),
    )
}

const DATE_AND_TIME: &str = "%Y-%m-%d %H:%M:%S";

/// Text in columns: each as wide as its widest cell, the last one as long as it likes.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    is_right: Vec<bool>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<(String, Colour)>),
    /// Across all columns.
    Heading(String),
}

impl Table {
    /// With these columns; a name with a leading `>` is aligned to the right.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let names = columns.iter().map(|name| (name.trim_start_matches('>').to_owned(), Colour::Faint));
        Self {
            rows: vec![Row::Cells(names.collect())],
            is_right: columns.iter().map(|name| name.starts_with('>')).collect(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<(String, Colour)>) {
        self.rows.push(Row::Cells(cells));
    }

    pub(crate) fn heading(&mut self, text: String) {
        self.rows.push(Row::Heading(text));
    }

    /// One line per row; with a width, no line is longer.
    pub(crate) fn lines(&self, paint: Paint, width: Option<usize>) -> Vec<String> {
        let mut widths = vec![0; self.is_right.len()];
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (cell, widest) in cells.iter().zip(&mut widths) {
                    *widest = (*widest).max(length(&cell.0));
                }
            }
        }
        self.rows
            .iter()
            .map(|row| match row {
                Row::Heading(text) => paint.paint(Colour::Strong, &cut(text, width)),
                Row::Cells(cells) => self.line(cells, &widths, paint, width),
            })
            .collect()
    }

    fn line(
        &self,
        cells: &[(String, Colour)],
        widths: &[usize],
        paint: Paint,
        width: Option<usize>,
    ) -> String {
        let mut line = String::new();
        let mut used = 0;
        for (index, (text, colour)) in cells.iter().enumerate() {
            let is_last = index + 1 == cells.len();
            let gap = if index == 0 { 0 } else { 2 };
            let room = width.map(|width| width.saturating_sub(used + gap));
            if room == Some(0) {
                break;
            }
            let text = cut(text, room);
            let padding = widths[index].saturating_sub(length(&text));
            let (before, after) = if self.is_right[index] { (padding, 0) } else { (0, padding) };
            let after = if is_last { 0 } else { after };
            let painted = paint.paint(*colour, &text);
            line += &format!("{:gap$}{:before$}{painted}{:after$}", "", "", "");
            used += gap + before + length(&text) + after;
        }
        line.truncate(line.trim_end_matches(' ').len());
        line
    }
}

/// Control characters in a reason or a name of ours would move the cursor.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, room: Option<usize>) -> String {
    match room {
        Some(room) if length(text) > room => {
            let kept: String = text.chars().take(room.saturating_sub(1)).collect();
            kept + "…"
        }
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_nothing_is_wider_than_the_terminal() {
        let mut table = Table::new(&["UNIT", ">PID", "REASON"]);
        table.heading("core".into());
        for (unit, pid, reason) in [("a", "1", "fine"), ("longer", "4242", "a reason that is long")] {
            table.row([unit, pid, reason].map(|text| (text.to_owned(), Colour::Plain)).to_vec());
        }
        let plain = Paint { is_on: false };
        assert_eq!(
            table.lines(plain, None),
            ["UNIT     PID  REASON", "core", "a          1  fine", "longer  4242  a reason that is long"]
        );
        for width in 1..40 {
            for line in table.lines(plain, Some(width)) {
                assert!(length(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        let shown = [0, 59, 192, 3600, 7384, 183_600].map(span);
        assert_eq!(shown, ["0s", "59s", "3m12s", "1h00m", "2h03m", "2d03h"]);
        assert_eq!(span(-5), "0s", "a clock that was set back");
    }
}
