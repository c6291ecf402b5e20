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

/// Target, name and arguments, where calling a function of a value is all that `part` does.
pub(crate) fn called(part: &str) -> Option<(&str, &str, &str)> {
    if !is_one(part) {
        return None;
    }
    let mut open = Vec::new();
    let mut last = None;
    for (range, token) in tokens::all(part) {
        match token {
            Token::Open(_) => open.push(range.start),
            Token::Close(_) => last = open.pop().filter(|_| range.end == part.len()),
            Token::Word | Token::Number | Token::Text | Token::Operator | Token::Separator => last = None,
        }
    }
    let (before, arguments) = part.strip_suffix(')')?.split_at_checked(last?)?;
    let (of, name) = before.rsplit_once('.')?;
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((of, name, arguments.strip_prefix('(')?))
}

/// What `part` gives to the function of this name, where calling it is all that it does.
pub(crate) fn given_to<'a>(part: &'a str, function: &str) -> Option<&'a str> {
    part.strip_prefix(function).filter(|rest| is_in_brackets(rest)).map(bare)
}

/// The condition of a macro such as `all`, with `place` for each item that it goes through.
pub(crate) fn condition_at(arguments: &str, place: &str) -> Option<String> {
    let (item, condition) = arguments.split_once(',')?;
    let item = item.trim();
    let mut written = String::with_capacity(condition.len());
    let mut end = 0;
    let mut behind_point = false;
    for (range, _) in tokens::all(condition) {
        let token = condition.get(range.clone())?;
        if token == item && !behind_point {
            written.push_str(condition.get(end..range.start)?);
            written.push_str(place);
            end = range.end;
        }
        behind_point = token == ".";
    }
    written.push_str(condition.get(end..)?);
    Some(written.trim().to_owned())
}

/// A path into `output` as a JSON pointer; `None` for all else.
pub(crate) fn pointer(path: &str) -> Option<String> {
    let mut tokens = tokens::all(path).into_iter().map(|(range, token)| (path.get(range), token));
    let (Some("output"), Token::Word) = tokens.next()? else { return None };
    let mut pointer = String::new();
    while let Some((written, token)) = tokens.next() {
        let (step, is_index) = match (written, token) {
            (Some("."), Token::Operator) => (tokens.next()?, false),
            (_, Token::Open('[')) => (tokens.next()?, true),
            _ => return None,
        };
        let step = match step {
            (Some(word), Token::Word) if !is_index => word,
            (Some(number), Token::Number) if is_index => number,
            (Some(text), Token::Text) if is_index => text.trim_matches(['\'', '"']),
            _ => return None,
        };
        pointer.push('/');
        pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        if is_index && !matches!(tokens.next(), Some((_, Token::Close(']')))) {
            return None;
        }
    }
    Some(pointer)
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
    fn a_call_is_taken_apart_and_a_path_is_pointed_at() {
        assert_eq!(called("output.a.all(x, x.b(1))"), Some(("output.a", "all", "x, x.b(1)")));
        assert_eq!(called("a.all(x, x) && b"), None);
        assert_eq!(called("size(a)"), None);
        assert_eq!(called("a.b(c)[0]"), None);
        assert_eq!(pointer("output").as_deref(), Some(""));
        assert_eq!(pointer("output.a[0]['b/c'].d").as_deref(), Some("/a/0/b~1c/d"));
        for other in ["text", "output.a + 1", "size(output)", "output[i]", "output.a()"] {
            assert_eq!(pointer(other), None, "{other}");
        }
    }

    #[test]
    fn the_condition_of_all_is_told_of_one() {
        let told = |arguments: &str| condition_at(arguments, "a[1]").unwrap();
        assert_eq!(told("x, x.b > size(x.x) && f('x')"), "a[1].b > size(a[1].x) && f('x')");
        assert_eq!(told("x, y.all(z, z > x)"), "y.all(z, z > a[1])");
        assert_eq!(given_to("rising(a.b(c))", "rising"), Some("a.b(c)"));
        assert_eq!(given_to("rising(a) || rising(b)", "rising"), None);
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
