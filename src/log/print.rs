//! Writes logs for people and for pipes, with bounded memory whatever the units wrote.

use std::io::{self, Write};

/// How one unit's bytes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As they are.
    Exact,
    /// What a terminal could misunderstand is escaped; colours pass.
    Escaped,
}

/// Longest piece of a line that waits for its end while other units write.
const MOST_HELD_BYTES: usize = 64 << 10;

/// Writes what one unit wrote, each line behind a prefix where there is one.
#[derive(Debug)]
pub struct Printer {
    style: Style,
    /// Empty: none, and bytes pass at once instead of line by line.
    prefix: String,
    /// The beginning of a line whose end has not come.
    held: Vec<u8>,
    /// The end of the last piece that may be the first half of a character or of a colour.
    split: Vec<u8>,
}

impl Printer {
    pub fn new(style: Style, prefix: String) -> Self {
        Self { style, prefix, held: Vec::new(), split: Vec::new() }
    }

    /// # Errors
    /// When `out` does not take it.
    pub fn write(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        if self.prefix.is_empty() {
            return self.write_styled(bytes, out);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.held.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.held.len() >= MOST_HELD_BYTES {
                self.write_line(out)?;
            }
        }
        Ok(())
    }

    /// There is nothing more: what was held back is written.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        if !self.held.is_empty() {
            self.write_line(out)?;
        }
        let split = std::mem::take(&mut self.split);
        escape(&split, out)
    }

    fn write_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        let line = std::mem::take(&mut self.held);
        out.write_all(self.prefix.as_bytes())?;
        match self.style {
            Style::Exact => out.write_all(&line)?,
            Style::Escaped => escape(&line, out)?,
        }
        if !line.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn write_styled(&mut self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        match self.style {
            Style::Exact => out.write_all(bytes),
            Style::Escaped => {
                let mut whole = std::mem::take(&mut self.split);
                whole.extend_from_slice(bytes);
                let ready = whole.len() - unfinished(&whole);
                self.split = whole.split_off(ready);
                escape(&whole, out)
            }
        }
    }
}

/// How many bytes at the end may go on in the next piece.
fn unfinished(bytes: &[u8]) -> usize {
    // A colour is short; a character has at most four bytes.
    let tail = &bytes[bytes.len().saturating_sub(24)..];
    if let Some(escape) = tail.iter().rposition(|byte| *byte == 0x1b)
        && colour(&tail[escape..]).is_none()
        && tail[escape + 1..].iter().all(|byte| matches!(byte, b'[' | b';' | b'0'..=b'9'))
    {
        return tail.len() - escape;
    }
    match str::from_utf8(tail) {
        Err(error) if error.error_len().is_none() => tail.len() - error.valid_up_to(),
        // The tail may begin in the middle of a character: only its very end matters.
        _ => (1..=3.min(tail.len()))
            .find(|size| {
                let end = &tail[tail.len() - size..];
                str::from_utf8(end)
                    .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
            })
            .unwrap_or(0),
    }
}

fn escape(bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(is_odd) {
            out.write_all(&rest.as_bytes()[..at])?;
            let odd = &rest[at..];
            let size = match colour(odd.as_bytes()) {
                Some(size) => {
                    out.write_all(&odd.as_bytes()[..size])?;
                    size
                }
                None => write_odd(odd, out)?,
            };
            rest = &odd[size..];
        }
        out.write_all(rest.as_bytes())?;
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Writes the first character of `odd` in words and says how many bytes it had.
fn write_odd(odd: &str, out: &mut impl Write) -> io::Result<usize> {
    let Some(first) = odd.chars().next() else { return Ok(0) };
    // A carriage return before a newline is how other systems end lines.
    if !odd.starts_with("\r\n") {
        match first {
            '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(first))?,
            _ => write!(out, "\\u{{{:x}}}", u32::from(first))?,
        }
    }
    Ok(first.len_utf8())
}

/// Control characters, and those that turn the direction of writing round.
fn is_odd(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// The length of a sequence that sets colours, the only one let through to a terminal.
fn colour(bytes: &[u8]) -> Option<usize> {
    let inner = bytes.strip_prefix(b"\x1b[")?;
    let end = inner.iter().position(|byte| !matches!(byte, b';' | b'0'..=b'9'))?;
    (inner[end] == b'm').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(style: Style, prefix: &str, pieces: &[&[u8]]) -> Vec<u8> {
        let mut printer = Printer::new(style, prefix.to_owned());
        let mut out = Vec::new();
        for piece in pieces {
            printer.write(piece, &mut out).unwrap();
        }
        printer.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn a_pipe_gets_exactly_what_the_unit_wrote() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let pieces: Vec<&[u8]> = bytes.chunks(7).collect();
        assert_eq!(shown(Style::Exact, "", &pieces), bytes);
    }

    #[test]
    fn a_terminal_gets_nothing_that_it_could_obey_but_colours() {
        let out = shown(Style::Escaped, "", &[b"a\0b\xffc\x1b[2J\x1b[31mred\x1b[0m\r\n\xe2\x80\xae"]);
        assert_eq!(out, b"a\\x00b\\xffc\\x1b[2J\x1b[31mred\x1b[0m\n\\u{202e}");
    }

    #[test]
    fn pieces_cut_anywhere_are_shown_as_if_they_came_whole() {
        let text = "grün \u{1f600} \x1b[1;31mrot\x1b[0m €\n".as_bytes();
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let pieces = [&text[..cut], &text[cut..second], &text[second..]];
                assert_eq!(shown(Style::Escaped, "", &pieces), text, "cut at {cut} and {second}");
            }
        }
    }

    #[test]
    fn lines_of_several_units_do_not_mix_and_a_huge_one_is_cut() {
        let mut a = Printer::new(Style::Exact, "a | ".into());
        let mut b = Printer::new(Style::Exact, "b | ".into());
        let mut out = Vec::new();
        a.write(b"one ", &mut out).unwrap();
        b.write(b"two\n", &mut out).unwrap();
        a.write(b"three\nfour", &mut out).unwrap();
        a.finish(&mut out).unwrap();
        assert_eq!(out, b"b | two\na | one three\na | four\n");
        let mut held = 0;
        for _ in 0..100 {
            b.write(&[b'x'; 10_000], &mut out).unwrap();
            held = held.max(b.held.len());
        }
        assert!(held <= MOST_HELD_BYTES + 10_000, "held {held} bytes");
    }
}
