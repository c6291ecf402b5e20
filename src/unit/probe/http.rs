//! `http`: a link, or a mapping with everything that can be asked and expected.

use serde_json::{Value as Json, json};

use crate::unit::diagnostic::Diagnostic;
use crate::unit::expression::That;
use crate::unit::probe::door::{Door, bare_host, port_number, target};
use crate::unit::probe::servers::TlsFile;
use crate::unit::read::{At, FromYaml, Reader, mapping};
use crate::unit::spec::Template;
use crate::unit::spec::probe::{Address, HttpProbe, Pattern, ProbeKind, Target, Tls};
use crate::unit::value::{AbsolutePath, Port, Word};
use crate::unit::words::Environment;
use crate::unit::yaml::{Node, Value};

mapping! {
    /// What is asked over HTTP, and what the answer must be.
    HttpMap {
        /// The whole link, instead of host, port, socket and path.
        url: Word;
        /// Name or address.
        host: Word = "127.0.0.1";
        /// 1 to 65535; 443 with `tls`.
        port: Port = 80;
        /// Path of a unix socket, instead of host and port.
        socket: AbsolutePath;
        /// Begins with `/`.
        path: Word = "/";
        /// True for https; `{ca: /path.pem}` to trust an authority of your own, `{verify: false}` to trust anybody.
        tls: TlsFile = false;
        /// GET, HEAD, POST and so on.
        method: Method = "GET";
        /// Sent with the question; values may use `${NAME}`.
        headers: Environment;
        /// What passes: 200, "2xx", "200-399", or a list of these. Default 200 to 399.
        status: Statuses;
        /// A text that the body must contain.
        contains: Word;
        /// A regular expression that the body must match.
        matches: Pattern;
        /// A CEL expression over status, headers, body and json that must hold.
        that: That;
        /// True: a redirect is followed; else it is an answer like any other.
        follow_redirects: bool = false;
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Http {
    link: Link,
    map: HttpMap,
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq)]
struct Link {
    target: Target,
    is_tls: bool,
    path: Box<str>,
}

impl FromYaml for Http {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let map = HttpMap::read(node, reader)?;
                let link = match &map.url {
                    Some(url) => whole_link(url, &map, reader)?,
                    None => link_of_keys(&map, node, reader)?,
                };
                Some(Self { link, map })
            }
            Value::Scalar(scalar) if !node.is_null() => {
                let link = link(&scalar.text);
                if link.is_none() {
                    let help = scalar
                        .text
                        .bytes()
                        .all(|byte| byte.is_ascii_digit())
                        .then_some("write a path too: `{port: 8080, path: /health}`");
                    reader.mismatch(node, "a link such as `http://127.0.0.1:8080/health`", help);
                }
                Some(Self { link: link?, map: HttpMap::default() })
            }
            Value::Scalar(_) | Value::List(_) => {
                reader.mismatch(node, "a link such as `http://127.0.0.1:8080/health`, or a mapping", None);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "string", "pattern": "^(https?://[^/ ]+(/[^ ]*)?|http\\+unix://[^ ]+)$"},
            HttpMap::schema(),
        ]})
    }
}

impl Http {
    pub(crate) fn question(&self) -> ProbeKind {
        let HttpMap {
            url: _,
            host: _,
            port: _,
            socket: _,
            path: _,
            tls,
            method,
            headers,
            status,
            contains,
            matches,
            that,
            follow_redirects,
        } = &self.map;
        let usual = HttpProbe::get(self.link.target.clone(), &self.link.path);
        let said = tls.as_ref().and_then(|tls| tls.value.0.clone());
        let trusted = || Tls { ca: None, verify: true };
        ProbeKind::Http(Box::new(HttpProbe {
            tls: said.or_else(|| self.link.is_tls.then(trusted)),
            method: method.as_ref().map_or_else(|| usual.method.clone(), |at| at.value.0.clone()),
            headers: headers
                .iter()
                .flat_map(|headers| &headers.value.0)
                .map(|(name, value)| (name.clone(), value.value.clone()))
                .collect(),
            status: status.as_ref().map_or_else(|| usual.status.clone(), |at| at.value.0.clone()),
            contains: contains.as_ref().map(|at| at.value.0.clone()),
            matches: matches.as_ref().map(|at| at.value.clone()),
            that: that.as_ref().map(|at| at.value.0.clone()),
            follow_redirects: follow_redirects.as_ref().is_some_and(|at| at.value),
            ..usual
        }))
    }

