//! Everything that is printed goes through here.

use std::borrow::Cow;
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write};

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

/// Somebody sits there who can be asked.
pub(crate) fn is_conversation() -> bool {
    is_terminal() && std::io::stdin().is_terminal()
}

/// The answer to a question, in lower case. `None`: there is nobody to give one.
pub(crate) fn ask_person(question: &str) -> Option<String> {
    out(question);
    let mut line = String::new();
    let read = std::io::stdin().lock().take(MOST_ANSWER_BYTES).read_line(&mut line).unwrap_or(0);
    if read == 0 {
        out("\n");
    }
    (read > 0).then(|| line.trim().to_lowercase())
}

const MOST_ANSWER_BYTES: u64 = 4096;

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

/// Text in columns: each as wide as its widest cell, the last one as long as it likes. It borrows what it can,
/// and all cells lie in one piece: a table of a thousand units is made in a fraction of a millisecond.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    columns: Vec<Column>,
    rows: Vec<Row>,
    /// Of all rows but headings, one row after the other.
    cells: Vec<Cell<'a>>,
}

#[derive(Debug)]
struct Column {
    is_right: bool,
    widest: usize,
}

#[derive(Debug)]
enum Row {
    Cells,
    /// Never cut: the terminal wraps it.
    Whole,
    /// Across all columns.
    Heading(String),
}

#[derive(Debug)]
pub(crate) struct Cell<'a> {
    text: Cow<'a, str>,
    colour: Colour,
    /// In characters. Small, as there are thousands of cells.
    width: u32,
}

pub(crate) fn cell<'a>(text: impl Into<Cow<'a, str>>, colour: Colour) -> Cell<'a> {
    let text = text.into();
    Cell { width: u32::try_from(length(&text)).unwrap_or(u32::MAX), text, colour }
}

impl Cell<'_> {
    fn width(&self) -> usize {
        usize::try_from(self.width).unwrap_or(usize::MAX)
    }
}

impl<'a> Table<'a> {
    /// With these columns; a name with a leading `>` is aligned to the right.
    pub(crate) fn new<const COLUMNS: usize>(names: [&'a str; COLUMNS]) -> Self {
        let columns = names.iter().map(|name| Column { is_right: name.starts_with('>'), widest: 0 });
        let mut table = Self { columns: columns.collect(), rows: Vec::new(), cells: Vec::new() };
        table.row(names.map(|name| cell(name.trim_start_matches('>'), Colour::Faint)));
        table
    }

    /// A cell for each column.
    pub(crate) fn row<const COLUMNS: usize>(&mut self, cells: [Cell<'a>; COLUMNS]) {
        self.rows.push(Row::Cells);
        self.add(cells);
    }

    /// A row that is shown to its end on the narrowest terminal.
    pub(crate) fn whole_row<const COLUMNS: usize>(&mut self, cells: [Cell<'a>; COLUMNS]) {
        self.rows.push(Row::Whole);
        self.add(cells);
    }

    fn add<const COLUMNS: usize>(&mut self, cells: [Cell<'a>; COLUMNS]) {
        debug_assert_eq!(COLUMNS, self.columns.len());
        for (cell, column) in cells.iter().zip(&mut self.columns) {
            column.widest = column.widest.max(cell.width());
        }
        self.cells.extend(cells);
    }

    pub(crate) fn heading(&mut self, text: String) {
        self.rows.push(Row::Heading(text));
    }

    /// One line per row, each with its end; with a width, no line but a whole row is longer.
    pub(crate) fn text(&self, paint: Paint, width: Option<usize>) -> String {
        let mut text = String::with_capacity(self.rows.len() * USUAL_LINE_BYTES);
        let mut cells = self.cells.chunks(self.columns.len());
        for row in &self.rows {
            match row {
                Row::Heading(heading) => text += &paint.paint(Colour::Strong, &cut(heading, width)),
                Row::Cells => self.write(cells.next().unwrap_or_default(), paint, width, &mut text),
                Row::Whole => self.write(cells.next().unwrap_or_default(), paint, None, &mut text),
            }
            text.push('\n');
        }
        text
    }

    fn write(&self, cells: &[Cell<'a>], paint: Paint, width: Option<usize>, text: &mut String) {
        let mut used = 0;
        for (index, (cell, column)) in cells.iter().zip(&self.columns).enumerate() {
            let gap = if index == 0 { 0 } else { 2 };
            let room = width.map(|width| width.saturating_sub(used + gap));
            if room == Some(0) {
                break;
            }
            let (shown, length) = match room {
                Some(room) if cell.width() > room => (cut(&cell.text, Some(room)), room),
                Some(_) | None => (Cow::Borrowed(&*cell.text), cell.width()),
            };
            let widest = room.map_or(column.widest, |room| column.widest.min(room));
            let padding = widest.saturating_sub(length);
            let (before, after) = if column.is_right { (padding, 0) } else { (0, padding) };
            space(text, gap + before);
            if paint.is_on {
                *text += &paint.paint(cell.colour, &shown);
            } else {
                *text += &shown;
            }
            if index + 1 < cells.len() {
                space(text, after);
            }
            used += gap + before + length + after;
        }
        text.truncate(text.trim_end_matches(' ').len());
    }
}

/// In a table of units.
const USUAL_LINE_BYTES: usize = 96;

fn space(text: &mut String, mut count: usize) {
    const SPACES: &str = "                                ";
    while let Some(rest) = count.checked_sub(SPACES.len()) {
        *text += SPACES;
        count = rest;
    }
    *text += &SPACES[..count];
}

/// Control characters in a reason or a name of ours would move the cursor.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_plain && text.contains(char::is_control) {
        Cow::Owned(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

fn cut(text: &str, room: Option<usize>) -> Cow<'_, str> {
    match room {
        Some(room) if length(text) > room => {
            Cow::Owned(text.chars().take(room.saturating_sub(1)).chain(['…']).collect())
        }
        Some(_) | None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_nothing_is_wider_than_the_terminal() {
        let mut table = Table::new(["UNIT", ">PID", "REASON"]);
        table.heading("core".into());
        for (unit, pid, reason) in [("a", "1", "fine"), ("longer", "4242", "a reason that is long")] {
            table.row([unit, pid, reason].map(|text| cell(text, Colour::Plain)));
        }
        let plain = Paint { is_on: false };
        assert_eq!(
            table.text(plain, None),
            "UNIT     PID  REASON\ncore\na          1  fine\nlonger  4242  a reason that is long\n"
        );
        for width in 1..40 {
            for line in table.text(plain, Some(width)).lines() {
                assert!(length(line) <= width, "{width}: {line}");
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
