//! grpc.health.v1.Health/Check: one call over HTTP/2, in plain or over TLS. The two messages have one field
//! each, so they are written and read by hand.

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use hyper::rt::Executor;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::probe::stream::{Place, Stream};
use crate::probe::tls::Trust;
use crate::probe::{Trouble, driven, of_protocol, ours, quoted, theirs};
use crate::unit::spec::probe::GrpcProbe;

/// Words for a pass.
pub(crate) async fn ask(place: &Place, probe: &GrpcProbe, trust: Option<&Trust>) -> Result<String, Trouble> {
    let request = request(place, probe, trust.is_some())?;
    let stream = Stream::open(place, trust, b"h2").await?;
    let workers = Workers::default();
    let handshake = hyper::client::conn::http2::handshake(workers.clone(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| explain(&error))?;
    let call = async {
        let response = sender.send_request(request).await.map_err(|error| explain(&error))?;
        let (head, mut body) = response.into_parts();
        if head.status != 200 {
            return Err(theirs(format!("status {}, the server does not speak gRPC", head.status.as_u16())));
        }
        let (mut message, mut trailers) = (Vec::new(), HeaderMap::new());
        while let Some(frame) = body.frame().await {
            match frame.map_err(|error| explain(&error))?.into_data() {
                Ok(data) if message.len().saturating_add(data.len()) > MOST_BYTES => {
                    return Err(theirs("the answer is not one about health"));
                }
                Ok(data) => message.extend_from_slice(&data),
                Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        // A call that failed at once has no trailers but these.
        let field = |name: &str| trailers.get(name).or_else(|| head.headers.get(name)).cloned();
        judge(field("grpc-status").as_ref(), field("grpc-message").as_ref(), &message, &probe.service)
    };
    // What hyper starts on the side lives in `workers`: that, too, ends with the question.
    driven(call, connection).await
}

/// What hyper starts on the side; ends when it is dropped.
#[derive(Clone, Debug, Default)]
struct Workers(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Workers
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, work: F) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set.spawn(async move { drop(work.await) });
    }
}

fn request(place: &Place, probe: &GrpcProbe, is_tls: bool) -> Result<Request<Full<Bytes>>, Trouble> {
    let (scheme, usual_port) = if is_tls { ("https", 443) } else { ("http", 80) };
    let uri = format!("{scheme}://{}{METHOD}", place.authority(usual_port));
    Request::post(uri)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(TE, HeaderValue::from_static("trailers"))
        .header(USER_AGENT, HeaderValue::from_static(concat!("mcsup/", env!("CARGO_PKG_VERSION"))))
        .body(Full::new(Bytes::from(question(&probe.service))))
        .map_err(|error| ours(format!("cannot ask: {error}")))
}

/// `HealthCheckRequest {string service = 1}` in the frame of a call: not compressed, length, message.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.append(&mut message);
    framed
}

fn varint(mut value: usize, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    into.push(u8::try_from(value).unwrap_or(0));
}

fn judge(
    status: Option<&HeaderValue>,
    said: Option<&HeaderValue>,
    message: &[u8],
    service: &str,
) -> Result<String, Trouble> {
    let said = || quoted(&String::from_utf8_lossy(said.map(HeaderValue::as_bytes).unwrap_or_default()));
    match status.map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(b"5") => return Err(theirs(format!("the server knows no service {service:?}"))),
        Some(b"12") => return Err(theirs("the server does not tell its health (grpc.health.v1)")),
        Some(code) => {
            let code = String::from_utf8_lossy(code).into_owned();
            return Err(theirs(format!("the call failed with code {}: {}", quoted(&code), said())));
        }
        None => return Err(theirs("the call ended without a status")),
    }
    match health(message).ok_or_else(|| theirs("the answer is not one about health"))? {
        1 => Ok("SERVING".to_owned()),
        0 => Err(theirs("UNKNOWN")),
        2 => Err(theirs("NOT_SERVING")),
        3 => Err(theirs("SERVICE_UNKNOWN")),
        other => Err(theirs(format!("health {other}"))),
    }
}

/// `HealthCheckResponse {ServingStatus status = 1}`; a field that is not there is 0.
fn health(framed: &[u8]) -> Option<u64> {
    let (head, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(head.get(1..)?.try_into().ok()?);
    let is_whole = head.first() == Some(&0) && usize::try_from(length) == Ok(message.len());
    match (is_whole, message) {
        (true, []) => Some(0),
        (true, [0x08, value @ ..]) => {
            let small = value.first().filter(|byte| value.len() == 1 && **byte < 0x80)?;
            Some(u64::from(*small))
        }
        (true | false, _) => None,
    }
}

fn explain(error: &hyper::Error) -> Trouble {
    of_protocol(error, "the answer is not HTTP/2, or ended early")
}

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// The answer has seven bytes.
const MOST_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_messages_are_as_protobuf_has_them() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(health(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(health(&[0, 0, 0, 0, 0]), Some(0));
        for nonsense in [&[][..], &[0, 0, 0, 0, 3, 8, 1], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 2, 9, 1]] {
            assert_eq!(health(nonsense), None, "{nonsense:?}");
        }
    }
}
