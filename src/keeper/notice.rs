//! What a datagram of the notify protocol (sd_notify(3)) asks of who holds descriptors and processes. All
//! else that it says is for the supervisor to read.

/// Longest name of a stored descriptor, as in systemd.
const NAME_BYTES: usize = 255;
/// Of stored descriptors that were given none.
pub(super) const NAMELESS: &str = "stored";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notice<'a> {
    pub(super) is_barrier: bool,
    pub(super) stores: bool,
    pub(super) removes: bool,
    /// A name that a stored descriptor may have.
    pub(super) name: Option<&'a str>,
    pub(super) main_pid: Option<i32>,
    pub(super) shows_ready: bool,
}

/// Without the zero that some senders put at the end. `None`: a zero within makes it no text.
pub(super) fn text_of(datagram: &[u8]) -> Option<&[u8]> {
    let text = datagram.strip_suffix(&[0]).unwrap_or(datagram);
    (!text.contains(&0)).then_some(text)
}

pub(super) fn read(text: &[u8]) -> Notice<'_> {
    let mut notice = Notice { is_barrier: text.trim_ascii_end() == b"BARRIER=1", ..Notice::default() };
    for line in text.split(|byte| *byte == b'\n') {
        match line {
            b"FDSTORE=1" => notice.stores = true,
            b"FDSTOREREMOVE=1" => notice.removes = true,
            b"READY=1" => notice.shows_ready = true,
            _ => {
                if let Some(name) = line.strip_prefix(b"FDNAME=") {
                    notice.name = name_of(name);
                } else if let Some(pid) = line.strip_prefix(b"MAINPID=") {
                    notice.main_pid = std::str::from_utf8(pid).ok().and_then(|pid| pid.parse().ok());
                }
            }
        }
    }
    notice
}

/// Names are told in one list with colons between them.
fn name_of(name: &[u8]) -> Option<&str> {
    let is_fine = |byte: &u8| (byte.is_ascii_graphic() || *byte == b' ') && *byte != b':';
    let name = std::str::from_utf8(name).ok()?;
    (name.len() <= NAME_BYTES && !name.is_empty() && name.as_bytes().iter().all(is_fine)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_concern_us_are_found_among_others() {
        let notice = read(b"STATUS=READY=1 soon\nFDSTORE=1\nFDNAME=a\nFDNAME=conn 7\nMAINPID=12\n");
        let expected = Notice { stores: true, name: Some("conn 7"), main_pid: Some(12), ..Notice::default() };
        assert_eq!(notice, expected);
        assert!(read(b"READY=1").shows_ready && !read(b"READY=0").shows_ready);
        assert!(read(b"BARRIER=1").is_barrier && read(b"BARRIER=1\n").is_barrier);
        assert!(!read(b"BARRIER=1\nREADY=1").is_barrier);
    }

    #[test]
    fn what_makes_no_sense_is_nothing() {
        assert_eq!(text_of(b"READY=1\0"), Some(b"READY=1".as_slice()));
        assert_eq!(text_of(b"READY=1\0X=1"), None);
        for name in [b"a:b".as_slice(), b"", b"\x07", "ä".as_bytes(), &[b'x'; 256]] {
            assert_eq!(read(&[b"FDNAME=", name].concat()).name, None);
        }
        assert_eq!(read(b"MAINPID=-x").main_pid, None);
        assert_eq!(read(b"MAINPID=99999999999").main_pid, None);
    }
}
