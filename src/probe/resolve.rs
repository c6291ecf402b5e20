//! Names of hosts. That a name cannot be resolved says nothing about the service behind it, so it is asked
//! for first, with a deadline of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use crate::aside::Threads;
use crate::engine::time::Pretty;
use crate::probe::in_words;

type Ask = fn(&str) -> io::Result<Vec<IpAddr>>;

#[derive(Clone, Debug)]
pub struct Resolver {
    threads: Threads,
    ask: Ask,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { threads: Threads::new("resolver", AT_ONCE), ask: ask_system }
    }
}

impl Resolver {
    /// Where `host` may be found, best first. An address and `localhost` are known without asking anybody.
    ///
    /// # Errors
    /// Why not, in words: never a failure of the service.
    pub async fn resolve(&self, host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, String> {
        let with_port = |ip| SocketAddr::new(ip, port);
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![with_port(ip)]);
        }
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![with_port(Ipv4Addr::LOCALHOST.into()), with_port(Ipv6Addr::LOCALHOST.into())]);
        }
        let (ask, name) = (self.ask, host.to_owned());
        let why = match self.threads.ask(limit, move || ask(&name)).await {
            Some(Ok(found)) if !found.is_empty() => return Ok(found.into_iter().map(with_port).collect()),
            Some(Ok(_)) => "it has no address".to_owned(),
            Some(Err(error)) => in_words(&error),
            None => format!("the resolver gave no answer within {}", Pretty(limit)),
        };
        Err(format!("cannot resolve {host}: {why}"))
    }
}

fn ask_system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// More hosts that hang at once are no better resolved by more threads.
pub const AT_ONCE: usize = 8;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One that does not answer in time.
    pub(in crate::probe) fn hanging() -> Resolver {
        Resolver {
            ask: |_| {
                // Far longer than anybody here waits, and yet the test ends.
                std::thread::park_timeout(Duration::from_millis(500));
                Ok(Vec::new())
            },
            ..Resolver::default()
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn ask(resolver: &Resolver, host: &str) -> Result<Vec<SocketAddr>, String> {
        runtime().block_on(resolver.resolve(host, 80, Duration::from_millis(20)))
    }

    #[test]
    fn a_resolver_that_hangs_is_no_failure_of_the_service() {
        let error = ask(&hanging(), "db.internal");
        let why = "cannot resolve db.internal: the resolver gave no answer within 20ms";
        assert_eq!(error, Err(why.to_owned()));
    }

    #[test]
    fn an_unknown_name_is_no_failure_of_the_service() {
        let nobody = Resolver { ask: |_| Err(io::Error::other("no such name")), ..Resolver::default() };
        let error = ask(&nobody, "db.internal");
        assert_eq!(error, Err("cannot resolve db.internal: no such name".to_owned()));
    }

    #[test]
    fn addresses_and_localhost_need_no_resolver() {
        let texts = |host| -> Vec<String> {
            ask(&hanging(), host).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts("10.1.2.3"), ["10.1.2.3:80"]);
        assert_eq!(texts("::1"), ["[::1]:80"]);
        assert_eq!(texts("localhost"), ["127.0.0.1:80", "[::1]:80"]);
    }
}
