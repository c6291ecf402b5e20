//! Asks over HTTP/1.1. Passes when the status is expected and the body holds what it must.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;

use crate::expr::{Facts, Miss, speaks_of};
use crate::probe::question::HttpQuestion;
use crate::probe::stream::{Place, Stream};
use crate::probe::tls::Trust;
use crate::probe::{Answer, Prober, Trouble, driven, missed, of_protocol, ours, quoted, theirs};
use crate::unit::spec::probe::{Address, HttpProbe, Target, Tls};

/// One question and what it is asked with.
pub(crate) struct Exchange<'a> {
    pub(crate) prober: &'a Prober,
    pub(crate) question: &'a HttpQuestion,
    pub(crate) trust: Option<Trust>,
    pub(crate) limit: Duration,
}

/// What a server said, as far as it was listened to.
struct Said {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

enum Body {
    Unread,
    Whole(Vec<u8>),
}

impl Exchange<'_> {
    pub(crate) async fn ask(mut self, mut place: Place, took: impl Fn() -> String) -> Answer {
        let probe = &self.question.probe;
        let mut path = probe.path.to_string();
        let mut is_strange = false;
        for _ in 0..MOST_HOPS {
            let said = self.get(&place, &path, is_strange).await?;
            let next = if probe.follow_redirects {
                next_hop(&said, &place, &path, self.trust.is_some())
            } else {
                None
            };
            let Some(hop) = next.transpose()? else {
                return self.judge(said, took).await;
            };
            path = hop.path;
            let target = Target::Tcp(hop.address);
            if hop.is_elsewhere {
                // What another server is asked is none of the unit's secrets.
                is_strange = true;
                place = Place::find(&self.prober.resolver, &target, self.limit).await?;
            }
            if hop.is_tls && self.trust.is_none() {
                let usual = Tls { ca: None, verify: true };
                self.trust = Some(self.prober.connectors.trust(&usual, self.limit).await?);
            } else if !hop.is_tls {
                self.trust = None;
            }
        }
        Err(theirs(format!("more than {MOST_HOPS} redirects")))
    }

    async fn get(&self, place: &Place, path: &str, is_strange: bool) -> Result<Said, Trouble> {
        let request = self.request(place, path, is_strange)?;
        let stream = Stream::open(place, self.trust.as_ref(), b"http/1.1").await?;
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MOST_HEAD_BYTES);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| explain(&error))?;
        let probe = &self.question.probe;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| explain(&error))?;
            let (head, body) = response.into_parts();
            let is_wanted = !probe.is_about_status_only();
            let body = if is_wanted { Body::Whole(read(Response::new(body)).await?) } else { Body::Unread };
            Ok(Said { status: head.status, headers: head.headers, body })
        };
        driven(exchange, connection).await
    }

    fn request(&self, place: &Place, path: &str, is_strange: bool) -> Result<Request<Empty<Bytes>>, Trouble> {
        let probe = &self.question.probe;
        let usual_port = if self.trust.is_some() { 443 } else { 80 };
        let bad = |what: &str| ours(format!("cannot ask: {what}"));
        let method = Method::from_bytes(probe.method.as_bytes()).map_err(|_refused| bad("no such method"))?;
        let uri: Uri = path.parse().map_err(|_refused| bad("the path is none"))?;
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        let authority = HeaderValue::try_from(place.authority(usual_port));
        headers.insert(HOST, authority.map_err(|_refused| bad("the host is none"))?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("mcsup/", env!("CARGO_PKG_VERSION"))));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in self.question.headers.iter().filter(|_| !is_strange) {
            let field = HeaderName::try_from(&**name);
            let field = field.map_err(|_refused| bad(&format!("{name} is no name of a header")))?;
            let value = HeaderValue::from_bytes(&value.0);
            let mut value =
                value.map_err(|_refused| bad(&format!("the value of the header {name} is none")))?;
            value.set_sensitive(true);
            headers.insert(field, value);
        }
        Ok(request)
    }

    async fn judge(self, said: Said, took: impl Fn() -> String) -> Answer {
        let probe = &self.question.probe;
        let status = said.status.as_u16();
        if !probe.status.iter().any(|(from, to)| (*from..=*to).contains(&status)) {
            return Err(theirs(format!("status {status}, wanted {}", ranges(&probe.status))));
        }
        let passed = Ok(format!("{status} in {}", took()));
        let Body::Whole(body) = said.body else { return passed };
        if let Some(wanted) = &probe.contains
            && !contains(&body, wanted.as_bytes())
        {
            return Err(theirs(format!(
                "status {status}, but the body does not contain {:?}",
                quoted(wanted)
            )));
        }
        let body = Arc::new(body);
        if let Some(pattern) = &probe.matches {
            let (regex, text) = (self.prober.patterns.get(pattern)?, Arc::clone(&body));
            let search = move || regex.is_match(&String::from_utf8_lossy(&text));
            let late = || ours("the pattern is still searched for in the body");
            if !self.prober.judges.ask(self.limit, search).await.ok_or_else(late)? {
                return Err(theirs(format!(
                    "status {status}, but the body does not match {}",
                    quoted(&pattern.0)
                )));
            }
        }
        if let Some(that) = &probe.that {
            let headers = said.headers;
            let expression = that.clone();
            let facts = move || facts(status, &headers, &body, speaks_of(&expression, "json"));
            // Within the deadline of all questions, so that a runaway has words of its own.
            let limit = self.limit / 2;
            self.prober.evaluator.evaluate(that, limit, facts).await.map_err(|miss| missed(&miss))?;
        }
        passed
    }
}

