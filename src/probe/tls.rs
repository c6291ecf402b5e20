//! Whom to trust. Read once for each file of authorities, on a thread, and again after a certificate was refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::aside::files::whole;
use crate::aside::{Threads, authorities};
use crate::engine::time::Pretty;
use crate::probe::stream::Stream;
use crate::probe::{Trouble, in_words, is_our_side, ours, quoted, theirs};
use crate::unit::spec::probe::Tls;

type Known = Arc<Mutex<BTreeMap<Key, Arc<ClientConfig>>>>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    ca: Option<Box<str>>,
    verify: bool,
}

#[derive(Debug)]
pub(crate) struct Connectors {
    known: Known,
    threads: Threads,
}

impl Default for Connectors {
    fn default() -> Self {
        Self { known: Known::default(), threads: Threads::new("certificates", AT_ONCE) }
    }
}

/// Who is trusted by one question.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    key: Key,
    config: Arc<ClientConfig>,
    known: Known,
}

impl Connectors {
    pub(crate) async fn trust(&self, wanted: &Tls, limit: Duration) -> Result<Trust, Trouble> {
        let key = Key { ca: wanted.ca.clone(), verify: wanted.verify };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let config = match known {
            Some(config) => config,
            None => {
                let wanted = key.clone();
                let read = self.threads.ask(limit, move || build(&wanted)).await;
                let late = || ours(format!("cannot read certificates within {}", Pretty(limit)));
                let config = Arc::new(read.ok_or_else(late)?.map_err(Trouble::Ours)?);
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(key.clone(), Arc::clone(&config));
                config
            }
        };
        Ok(Trust { key, config, known: Arc::clone(&self.known) })
    }
}

impl Trust {
    /// `protocol`: what is spoken, as servers know it (`h2`).
    pub(crate) async fn greet(
        &self,
        host: &str,
        stream: Stream,
        protocol: &[u8],
    ) -> Result<TlsStream<Stream>, Trouble> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_refused| ours(format!("no certificate can be for {host}")))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let greeting = connector.with_alpn(vec![protocol.to_vec()]);
        greeting.connect(name, stream).await.map_err(|error| {
            let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match refused {
                Some(cause) => {
                    // The file of authorities may have been renewed since it was read.
                    self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
                    theirs(refusal(cause))
                }
                None if is_our_side(&error) => ours(in_words(&error)),
                None => theirs(format!("no TLS: {}", in_words(&error))),
            }
        })
    }
}

pub(crate) const AT_ONCE: usize = 2;
/// Several times what a machine trusts.
const MOST_AUTHORITIES_BYTES: u64 = 4 * 1024 * 1024;

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's list, which is open")]
fn refusal(cause: &rustls::Error) -> String {
    use rustls::CertificateError as Bad;
    match cause {
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "its certificate is of an unknown authority".into()
        }
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "its certificate has expired".into()
        }
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name".into()
        }
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".into(),
        other => quoted(&format!("no TLS: {other}")),
    }
}

fn build(wanted: &Key) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    if !wanted.verify {
        let anybody = Arc::new(Anybody(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    match &wanted.ca {
        Some(file) => {
            let unreadable = |cause: String| format!("cannot read the authorities in {file}: {cause}");
            let text = whole(Path::new(&**file), MOST_AUTHORITIES_BYTES);
            let text = text.map_err(|error| unreadable(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unreadable("it holds no certificate".to_owned()));
            }
        }
        None => {
            roots = authorities::of_machine();
            if roots.is_empty() {
                return Err(
                    "this machine has no certificates of authorities; install them, or name a `ca`".into()
                );
            }
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// For `verify: false`: whoever answers is trusted, and only the handshake itself must be sound.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_are_a_device_are_refused_before_they_fill_the_memory() {
        for device in ["/dev/null", "/dev/zero"] {
            let refused = build(&Key { ca: Some(device.into()), verify: true }).unwrap_err();
            assert_eq!(refused, format!("cannot read the authorities in {device}: it is not a regular file"));
        }
    }
}
