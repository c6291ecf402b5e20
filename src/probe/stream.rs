//! A connection to where a server listens.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::probe::resolve::Resolver;
use crate::probe::tls::Trust;
use crate::probe::{Trouble, in_words, is_our_side, of_system, ours, theirs};
use crate::unit::spec::probe::{Address, Target};

/// A target whose name is resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    addresses: Vec<SocketAddr>,
    path: Option<Box<str>>,
    /// What the server is called: in `Host`, in its certificate.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Place {
    pub(crate) async fn find(resolver: &Resolver, target: &Target, limit: Duration) -> Result<Self, Trouble> {
        match target {
            Target::Tcp(Address { host, port }) => {
                let addresses = resolver.resolve(host, *port, limit).await.map_err(Trouble::Ours)?;
                Ok(Self { addresses, path: None, host: host.to_string(), port: Some(*port) })
            }
            Target::Unix(path) => Ok(Self {
                addresses: Vec::new(),
                path: Some(path.clone()),
                host: "localhost".to_owned(),
                port: None,
            }),
        }
    }

    /// `host:port`, without the port where it is the usual one.
    pub(crate) fn authority(&self, usual_port: u16) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            Some(port) if port != usual_port => format!("{host}:{port}"),
            Some(_) | None => host,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Self>>),
}

impl Stream {
    /// To the first address that takes it.
    pub(crate) async fn connect(place: &Place) -> Result<Self, Trouble> {
        if let Some(path) = &place.path {
            return match UnixStream::connect(&**path).await {
                Ok(stream) => Ok(Self::Unix(stream)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Err(theirs(format!("no socket {path}")))
                }
                Err(error) => Err(of_system(&error)),
            };
        }
        let mut trouble = ours("the host has no address");
        for address in &place.addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // A question is one small write; nothing is gained by waiting for more of it.
                    drop(stream.set_nodelay(true));
                    return Ok(Self::Tcp(stream));
                }
                Err(error) if is_our_side(&error) => trouble = ours(in_words(&error)),
                Err(error) => trouble = theirs(in_words(&error)),
            }
        }
        Err(trouble)
    }

    /// With TLS if it is wanted; `protocols` are told to the server.
    pub(crate) async fn open(place: &Place, trust: Option<&Trust>, protocol: &[u8]) -> Result<Self, Trouble> {
        let plain = Self::connect(place).await?;
        match trust {
            None => Ok(plain),
            Some(trust) => {
                let stream = trust.greet(&place.host, plain, protocol).await?;
                Ok(Self::Tls(Box::new(stream)))
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
