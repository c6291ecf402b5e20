//! What is called a secret, and what looks like one.

use crate::unit::diagnostic::{Diagnostic, LITERAL_SECRET};
use crate::unit::names::Draft;
use crate::unit::spec::{Piece, Template};

/// A variable or header with such a word in its name holds a secret.
const HIDDEN: &[&str] =
    &["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "AUTHORIZATION", "COOKIE"];
/// These anywhere in a name, and `KEY` at its end, are a reason to warn.
const WARNED: &[&str] = &["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN"];
/// A name that ends so says where a secret is, or what it is called.
const ABOUT: &[&str] =
    &["_FILE", "_PATH", "_DIR", "_URL", "_URI", "_ID", "_NAME", "_TTL", "_TIMEOUT", "PUBLIC_KEY"];

/// Nobody is shown the value of what is called so; rather too many than too few.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    HIDDEN.iter().any(|word| name.contains(word))
}

/// `scheme://user:password@host`
pub(crate) fn has_password(text: &str) -> bool {
    let rest = text.split_once("://").map(|(_, rest)| rest);
    let user =
        rest.and_then(|rest| rest.split(['/', '?', '#']).next()).and_then(|rest| rest.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.contains(':'))
}

/// A secret in a unit file is in every back-up, in every generation and on every screen that shows the file.
pub(super) fn check(draft: &Draft, out: &mut Vec<Diagnostic>) {
    for (name, value) in draft.unit.environment.iter().flat_map(|variables| &variables.value.0) {
        if looks_secret(name, &value.value) {
            let message = format!("`{name}` looks like a secret, and whoever reads this file reads it");
            out.push(Diagnostic::warning(LITERAL_SECRET, value.place, message).help(
                "put it into a file that only root reads, and name that in `credentials` or `env_file`",
            ));
        }
    }
}

fn looks_secret(name: &str, value: &Template) -> bool {
    let (literal, is_whole) = match value {
        Template::Plain(text) => (text.to_string(), true),
        Template::Pieces(pieces) => (pieces.iter().map(text_of).collect(), false),
    };
    // With a variable in it, it is the variable that may be a secret.
    if has_password(&literal) {
        return is_whole;
    }
    let is_flag = matches!(&*literal, "true" | "false" | "yes" | "no" | "on" | "off");
    let is_path = literal.starts_with(['/', '.']);
    is_whole && is_called_secret(name) && !literal.is_empty() && !is_flag && !is_path
}

/// It is a secret, and does not only say where one is.
fn is_called_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let is_about = ABOUT.iter().any(|end| name.ends_with(end)) || name.contains("TOKENS");
    !is_about && (WARNED.iter().any(|word| name.contains(word)) || name.ends_with("KEY"))
}

/// A line of a unit file for other eyes: the value of each `NAME: value` that is called a secret is left out.
pub fn masked(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(':') {
        shown.push_str(before);
        shown.push(':');
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let key =
            before.trim_end_matches(['"', '\'', ' ']).rsplit(|c| !is_part(c)).next().unwrap_or_default();
        let blank = after.len().saturating_sub(after.trim_start().len());
        let (space, value) = after.split_at(blank);
        let length = if is_called_secret(key) { value_length(value) } else { 0 };
        shown.push_str(space);
        if length > 0 {
            shown.push_str("(hidden)");
        }
        rest = value.get(length..).unwrap_or_default();
    }
    shown + rest
}

/// Of a scalar in one line, in a mapping in braces too.
fn value_length(value: &str) -> usize {
    let end = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            value.get(1..).and_then(|inside| inside.find(quote)).map(|at| at.saturating_add(2))
        }
        Some('{' | '[' | '|' | '>') => return 0,
        Some(_) | None => value.find([',', '}']),
    };
    end.unwrap_or(value.len())
}

fn text_of(piece: &Piece) -> &str {
    match piece {
        Piece::Text(text) => text,
        Piece::Variable { .. } => "x",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_without_the_secrets_in_it() {
        for (line, shown) in [
            ("  DB_PASSWORD: hunter2 # mine", "  DB_PASSWORD: (hidden)"),
            (
                "environment: {TZ: UTC, API_KEY: 'a, b', MODE: x}",
                "environment: {TZ: UTC, API_KEY: (hidden), MODE: x}",
            ),
            ("  \"GH_TOKEN\": \"a:b\"", "  \"GH_TOKEN\": (hidden)"),
            ("webhook: {secret_file: /etc/key}", "webhook: {secret_file: /etc/key}"),
            ("url: http://x:1/y", "url: http://x:1/y"),
            ("password:", "password:"),
        ] {
            assert_eq!(masked(line), shown);
        }
    }

    #[test]
    fn what_is_written_out_and_called_a_secret_looks_like_one() {
        let plain = |name: &str, value: &str| looks_secret(name, &Template::Plain(value.into()));
        for name in
            ["PASSWORD", "db_password", "PGPASSWORD", "CLIENT_SECRET_2", "GH_TOKEN", "API_KEY", "APIKEY"]
        {
            assert!(plain(name, "s3cret"), "{name}");
        }
        for (name, value) in [
            ("PASSWORD", ""),
            ("PASSWORD_FILE", "secrets"),
            ("TLS_KEY", "/etc/ssl/key.pem"),
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("MAX_TOKENS", "4096"),
            ("SECRET_ROTATION", "true"),
            ("KEYBOARD", "de"),
            ("TZ", "UTC"),
        ] {
            assert!(!plain(name, value), "{name}: {value}");
        }
        assert!(plain("DATABASE", "postgres://ops:s3cret@db/x"));
        let variable = Piece::Variable { name: "OUTER".into(), default: None };
        assert!(!looks_secret("PASSWORD", &Template::Pieces(vec![variable])));
    }
}
