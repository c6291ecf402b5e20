//! What lines of a log have in common when numbers are left out of account.

/// Words that tell a complaint from chatter.
const COMPLAINTS: &[&str] = &[
    "error",
    "fatal",
    "panic",
    "exception",
    "traceback",
    "failed",
    "failure",
    "cannot",
    "could not",
    "unable to",
    "refused",
    "denied",
    "critical",
    "segfault",
    "emerg",
];

/// The line with every run of digits replaced by `#`, so that times, ports and pids do not tell it from its like.
/// Hexadecimal runs of some length count as numbers: addresses and ids.
pub(super) fn mask(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut words = line.chars().peekable();
    while let Some(first) = words.next() {
        if !first.is_ascii_alphanumeric() {
            masked.push(first);
            continue;
        }
        let mut word = String::from(first);
        while let Some(next) = words.next_if(char::is_ascii_alphanumeric) {
            word.push(next);
        }
        mask_word(&word, &mut masked);
    }
    masked
}

fn mask_word(word: &str, masked: &mut String) {
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let is_hex = has_digit && digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        masked.push('#');
        return;
    }
    for c in word.chars() {
        if !c.is_ascii_digit() {
            masked.push(c);
        } else if !masked.ends_with('#') {
            masked.push('#');
        }
    }
}

pub(super) fn is_complaint(line: &str) -> bool {
    let lower = line.to_lowercase();
    // `0 errors`, `error_log`, `no error` are no complaints.
    let is_harmless = ["no error", "0 error", "error_log", "errors=0", "without error"];
    COMPLAINTS.iter().any(|word| lower.contains(word)) && !is_harmless.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_in_numbers_have_one_shape() {
        let table = [
            (
                "2026-11-20 11:00:01 ERROR worker 7: timeout after 350ms",
                "#-#-# #:#:# ERROR worker #: timeout after #ms",
            ),
            ("request 9f86d081884c failed at 0x7ffe12ab", "request # failed at #"),
            ("cafe decade", "cafe decade"),
            ("über 5 Äpfel", "über # Äpfel"),
        ];
        for (line, expected) in table {
            assert_eq!(mask(line), expected);
        }
    }

    #[test]
    fn chatter_that_names_errors_is_no_complaint() {
        assert!(is_complaint("FATAL:  the database system is starting up"));
        assert!(!is_complaint("build finished, 0 errors"));
        assert!(!is_complaint("ready to accept connections"));
    }
}
