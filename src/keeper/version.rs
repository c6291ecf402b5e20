//! What this executable calls its version: in its answers, and to the one that it is to replace.

use std::hint::black_box;

/// A place in the file that can be found from outside: whoever wants to know the version of an executable that it
/// cannot run looks for the words in front. After the number come zeros.
#[used]
static MARK: [u8; MARK_BYTES] = mark();

const MARK_BYTES: usize = 64;
const WORDS: &[u8] = b"mcsup executable version: ";

const fn mark() -> [u8; MARK_BYTES] {
    let number = env!("CARGO_PKG_VERSION").as_bytes();
    let mut bytes = [0; MARK_BYTES];
    let (words, rest) = bytes.split_at_mut(WORDS.len());
    words.copy_from_slice(WORDS);
    rest.split_at_mut(number.len()).0.copy_from_slice(number);
    bytes
}

/// Such as `0.1.0`.
pub fn text() -> &'static str {
    // Read from the file, not from what the compiler knows of it.
    let number = black_box(&MARK).strip_prefix(WORDS).unwrap_or_default();
    let end = number.iter().position(|byte| *byte == 0).unwrap_or(number.len());
    number.get(..end).and_then(|number| std::str::from_utf8(number).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_that_of_the_package() {
        assert_eq!(super::text(), env!("CARGO_PKG_VERSION"));
    }
}
