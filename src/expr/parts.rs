//! A condition taken apart in its author's own words: the parts of a conjunction, the sides of a comparison.
//! Only what `unit::expression` reads is taken apart, so that its tokens are all there are.

use std::ops::Range;

use crate::unit::expression::tokens::{self, Token};

/// The parts of a conjunction at the top, in their order; brackets around the whole are taken off.
pub(crate) fn conjuncts(source: &str) -> Vec<&str> {
    let source = bare(source);
    let top = top_operators(source);
    // Both bind looser than `&&`.
    if top.iter().any(|(_, operator)| matches!(*operator, "||" | "?")) {
        return vec![source];
    }
    let mut parts = Vec::new();
    let mut begin = 0;
    for (range, _) in top.iter().filter(|(_, operator)| *operator == "&&") {
        parts.push(source.get(begin..range.start).unwrap_or_default());
        begin = range.end;
    }
    if parts.is_empty() {
        return vec![source];
    }
    parts.push(source.get(begin..).unwrap_or_default());
    parts.into_iter().flat_map(conjuncts).collect()
}

/// Left side and right side, where a comparison of the two is all that `part` is.
pub(crate) fn comparison(part: &str) -> Option<(&str, &str)> {
    let top = top_operators(part);
    if top.iter().any(|(_, operator)| matches!(*operator, "||" | "&&" | "?")) {
        return None;
    }
    let mut cuts = top.iter().filter(|(_, operator)| COMPARE.contains(operator));
    let (cut, _) = cuts.next()?;
    if cuts.next().is_some() {
        return None;
    }
    Some((part.get(..cut.start)?.trim(), part.get(cut.end..)?.trim()))
}

/// What `part` denies, where that is all that it does.
pub(crate) fn denied(part: &str) -> Option<&str> {
    part.strip_prefix('!').filter(|inner| is_one(inner.trim_start_matches('!')))
}

/// What `side` gives the size of, where that is all that it does.
pub(crate) fn sized(side: &str) -> Option<&str> {
    let of_call = side.strip_prefix("size").map(str::trim_start).filter(|rest| is_in_brackets(rest));
    of_call.map(bare).or_else(|| side.strip_suffix(".size()").filter(|of| is_one(of)))
}

/// Without the brackets around all of it.
pub(crate) fn bare(source: &str) -> &str {
    let mut source = source.trim();
    while is_in_brackets(source) {
        let inner = source.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        source = inner.unwrap_or_default().trim();
    }
    source
}

/// True for what speaks of no fact: `90.0`, `['a', 'b']`.
pub(crate) fn is_literal(side: &str) -> bool {
    let written = |(range, token)| (token == Token::Word).then(|| side.get(range).unwrap_or_default());
    tokens::all(side).into_iter().filter_map(written).all(|word| matches!(word, "true" | "false" | "null"))
}

/// One line, as it is shown.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// True for a path, a call or a literal: operators, if any, stand in its brackets.
fn is_one(text: &str) -> bool {
    top_operators(text).iter().all(|(_, operator)| *operator == ".")
}

/// True when the bracket that it begins with is closed by the one that it ends with.
fn is_in_brackets(text: &str) -> bool {
    let mut depth = 0_usize;
    for (range, token) in tokens::all(text) {
        match token {
            Token::Open(bracket) if depth > 0 || bracket == '(' => depth = depth.saturating_add(1),
            Token::Close(_) if depth == 1 => return range.end == text.len(),
            Token::Close(_) if depth > 1 => depth = depth.saturating_sub(1),
            Token::Open(_) | Token::Close(_) => return false,
            Token::Word | Token::Number | Token::Text | Token::Operator | Token::Separator => {
                if depth == 0 {
                    return false;
                }
            }
        }
    }
    false
}

/// The operators outside all brackets.
fn top_operators(text: &str) -> Vec<(Range<usize>, &str)> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (range, token) in tokens::all(text) {
        match token {
            Token::Open(_) => depth = depth.saturating_add(1),
            Token::Close(_) => depth = depth.saturating_sub(1),
            Token::Operator if depth == 0 => {
                let written = text.get(range.clone()).unwrap_or_default();
                found.push((range, written));
            }
            Token::Word | Token::Number | Token::Text | Token::Operator | Token::Separator => {}
        }
    }
    found
}

const COMPARE: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "in"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conjunction_is_taken_apart_where_it_may_be() {
        assert_eq!(conjuncts("a && b&&c"), ["a", "b", "c"]);
        assert_eq!(conjuncts("((a && (b && c)))"), ["a", "b", "c"]);
        assert_eq!(conjuncts("a && b || c"), ["a && b || c"]);
        assert_eq!(conjuncts("a && b ? c : d"), ["a && b ? c : d"]);
        assert_eq!(
            conjuncts("x == 'a && b' && l.all(m, m.a && m.b)"),
            ["x == 'a && b'", "l.all(m, m.a && m.b)"]
        );
        assert_eq!(conjuncts("(a || b) && c"), ["a || b", "c"]);
        assert_eq!(conjuncts("(a) && (b)"), ["a", "b"]);
        assert_eq!(conjuncts("[a && b] == c"), ["[a && b] == c"]);
    }

    #[test]
    fn a_comparison_has_two_sides() {
        assert_eq!(comparison("size(json.a) > 0"), Some(("size(json.a)", "0")));
        assert_eq!(comparison("'<' in x"), Some(("'<'", "x")));
        assert_eq!(comparison("f(a < b)"), None);
        assert_eq!(comparison("integer == 1"), Some(("integer", "1")));
        assert_eq!(comparison("a == b == c"), None);
    }

    #[test]
    fn only_what_is_said_of_the_whole_is_said_of_it() {
        assert_eq!(denied("!a.b(c || d)"), Some("a.b(c || d)"));
        assert_eq!(denied("!a || b"), None);
        assert_eq!(sized("size(a)"), Some("a"));
        assert_eq!(sized("size(a) + size(b)"), None);
        assert_eq!(sized("a.b.size()"), Some("a.b"));
        assert_eq!(sized("n + a.size()"), None);
        assert!(is_literal("-1.5") && is_literal("['a', 'b']") && is_literal("null"));
        assert!(!is_literal("'a' + b"));
    }
}
