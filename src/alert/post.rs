//! One request to the outside: a client that trusts no proxy, follows nothing, and hangs nobody.

use std::error::Error;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use crate::aside::{Threads, authorities};

/// What a request may take from the first packet to the last.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Cheap to clone; the clients are built at the first request that needs them.
#[derive(Clone, Debug)]
pub(super) struct Web(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    names: Threads,
    plain: OnceCell<Client>,
    /// Knows the machine's certificates, which take a while to read.
    secure: OnceCell<Client>,
}

impl Web {
    pub(super) fn new() -> Self {
        let names = Threads::new("alert names", 2);
        Self(Arc::new(Shared { names, plain: OnceCell::new(), secure: OnceCell::new() }))
    }

    /// POSTs JSON; any status of 200 to 299 is a success.
    ///
    /// # Errors
    /// In words for a person. Never with the URL: it may hold a secret.
    pub(super) async fn post(&self, url: &str, body: Vec<u8>) -> Result<(), String> {
        let client = self.client_for(url).await?;
        send(client.post(url).header("content-type", "application/json").body(body)).await
    }

    /// GETs, and looks at the status only.
    ///
    /// # Errors
    /// As [`Web::post`].
    pub(super) async fn ping(&self, url: &str, limit: Duration) -> Result<(), String> {
        let client = self.client_for(url).await?;
        send(client.get(url).timeout(limit)).await
    }

    async fn client_for(&self, url: &str) -> Result<&Client, String> {
        let is_secure = url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        let names = self.0.names.clone();
        let roots = async {
            if !is_secure {
                return Ok(RootCertStore::empty());
            }
            let read = self.0.names.ask(LIMIT, authorities::of_machine).await;
            read.ok_or_else(|| "cannot read the machine's certificates in time".to_owned())
        };
        let cell = if is_secure { &self.0.secure } else { &self.0.plain };
        cell.get_or_try_init(|| async { build(roots.await?, names) }).await
    }
}

async fn send(request: RequestBuilder) -> Result<(), String> {
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("answered {}", answer.status().as_u16())),
        Err(error) if error.is_timeout() => Err("no answer in time".to_owned()),
        Err(error) => Err(deepest(&error.without_url())),
    }
}

fn build(roots: RootCertStore, names: Threads) -> Result<Client, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .timeout(LIMIT)
        // Incidents are rare: a connection that is kept would be a dead one.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("mcsup/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Names(names))
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| deepest(&error))
}

/// The system's own words, at the bottom of a library's.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The machine's resolver on few threads: one that hangs takes no more than those.
struct Names(Threads);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let threads = self.0.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let addresses = threads.ask_io(LIMIT, move || (name.as_str(), 0).to_socket_addrs()).await?;
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
