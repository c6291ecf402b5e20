//! Passes when somebody accepts a connection.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::engine::event::Verdict;
use crate::probe::resolve::Resolver;
use crate::probe::{not_connected, timed_out, took};

/// Connects once and hangs up. `clock` tells the time since some fixed instant.
pub async fn execute(
    resolver: &Resolver,
    host: &str,
    port: u16,
    limit: Duration,
    clock: impl Fn() -> Duration,
) -> Verdict {
    let asked = clock();
    let addresses = match resolver.resolve(host, port, limit).await {
        Ok(addresses) => addresses,
        Err(verdict) => return verdict,
    };
    let began = clock();
    let left = limit.saturating_sub(began.saturating_sub(asked));
    match timeout(left, TcpStream::connect(addresses.as_slice())).await {
        Err(_elapsed) => timed_out(limit),
        Ok(Err(error)) => not_connected(&error),
        Ok(Ok(stream)) => {
            drop(stream);
            Verdict::Pass(format!("connected in {}", took(clock().saturating_sub(began))).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::resolve::tests::hanging;

    #[test]
    fn a_resolver_that_hangs_is_an_error_and_no_failure() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let resolver = hanging();
        let asking = execute(&resolver, "db.internal", 1, Duration::from_millis(20), || Duration::ZERO);
        let verdict = runtime.block_on(asking);
        assert!(matches!(verdict, Verdict::Error(_)), "{verdict:?}");
    }
}
