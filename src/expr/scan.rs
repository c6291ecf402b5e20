//! The words of an expression, read before any parser sees it: enough to keep it within its bounds and to
//! take a conjunction apart in its author's own words.

/// Longest text of an expression in bytes.
pub const MOST_BYTES: usize = 2048;
/// Brackets within brackets.
pub const DEEPEST: usize = 16;
/// Operators in one expression; what bounds the depth of a parsed tree beside its brackets.
pub const MOST_OPERATORS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name, number, text or dot: nothing that is looked for.
    Plain,
    Operator,
    Open,
    Close,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) start: usize,
    /// Brackets open around it.
    pub(crate) depth: usize,
}

/// Refuses what a parser should not even be given.
///
/// # Errors
/// A sentence about the bound that is broken.
pub(crate) fn check(source: &str) -> Result<(), String> {
    if source.len() > MOST_BYTES {
        return Err(format!("it has {} bytes, at most {MOST_BYTES} are read", source.len()));
    }
    let tokens = tokens(source);
    let deepest = tokens.iter().map(|token| token.depth).max().unwrap_or(0);
    if deepest > DEEPEST {
        return Err(format!("its brackets nest {deepest} deep, at most {DEEPEST} are read"));
    }
    let operators = tokens.iter().filter(|token| token.kind == Kind::Operator).count();
    if operators > MOST_OPERATORS {
        return Err(format!("it has {operators} operators, at most {MOST_OPERATORS} are read"));
    }
    Ok(())
}

pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut at, mut depth) = (0_usize, 0_usize);
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let (length, kind) = one(rest);
        let text = rest.get(..length).unwrap_or(rest);
        if let Some(kind) = kind {
            match kind {
                Kind::Open => depth = depth.saturating_add(1),
                Kind::Close | Kind::Plain | Kind::Operator => {}
            }
            tokens.push(Token { kind, text, start: at, depth });
            if kind == Kind::Close {
                depth = depth.saturating_sub(1);
            }
        }
        at = at.saturating_add(text.len().max(1));
    }
    tokens
}

/// Length and kind of what `rest` begins with. `None`: space or a comment.
fn one(rest: &str) -> (usize, Option<Kind>) {
    let first = rest.chars().next().unwrap_or(' ');
    if first.is_whitespace() {
        return (first.len_utf8(), None);
    }
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if let Some(length) = text_literal(rest) {
        return (length, Some(Kind::Plain));
    }
    if let Some(two) = TWO.iter().find(|two| rest.starts_with(**two)) {
        return (two.len(), Some(Kind::Operator));
    }
    if is_word(first) {
        let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let kind = if rest.get(..length) == Some("in") { Kind::Operator } else { Kind::Plain };
        return (length, Some(kind));
    }
    let kind = match first {
        '(' | '[' | '{' => Kind::Open,
        ')' | ']' | '}' => Kind::Close,
        '<' | '>' | '!' | '+' | '-' | '*' | '/' | '%' | '?' => Kind::Operator,
        _ => Kind::Plain,
    };
    (first.len_utf8(), Some(kind))
}

/// The length of the text or bytes literal that begins here. One without an end reaches to the end.
fn text_literal(rest: &str) -> Option<usize> {
    let prefix = rest.find(['"', '\''])?;
    let is_prefix = prefix <= 2
        && rest
            .get(..prefix)
            .is_some_and(|prefix| prefix.chars().all(|c| matches!(c, 'r' | 'R' | 'b' | 'B')));
    if !is_prefix {
        return None;
    }
    let is_raw = rest.get(..prefix).is_some_and(|prefix| prefix.contains(['r', 'R']));
    let body = rest.get(prefix..)?;
    let quote = body.get(..1)?;
    let triple = quote.repeat(3);
    let quote = if body.starts_with(&triple) { triple.as_str() } else { quote };
    let mut at = quote.len();
    while let Some(left) = body.get(at..).filter(|left| !left.is_empty()) {
        if left.starts_with(quote) {
            return Some(prefix.saturating_add(at).saturating_add(quote.len()));
        }
        let first = left.chars().next().map_or(1, char::len_utf8);
        let escaped = left.get(first..).and_then(|after| after.chars().next()).map_or(0, char::len_utf8);
        at = at.saturating_add(first);
        if left.starts_with('\\') && !is_raw {
            at = at.saturating_add(escaped);
        }
    }
    Some(rest.len())
}