    pub(super) fn templates(&self) -> impl Iterator<Item = &At<Template>> {
        self.map.headers.iter().flat_map(|headers| &headers.value.0).map(|(_, value)| value)
    }
}

/// `url` and what may stand beside it.
fn whole_link(url: &At<Word>, map: &HttpMap, reader: &mut Reader) -> Option<Link> {
    let Some(link) = link(&url.value.0) else {
        let message = format!("`{}` is not a link", url.value.0);
        reader.bad_value(url.place, message, "for example http://127.0.0.1:8080/health");
        return None;
    };
    let parts = [
        map.host.as_ref().map(|at| at.key),
        map.port.as_ref().map(|at| at.key),
        map.socket.as_ref().map(|at| at.key),
        map.path.as_ref().map(|at| at.key),
    ];
    if let Some(part) = parts.into_iter().flatten().next() {
        reader.report(
            Diagnostic::error("bad-value", part, "the link says this already")
                .related(url.place, "the link")
                .help("keep one of the two"),
        );
        return None;
    }
    if let Some(tls) = map.tls.as_ref().filter(|tls| tls.value.0.is_some() != link.is_tls) {
        reader.report(
            Diagnostic::error("bad-value", tls.key, "the link and `tls` contradict each other")
                .related(url.place, "the link")
                .help("a link with TLS begins with https://"),
        );
        return None;
    }
    Some(link)
}

fn link_of_keys(map: &HttpMap, node: &Node<'_>, reader: &mut Reader) -> Option<Link> {
    let path = map.path.as_ref().map_or_else(|| "/".into(), |path| path.value.0.clone());
    if !path.starts_with('/') {
        let message = format!("the path `{path}` does not begin with `/`");
        reader.bad_value(map.path.as_ref().map_or(node.place, |path| path.place), message, "add the `/`");
        return None;
    }
    let is_tls = map.tls.as_ref().is_some_and(|tls| tls.value.0.is_some());
    let door = Door { host: map.host.as_ref(), port: map.port.as_ref(), socket: map.socket.as_ref() };
    let usual = if is_tls { 443 } else { 80 };
    Some(Link { target: target(door, Some(usual), node, reader)?, is_tls, path })
}

/// Host and port of an http or https link, for whoever needs no more than to know that it is one.
pub(crate) fn link_parts(text: &str) -> Option<Target> {
    let is_web = text.starts_with("http://") || text.starts_with("https://");
    link(text).filter(|_| is_web).map(|link| link.target)
}

fn link(text: &str) -> Option<Link> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    if let Some(rest) = text.strip_prefix("http+unix://") {
        return socket_link(rest);
    }
    let (rest, is_tls) = match text.strip_prefix("https://") {
        Some(rest) => (rest, true),
        None => (text.strip_prefix("http://")?, false),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let has_port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let (host, port) = match has_port {
        Some((host, port)) => (host, port_number(port)?),
        None => (authority, if is_tls { 443 } else { 80 }),
    };
    // What follows a hash never leaves a browser.
    let path = path.split('#').next().unwrap_or("");
    let path = if path.starts_with('/') { path.into() } else { format!("/{path}").into_boxed_str() };
    let host = bare_host(host).filter(|_| !authority.contains('@'))?;
    Some(Link { target: Target::Tcp(Address { host: host.into(), port }), is_tls, path })
}

