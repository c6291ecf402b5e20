//! Values as a person would write them in a unit file, and where two of them differ.

/// A value, to be compared part by part.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// As YAML has it.
    Text(String),
    /// What is compared, and what is shown of it.
    As {
        is: String,
        shown: String,
    },
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// What is shown of a secret.
const HIDDEN: &str = "(hidden)";

impl Shown {
    /// A text of a person, quoted where YAML would read it as something else.
    pub(super) fn words(text: &str) -> Self {
        Self::Text(quoted(text))
    }

    /// Several in one line, compared as one.
    pub(super) fn line(texts: impl IntoIterator<Item = String>) -> Self {
        let texts: Vec<String> = texts.into_iter().map(|text| quoted(&text)).collect();
        Self::Text(format!("[{}]", texts.join(", ")))
    }

    pub(super) fn is<T: ToString + ?Sized>(value: &T) -> Self {
        Self::Text(value.to_string())
    }

    pub(super) fn secret(text: &str) -> Self {
        Self::As { is: text.to_owned(), shown: HIDDEN.to_owned() }
    }

    /// Only where it leads to is no secret: whoever knows a webhook's path may use it.
    pub(super) fn link(url: &str) -> Self {
        let after_scheme = url.find("://").map_or(0, |at| at.saturating_add(3));
        let rest = url.get(after_scheme..).unwrap_or_default();
        let path = rest.find(['/', '?', '#']).map_or(url.len(), |at| after_scheme.saturating_add(at));
        let (host, path) = url.split_at(path);
        let path = if path.len() > 1 { "/(hidden)" } else { path };
        Self::As { is: url.to_owned(), shown: format!("{host}{path}") }
    }

    /// In one line.
    pub(super) fn flow(&self) -> String {
        match self {
            Self::Text(text) | Self::As { is: _, shown: text } => text.clone(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", "))
            }
            Self::Map(entries) => {
                let entry = |(key, value): &(String, Self)| format!("{}: {}", quoted(key), value.flow());
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(two))
            | (Self::As { is: one, shown: _ }, Self::As { is: two, shown: _ }) => one == two,
            (Self::List(one), Self::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.is_same(two))
            }
            (Self::Map(one), Self::Map(two)) => {
                one.len() == two.len()
                    && one.iter().zip(two).all(|(one, two)| one.0 == two.0 && one.1.is_same(&two.1))
            }
            (Self::Text(_) | Self::As { .. } | Self::List(_) | Self::Map(_), _) => false,
        }
    }
}

/// Entries of a mapping, some of which may not be there.
pub(super) fn map(entries: impl IntoIterator<Item = (&'static str, Option<Shown>)>) -> Shown {
    let there = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Shown::Map(there.collect())
}

/// Tells the smallest parts in which two values differ, with the way to each: `health[0].interval`. What only one of
/// them has is one part.
pub(super) fn compare(
    path: &str,
    before: Option<&Shown>,
    after: Option<&Shown>,
    tell: &mut impl FnMut(String, String, String),
) {
    match (before, after) {
        (Some(Shown::Map(one)), Some(Shown::Map(two))) => {
            let find = |entries: &[(String, Shown)], key: &str| -> Option<usize> {
                entries.iter().position(|(own, _)| own == key)
            };
            for (key, value) in one {
                let other = find(two, key).and_then(|at| two.get(at)).map(|(_, value)| value);
                compare(&format!("{path}.{}", quoted(key)), Some(value), other, tell);
            }
            for (key, value) in two.iter().filter(|(key, _)| find(one, key).is_none()) {
                compare(&format!("{path}.{}", quoted(key)), None, Some(value), tell);
            }
        }
        (Some(Shown::List(one)), Some(Shown::List(two))) => {
            for at in 0..one.len().max(two.len()) {
                compare(&format!("{path}[{at}]"), one.get(at), two.get(at), tell);
            }
        }
        (Some(one), Some(two)) if one.is_same(two) => {}
        (None, None) => {}
        (before, after) => {
            let flow = |value: Option<&Shown>| value.map(Shown::flow).unwrap_or_default();
            tell(path.to_owned(), flow(before), flow(after));
        }
    }
}

/// As YAML reads it back, in a list or mapping of one line too; nothing in it moves a terminal's cursor.
pub(super) fn quoted(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            character if is_hidden(character) => {
                quoted.push_str(&format!("\\U{:08X}", u32::from(character)));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Controls, and what turns the direction of the text around it.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

fn is_plain(text: &str) -> bool {
    const MEANT_OTHERWISE: &[&str] =
        &["true", "false", "null", "yes", "no", "on", "off", "~", "y", "n", ".nan", ".inf"];
    let begins_well = text.starts_with(|c: char| c.is_alphanumeric() || "/._$^(".contains(c))
        || text
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic() || c == '-'));
    let is_safe = |c: char| c.is_alphanumeric() || "/._-+=$@^()~<>;'* ".contains(c);
    let is_number_like = text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text
            .chars()
            .all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | '_' | 'x' | 'o' | 'b' | '+' | '-' | ':'));
    let colons_are_inside = !text.ends_with(':') && !text.contains(": ");
    begins_well
        && !text.ends_with([' ', '-'])
        && text.chars().all(|c| is_safe(c) || c == ':')
        && colons_are_inside
        && !is_number_like
        && !MEANT_OTHERWISE.contains(&text.to_lowercase().as_str())
}