/// The parts of a conjunction at the top, in their order; brackets around the whole are taken off.
pub(crate) fn conjuncts(source: &str) -> Vec<&str> {
    let source = bare(source);
    let tokens = tokens(source);
    let top = |wanted: &str| tokens.iter().any(|token| token.depth == 0 && token.text == wanted);
    // Both bind looser than `&&`.
    if top("||") || top("?") {
        return vec![source];
    }
    let mut parts = Vec::new();
    let mut begin = 0;
    for cut in tokens.iter().filter(|token| token.depth == 0 && token.text == "&&") {
        parts.push(source.get(begin..cut.start).unwrap_or_default());
        begin = cut.start.saturating_add(2);
    }
    parts.push(source.get(begin..).unwrap_or_default());
    if parts.len() == 1 {
        return vec![source];
    }
    parts.into_iter().flat_map(conjuncts).collect()
}

/// Left side, comparison and right side, where that is all that `part` is.
pub(crate) fn comparison(part: &str) -> Option<(&str, &str, &str)> {
    let tokens = tokens(part);
    if tokens.iter().any(|token| token.depth == 0 && matches!(token.text, "||" | "&&" | "?")) {
        return None;
    }
    let mut cuts = tokens.iter().filter(|token| token.depth == 0 && COMPARE.contains(&token.text));
    let cut = cuts.next()?;
    if cuts.next().is_some() {
        return None;
    }
    let left = part.get(..cut.start)?.trim();
    let right = part.get(cut.start.saturating_add(cut.text.len())..)?.trim();
    Some((left, cut.text, right))
}

/// Without the brackets around all of it.
pub(crate) fn bare(source: &str) -> &str {
    let mut source = source.trim();
    while let Some(inner) = source.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        let tokens = tokens(source);
        let is_around = tokens.iter().filter(|token| token.kind == Kind::Close && token.depth == 1).count()
            == 1
            && tokens.last().is_some_and(|token| token.kind == Kind::Close);
        if !is_around {
            break;
        }
        source = inner.trim();
    }
    source
}

/// One line, as it is shown.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

const TWO: &[&str] = &["&&", "||", "==", "!=", "<=", ">="];
const COMPARE: &[&str] = &["==", "!=", "<=", ">=", "<", ">", "in"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conjunction_is_taken_apart_where_it_may_be() {
        assert_eq!(conjuncts("a && b&&c"), ["a ", " b", "c"].map(str::trim));
        assert_eq!(conjuncts("((a && (b && c)))"), ["a", "b", "c"]);
        assert_eq!(conjuncts("a && b || c"), ["a && b || c"]);
        assert_eq!(conjuncts("a && b ? c : d"), ["a && b ? c : d"]);
        assert_eq!(
            conjuncts("x == 'a && b' && l.all(m, m.a && m.b)"),
            ["x == 'a && b'", "l.all(m, m.a && m.b)"]
        );
        assert_eq!(conjuncts("(a || b) && c"), ["a || b", "c"]);
        assert_eq!(conjuncts("a // && b\n && c"), ["a // && b", "c"]);
    }

    #[test]
    fn a_comparison_has_two_sides() {
        assert_eq!(comparison("size(json.a) > 0"), Some(("size(json.a)", ">", "0")));
        assert_eq!(comparison("'<' in x"), Some(("'<'", "in", "x")));
        assert_eq!(comparison("f(a < b)"), None);
        assert_eq!(comparison("integer == 1"), Some(("integer", "==", "1")));
    }

    #[test]
    fn the_bounds_hold_before_anything_is_parsed() {
        assert!(check(&"a".repeat(MOST_BYTES)).is_ok());
        assert!(check(&"a".repeat(MOST_BYTES + 1)).is_err());
        let nested = |deep: usize| format!("{}1{}", "(".repeat(deep), ")".repeat(deep));
        assert!(check(&nested(DEEPEST)).is_ok());
        assert!(check(&nested(DEEPEST + 1)).is_err());
        assert!(check(&format!("1{}", "+1".repeat(MOST_OPERATORS))).is_ok());
        assert!(check(&format!("1{}", "+1".repeat(MOST_OPERATORS + 1))).is_err());
        assert!(check(&format!("{}a", "!".repeat(MOST_OPERATORS + 1))).is_err());
        assert!(check(&format!("'{}'", "+".repeat(200))).is_ok(), "what stands in a text is none");
    }
}