/// At most `MOST_BODY_BYTES`; what is longer has not been judged as a whole, and so does not pass.
async fn read(response: Response<Incoming>) -> Result<Vec<u8>, Trouble> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| explain(&error))?;
        if let Ok(data) = frame.into_data() {
            if read.len().saturating_add(data.len()) > MOST_BODY_BYTES {
                return Err(theirs("the body is larger than 1 MiB"));
            }
            read.extend_from_slice(&data);
        }
    }
    Ok(read)
}

fn facts(status: u16, headers: &HeaderMap, body: &[u8], needs_json: bool) -> Result<Facts, Miss> {
    let mut facts = Facts::new();
    facts.insert("status".to_owned(), Json::from(status));
    let mut named = serde_json::Map::new();
    for name in headers.keys() {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        named.insert(name.as_str().to_owned(), Json::from(values.join(", ")));
    }
    facts.insert("headers".to_owned(), Json::Object(named));
    if needs_json {
        match serde_json::from_slice(body) {
            Ok(json) => drop(facts.insert("json".to_owned(), json)),
            Err(error) => {
                let why = format!("the body is not JSON: {}", quoted(&error.to_string()));
                return Err(Miss::Mistake { part: "json".to_owned(), why });
            }
        }
    }
    facts.insert("body".to_owned(), Json::from(String::from_utf8_lossy(body)));
    Ok(facts)
}

struct Hop {
    address: Address,
    is_elsewhere: bool,
    is_tls: bool,
    path: String,
}

/// Where a redirect leads. `None`: it is no redirect, or says not where to.
fn next_hop(said: &Said, place: &Place, path: &str, is_tls: bool) -> Option<Result<Hop, Trouble>> {
    let is_redirect = matches!(said.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = said.headers.get(LOCATION).filter(|_| is_redirect)?;
    let bad = || theirs(format!("redirected to {:?}", quoted(&String::from_utf8_lossy(location.as_bytes()))));
    let Some(uri) = location.to_str().ok().and_then(|text| resolve(text, path).parse::<Uri>().ok()) else {
        return Some(Err(bad()));
    };
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        None => is_tls,
        Some(_) => return Some(Err(bad())),
    };
    let host = uri.host().map_or_else(|| place.host.clone(), |host| host.trim_matches(['[', ']']).to_owned());
    let usual = if is_tls { 443 } else { 80 };
    let port =
        if uri.host().is_some() { uri.port_u16().unwrap_or(usual) } else { place.port.unwrap_or(usual) };
    let is_elsewhere = uri.host().is_some() && (host != place.host || place.port != Some(port));
    let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    Some(Ok(Hop { address: Address { host: host.into(), port }, is_elsewhere, is_tls, path }))
}

/// A link that may be relative to `path`.
fn resolve(link: &str, path: &str) -> String {
    let link = link.split('#').next().unwrap_or_default();
    if link.starts_with('/') || link.contains("://") {
        return link.to_owned();
    }
    let path = path.split('?').next().unwrap_or_default();
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    format!("{dir}/{link}")
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    // Text in text is searched in linear time; a window at a time is not.
    match (std::str::from_utf8(body), std::str::from_utf8(wanted)) {
        (Ok(body), Ok(wanted)) => body.contains(wanted),
        _ => String::from_utf8_lossy(body).contains(&*String::from_utf8_lossy(wanted)),
    }
}

fn explain(error: &hyper::Error) -> Trouble {
    of_protocol(error, "the answer is not http, or ended early")
}

/// `200-399, 404`.
fn ranges(wanted: &[(u16, u16)]) -> String {
    let range = |(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    wanted.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// As browsers and curl count.
const MOST_HOPS: usize = 10;
const MOST_BODY_BYTES: usize = 1024 * 1024;
/// Of status line and headers; hyper's own is 400 KiB, for every question.
const MOST_HEAD_BYTES: usize = 64 * 1024;

/// The probe as it is asked without templates.
impl From<HttpProbe> for HttpQuestion {
    fn from(probe: HttpProbe) -> Self {
        Self { probe, headers: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_to_where_they_stand() {
        assert_eq!(resolve("/x?y#z", "/a/b"), "/x?y");
        assert_eq!(resolve("c", "/a/b?q=/"), "/a/c");
        assert_eq!(resolve("c", "/"), "/c");
        assert_eq!(resolve("https://h/p", "/a"), "https://h/p");
        assert_eq!(ranges(&[(200, 399), (404, 404)]), "200-399, 404");
    }
}