/// `/run/app.sock:/health`, or as others write it `%2Frun%2Fapp.sock/health`.
fn socket_link(rest: &str) -> Option<Link> {
    let (socket, path) = if rest.starts_with('/') {
        let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
        (socket.to_owned(), path)
    } else {
        let (socket, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        (socket.replace("%2F", "/").replace("%2f", "/"), if path.is_empty() { "/" } else { path })
    };
    let fits = socket.len() > 1 && socket.starts_with('/') && path.starts_with('/');
    fits.then(|| Link { target: Target::Unix(socket.into()), is_tls: false, path: path.into() })
}

/// The word that says what is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Method(Box<str>);

impl FromYaml for Method {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Word(text) = Word::read(node, reader)?;
        if !text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            let upper = text.to_ascii_uppercase();
            let help = upper
                .bytes()
                .all(|byte| byte.is_ascii_uppercase())
                .then(|| format!("methods are in capitals: `{upper}`"));
            reader.mismatch(node, "a method such as `GET`", help.as_deref());
            return None;
        }
        Some(Self(text))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[A-Z]+$"})
    }
}

/// Ranges of statuses, both ends included.
#[derive(Clone, Debug)]
pub(crate) struct Statuses(Vec<(u16, u16)>);

impl FromYaml for Statuses {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(node),
        };
        if items.is_empty() {
            reader.bad_value(node.place, "no status would pass", "list one, or remove the line");
            return None;
        }
        items
            .iter()
            .map(|item| {
                let expected = "a status such as `200`, `2xx` or `200-399`";
                let range = status_range(&reader.scalar(item, expected)?.text);
                if range.is_none() {
                    reader.mismatch(item, expected, Some("statuses are 100 to 599"));
                }
                range
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    fn schema() -> Json {
        let one = json!({"anyOf": [
            {"type": "integer", "minimum": 100, "maximum": 599},
            {"type": "string", "pattern": "^([1-5]xx|[1-5][0-9][0-9](-[1-5][0-9][0-9])?)$"},
        ]});
        json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
    }
}

fn status_range(text: &str) -> Option<(u16, u16)> {
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|status| digits && (100..600).contains(status))
    };
    if let Some(class) = text.strip_suffix("xx") {
        let first = status(&format!("{class}00"))?;
        return Some((first, first.saturating_add(99)));
    }
    match text.split_once('-') {
        Some((first, last)) => Some((status(first)?, status(last)?)).filter(|(first, last)| first <= last),
        None => status(text).map(|status| (status, status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Target {
        Target::Tcp(Address { host: host.into(), port })
    }

    #[test]
    fn links_say_where_and_what() {
        let some =
            |target: Target, is_tls: bool, path: &str| Some(Link { target, is_tls, path: path.into() });
        assert_eq!(
            link("http://127.0.0.1:8080/health?x=1"),
            some(tcp("127.0.0.1", 8080), false, "/health?x=1")
        );
        assert_eq!(link("http://example.org"), some(tcp("example.org", 80), false, "/"));
        assert_eq!(link("https://example.org"), some(tcp("example.org", 443), true, "/"));
        assert_eq!(link("http://[::1]:81?a"), some(tcp("::1", 81), false, "/?a"));
        assert_eq!(link("http://[::1]/#top"), some(tcp("::1", 80), false, "/"));
        let socket = || Target::Unix("/run/a.sock".into());
        assert_eq!(link("http+unix:///run/a.sock:/b?c"), some(socket(), false, "/b?c"));
        assert_eq!(link("http+unix:///run/a.sock"), some(socket(), false, "/"));
        assert_eq!(link("http+unix://%2Frun%2fa.sock/b"), some(socket(), false, "/b"));
        for text in [
            "http://",
            "http://a:0/",
            "http://a:b/",
            "http://a:99999/",
            "http://u@a/",
            "a:80",
            "http://a b/",
            "ftp://a/",
            "http+unix://",
            "http+unix:///",
            "http+unix://a/b",
            "http+unix:///a:b",
        ] {
            assert_eq!(link(text), None, "{text}");
        }
    }

    #[test]
    fn statuses_are_numbers_classes_and_ranges() {
        for (text, range) in [
            ("200", Some((200, 200))),
            ("2xx", Some((200, 299))),
            ("200-399", Some((200, 399))),
            ("600", None),
            ("2x", None),
            ("xx", None),
            ("399-200", None),
            ("99", None),
            ("+20", None),
            ("0xx", None),
        ] {
            assert_eq!(status_range(text), range, "{text}");
        }
    }
}
