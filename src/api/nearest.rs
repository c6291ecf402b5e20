//! The names that were probably meant.

/// Up to three of `names` that are close to `wanted`, the closest first.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    // Longer texts are not names, and the distance costs their product.
    if wanted.is_empty() || wanted.len() > 128 {
        return Vec::new();
    }
    let most = wanted.chars().count().div_ceil(3).max(1);
    let mut close: Vec<(usize, &str)> = names
        .filter(|name| name.len().abs_diff(wanted.len()) <= most || name.starts_with(wanted))
        .filter_map(|name| {
            let far = if name.starts_with(wanted) { 1 } else { distance(wanted, name) };
            (far <= most).then_some((far, name))
        })
        .collect();
    close.sort_unstable();
    close.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut a_before = None;
    for (row, ca) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(b.len() + 1);
        next.push(row + 1);
        for (column, cb) in b.iter().enumerate() {
            let mut best =
                (last[column] + usize::from(ca != *cb)).min(last[column + 1] + 1).min(next[column] + 1);
            if column > 0 && a_before == Some(*cb) && b[column - 1] == ca {
                best = best.min(before[column - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut last, next);
        a_before = Some(ca);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name_that_was_meant() {
        let names = ["nginx", "postgres", "redis", "redis-exporter"];
        let near = |wanted| nearest(wanted, names.into_iter());
        assert_eq!(near("reids"), ["redis"]);
        assert_eq!(near("postgers"), ["postgres"]);
        assert_eq!(near("redi"), ["redis", "redis-exporter"]);
        assert_eq!(near("ngnix"), ["nginx"]);
        assert!(near("kafka").is_empty());
        assert!(near("").is_empty());
    }
}
