//! `STATE/audit.jsonl`: who changed what, when, and from where; one line each, never rewritten. Best effort: a change does
//! not fail for it, but whoever made it is told.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;

use crate::generation::manifest::Who;

const FILE: &str = "audit.jsonl";

#[derive(Debug, Serialize)]
struct Line<'a> {
    /// Since 1970.
    at_millis: u64,
    /// `kept`, `pending`, `approved`, `committed`, `rejected`, `rolled-back`
    what: &'a str,
    generation: u64,
    who: &'a Who,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'a str,
}

/// # Errors
/// When it cannot be written.
pub(crate) fn note(
    state: &Path,
    at_millis: u64,
    (what, generation): (&str, u64),
    who: &Who,
    why: &str,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Line { at_millis, what, generation, who, why })?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(state.join(FILE))?;
    // In one piece: a line is there or it is not.
    file.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aside::files::whole;

    #[test]
    fn each_deed_is_a_line_of_its_own_with_who_and_why() {
        let state = std::env::temp_dir().join(format!("mcsup-audit-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        let who = Who { uid: 1000, user: "ana".into(), pid: 7, from: "the control socket".into() };
        note(&state, 5, ("pending", 41), &who, "it changes db").unwrap();
        note(&state, 6, ("approved", 41), &Who::default(), "").unwrap();
        let text = String::from_utf8(whole(&state.join(FILE), 10_000).unwrap()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> =
            lines.iter().map(|line| (&line["what"], &line["who"]["user"], &line["why"])).collect();
        let null = serde_json::Value::Null;
        let of = |text: &str| serde_json::Value::from(text);
        assert_eq!(
            told,
            [(&of("pending"), &of("ana"), &of("it changes db")), (&of("approved"), &of(""), &null)]
        );
        std::fs::remove_dir_all(&state).unwrap();
    }
}
