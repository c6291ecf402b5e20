//! Passes when somebody accepts a connection.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::engine::event::Verdict;
use crate::probe::{not_connected, timed_out, took};

/// Connects once and hangs up. `clock` tells the time since some fixed instant.
pub async fn execute(host: &str, port: u16, limit: Duration, clock: impl Fn() -> Duration) -> Verdict {
    let began = clock();
    match timeout(limit, TcpStream::connect((host, port))).await {
        Err(_elapsed) => timed_out(limit),
        Ok(Err(error)) => not_connected(&error),
        Ok(Ok(stream)) => {
            drop(stream);
            Verdict::Pass(format!("connected in {}", took(clock().saturating_sub(began))).into())
        }
    }
}
