//! The nearest valid word for a mistyped one.

/// The candidate that is within a third of the word's length of edits (at least one, at most
/// three), the nearest first, else the first that begins with the word; `None` when nothing is
/// near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = word.chars().take(LONGEST).collect();
    let allowed = typed.len().div_ceil(3).clamp(1, 3);
    let mut begun = None;
    let near = candidates
        .into_iter()
        .inspect(|candidate| {
            if word.len() >= SHORTEST_START && candidate.starts_with(word) {
                begun = begun.or(Some(*candidate));
            }
        })
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= allowed)
        .map(|candidate| (distance(&typed, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate);
    near.or(begun)
}

/// A word cut short is meant too, but one or two letters say nothing.
const SHORTEST_START: usize = 3;

/// Names are at most 64 characters; nothing longer is worth the square of its length.
const LONGEST: usize = 72;

/// Edits (insert, remove, replace, swap two neighbours) between the two words.
fn distance(typed: &[char], candidate: &str) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=typed.len()).collect();
    let mut last: Option<char> = None;
    for (row, c) in candidate.chars().take(LONGEST).enumerate() {
        let mut line = vec![row.saturating_add(1)];
        for (column, t) in typed.iter().enumerate() {
            let at = |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&above, column).saturating_add(usize::from(*t != c));
            let removed = at(&above, column.saturating_add(1)).saturating_add(1);
            let inserted = at(&line, column).saturating_add(1);
            let mut best = replaced.min(removed).min(inserted);
            let neighbour = column.checked_sub(1).and_then(|left| typed.get(left));
            if last == Some(*t) && neighbour == Some(&c) {
                best = best.min(at(&before, column.saturating_sub(1)).saturating_add(1));
            }
            line.push(best);
        }
        last = Some(c);
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word() {
        let words = ["restart", "replicas", "ready", "command", "conflicts"];
        assert_eq!(nearest("restrat", words), Some("restart"));
        assert_eq!(nearest("comand", words), Some("command"));
        assert_eq!(nearest("conflict", words), Some("conflicts"));
        assert_eq!(nearest("repl", words), Some("replicas"));
        assert_eq!(nearest("volumes", words), None);
        assert_eq!(nearest("", words), None);
    }
}
