//! Passes when the answer's status is 200 to 399. Redirects are not followed, the body is not read.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::HOST;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use crate::engine::event::Verdict;
use crate::probe::resolve::Resolver;
use crate::probe::{is_our_side, not_connected, system_error, timed_out, took};

/// Built at the first probe: a machine without http probes never pays for it.
#[derive(Debug, Default)]
pub struct Http {
    resolver: Resolver,
    client: OnceLock<Result<Client, String>>,
}

impl Http {
    pub fn new(resolver: Resolver) -> Self {
        Self { resolver, client: OnceLock::new() }
    }

    /// Asks once, over a connection of its own. `clock` tells the time since some fixed instant.
    pub async fn execute(
        &self,
        host: &str,
        port: u16,
        path: &str,
        limit: Duration,
        clock: impl Fn() -> Duration,
    ) -> Verdict {
        let client = match self.client.get_or_init(build) {
            Ok(client) => client,
            Err(cause) => return Verdict::Error(format!("cannot build an http client: {cause}").into()),
        };
        let asked = clock();
        let addresses = match self.resolver.resolve(host, port, limit).await {
            Ok(addresses) => addresses,
            Err(verdict) => return verdict,
        };
        let began = clock();
        let authority =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut verdict = Verdict::Error("the host has no address".into());
        for address in addresses {
            let left = limit.saturating_sub(clock().saturating_sub(asked));
            // Asked under its name, at the address that is known already.
            let request =
                client.get(format!("http://{address}{path}")).header(HOST, &*authority).timeout(left);
            match request.send().await {
                Ok(response) => return judge(response.status(), clock().saturating_sub(began)),
                Err(error) => {
                    let has_next = error.is_connect() && !error.is_timeout();
                    verdict = explain(&error, limit);
                    if !has_next {
                        break;
                    }
                }
            }
        }
        verdict
    }
}

fn build() -> Result<Client, String> {
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("mcsup/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())
}

fn judge(status: StatusCode, time: Duration) -> Verdict {
    let text = format!("{} in {}", status.as_u16(), took(time)).into();
    if (200..400).contains(&status.as_u16()) { Verdict::Pass(text) } else { Verdict::Fail(text) }
}

fn explain(error: &reqwest::Error, limit: Duration) -> Verdict {
    if error.is_timeout() {
        return timed_out(limit);
    }
    match system_error(error) {
        Some(cause) if error.is_connect() => not_connected(cause),
        Some(cause) if is_our_side(cause) => Verdict::Error(cause.to_string().into()),
        Some(_) | None if error.is_builder() => Verdict::Error(error.to_string().into()),
        Some(_) | None if error.is_connect() => Verdict::Error("cannot resolve or reach the host".into()),
        Some(_) | None => Verdict::Fail("the answer is not http, or ended early".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn ask(port: u16, limit: Duration) -> Verdict {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let http = Http::default();
        runtime.block_on(http.execute("127.0.0.1", port, "/health", limit, || Duration::ZERO))
    }

    /// Answers one request with these bytes.
    fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        port
    }

    #[test]
    fn a_resolver_that_hangs_is_an_error_and_no_failure() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let http = Http::new(crate::probe::resolve::tests::hanging());
        let limit = Duration::from_millis(20);
        let verdict = runtime.block_on(http.execute("db.internal", 1, "/", limit, || Duration::ZERO));
        assert!(matches!(verdict, Verdict::Error(_)), "{}", text(&verdict));
    }

    #[test]
    fn a_host_is_asked_under_its_name() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request[..length]).to_lowercase()
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let http = Http::default();
        let limit = Duration::from_secs(5);
        let verdict = runtime.block_on(http.execute("localhost", port, "/x", limit, || Duration::ZERO));
        assert_eq!(verdict, Verdict::Pass("204 in 0.0 ms".into()));
        let request = server.join().unwrap();
        assert!(request.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{request}");
        assert_eq!(request.matches("\r\nhost:").count(), 1, "{request}");
    }

    fn text(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Pass(text) | Verdict::Fail(text) | Verdict::Error(text) => text,
        }
    }

    #[test]
    fn statuses_from_200_to_399_pass_and_a_redirect_is_not_followed() {
        let limit = Duration::from_secs(5);
        let ok = ask(server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), limit);
        assert_eq!(ok, Verdict::Pass("200 in 0.0 ms".into()));
        let moved = ask(server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n"), limit);
        assert_eq!(moved, Verdict::Pass("302 in 0.0 ms".into()));
        let broken = ask(server("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"), limit);
        assert_eq!(broken, Verdict::Fail("500 in 0.0 ms".into()));
    }

    #[test]
    fn refusal_silence_and_nonsense_are_failures_in_words() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(ask(free, Duration::from_secs(5)), Verdict::Fail("connection refused".into()));
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let verdict = ask(silent.local_addr().unwrap().port(), Duration::from_millis(50));
        assert_eq!(verdict, Verdict::Fail("no answer within 50ms".into()));
        let nonsense = ask(server("hello\r\n\r\n"), Duration::from_secs(5));
        assert!(matches!(nonsense, Verdict::Fail(_)), "{}", text(&nonsense));
    }
}
