//! Query strings. A name may come several times (`?unit=a&unit=b`); an unknown one is an error.

use crate::api::problem::Problem;

/// Decoded pairs in the order of the query.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// When a name is not among `known`, or an escape is malformed.
    pub fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::BadRequest(format!("unknown parameter `{name}`; known here: {known}")));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The last one wins.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// # Errors
    /// When the value is not a whole number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.one(name) else { return Ok(None) };
        let number = text.parse().map_err(|_not_a_number| {
            Problem::BadRequest(format!("`{name}` must be a whole number, not `{text}`"))
        })?;
        Ok(Some(number))
    }

    /// # Errors
    /// When the value is neither `true` nor `false`. A bare name means true.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.one(name) {
            None => Ok(None),
            Some("true" | "") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => Err(Problem::BadRequest(format!("`{name}` must be true or false, not `{text}`"))),
        }
    }
}

/// Undoes `%41` and `+`.
fn decode(text: &str) -> Result<String, Problem> {
    let malformed = || Problem::BadRequest(format!("malformed escape in `{text}`"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().ok_or_else(malformed)?, digit().ok_or_else(malformed)?);
                u8::try_from(high * 16 + low).map_err(|_never| malformed())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_not_text| malformed())
}

/// Escapes whatever a query's value or a path's segment cannot hold as it is.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_may_come_several_times_and_unknown_ones_are_refused() {
        let read = Parameters::read(Some("unit=web%401&unit=redis&"), &["unit"]).unwrap();
        assert_eq!(read.all("unit").collect::<Vec<_>>(), ["web@1", "redis"]);
        assert!(Parameters::read(Some("unti=web"), &["unit"]).is_err());
        assert!(Parameters::read(Some("unit=%4"), &["unit"]).is_err());
        assert!(Parameters::read(Some("unit=%ff"), &["unit"]).is_err());
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let text = "a b&c=d%é@1";
        assert_eq!(decode(&encode(text)).unwrap(), text);
    }
}
