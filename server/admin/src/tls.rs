//! Mutual TLS between the parts of one ensemble: members among themselves, and the operator with members.
//!
//! An identity is one URI in a certificate's subject alternative names, signed by the ensemble's own CA:
//! `zkensemble://<namespace>/<ensemble>/<pod>` for a member, `…/operator` for the operator. Whoever dials says
//! which identity must answer; whoever accepts learns who calls. Host names and addresses prove nothing here:
//! pods change addresses, and DNS must never decide which disk is spoken to.
//!
//! TLS 1.3 only, both sides always present a certificate, and neither check can be switched off.
//! Nothing is cached: to use renewed files, load them and connect (or accept) again.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, ServerConnection,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, server::TlsStream};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};
use x509_parser::extensions::GeneralName;

/// The scheme of every identity of an ensemble.
const SCHEME: &str = "zkensemble://";

/// Longest wait for TCP and TLS to be up, on either side. Two round trips and a few signatures need milliseconds;
/// a peer that needs this long is not usable, and a stalled handshake must not hold a task for ever.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence after which a connection is probed, and then how long the answer may take: a peer whose machine
/// vanished sends no reset, so only this ends a connection to it.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("reading {what} as PEM: check that the file is complete and not empty")]
    Pem {
        what: &'static str,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("found no certificate in {what}: check that the file is complete and not empty")]
    NoCertificate { what: &'static str },
    #[error("setting up TLS: check that the certificate belongs to the key and both to the CA")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("reaching {expected_uri} at {address}")]
    Connect {
        address: String,
        expected_uri: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("accepting a TLS connection")]
    Accept(#[source] io::Error),
}

/// What this side shows when it dials, and the CA it trusts. Cheap to clone.
#[derive(Clone)]
pub struct ClientIdentity {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl ClientIdentity {
    /// Reads PEM: the ensemble's CA (one or more certificates), this side's certificate chain, leaf first, and its key.
    ///
    /// # Errors
    /// [`TlsError`] when one of them is no PEM, is empty, or the key does not belong to the certificate.
    pub fn load(ca_pem: &[u8], cert_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        let identity = Self {
            roots: Arc::new(roots(ca_pem)?),
            chain: certificates(cert_pem, "the certificate")?,
            key: Arc::new(private_key(key_pem)?),
        };
        // A key that does not fit is the reader's mistake: say so now and not at the first connection.
        identity.config(String::new())?;
        Ok(identity)
    }

    fn config(&self, expected_uri: String) -> Result<ClientConfig, TlsError> {
        let provider = provider();
        let verifier = PeerVerifier { roots: self.roots.clone(), expected_uri, provider: provider.clone() };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(setup)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// Connects to `address` (host:port) and proves that `expected_uri` answers there.
///
/// The channel connects anew by itself after a lost connection, with the same check each time.
///
/// # Errors
/// [`TlsError::Connect`] when nobody answers within 5 s, or somebody else does; the cause says which.
pub async fn connect(
    address: &str,
    expected_uri: &str,
    identity: &ClientIdentity,
) -> Result<Channel, TlsError> {
    let connector = TlsConnector::from(Arc::new(identity.config(expected_uri.to_owned())?));
    let target = address.to_owned();
    let dial = tower::service_fn(move |_: http::Uri| {
        let (connector, target) = (connector.clone(), target.clone());
        async move { within_deadline(dial(connector, target)).await.map(TokioIo::new) }
    });
    // The URI only fills HTTP's :authority; where to dial and whom to expect is decided above.
    Endpoint::from_static("http://zkd")
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        // Snapshots and batches of entries travel here; the 64 KiB default would halt each of them on a round trip.
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .connect_with_connector(dial)
        .await
        .map_err(|source| TlsError::Connect {
            address: address.to_owned(),
            expected_uri: expected_uri.to_owned(),
            source,
        })
}

/// The accepting side's configuration: only callers with a certificate of the same CA get through.
///
/// # Errors
/// As [`ClientIdentity::load`].
pub fn server_config(ca_pem: &[u8], cert_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let callers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca_pem)?), provider.clone())
        .build()
        .map_err(setup)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(setup)?
        .with_client_cert_verifier(callers)
        .with_single_cert(certificates(cert_pem, "the certificate")?, private_key(key_pem)?)
        .map_err(setup)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would outlive a renewed certificate or CA; connections here are few and long.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Who is at the other end of an accepted connection: the one `zkensemble://…` URI of its certificate.
///
/// `None` when the certificate has none, or more than one: an identity that has to be chosen is no identity.
pub fn peer_uri(connection: &ServerConnection) -> Option<String> {
    identity_uri(connection.peer_certificates()?.first()?)
}

/// An accepted connection; a tonic server takes a stream of these and hands [`PeerInfo`] to each call.
pub struct PeerStream {
    tls: TlsStream<TcpStream>,
    info: PeerInfo,
}

/// In a tonic handler: `request.extensions().get::<PeerInfo>()`.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The caller's identity as [`peer_uri`] gives it.
    pub uri: Option<String>,
    pub address: Option<SocketAddr>,
}

impl PeerStream {
    /// Does the TLS handshake on a fresh TCP connection.
    ///
    /// # Errors
    /// [`TlsError::Accept`] when the caller shows no certificate of our CA, or takes longer than 5 s.
    pub async fn accept(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        tcp.set_nodelay(true).map_err(TlsError::Accept)?;
        let address = tcp.peer_addr().ok();
        let tls = within_deadline(TlsAcceptor::from(config).accept(tcp)).await.map_err(TlsError::Accept)?;
        let uri = peer_uri(tls.get_ref().1);
        Ok(Self { tls, info: PeerInfo { uri, address } })
    }

    pub fn info(&self) -> &PeerInfo {
        &self.info
    }
}

impl Connected for PeerStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

/// Accepts a certificate that our CA signed and that carries exactly the identity we dial.
#[derive(Debug)]
struct PeerVerifier {
    roots: Arc<RootCertStore>,
    expected_uri: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        match identity_uri(end_entity) {
            Some(uri) if uri == self.expected_uri => Ok(ServerCertVerified::assertion()),
            found => {
                let found = found.unwrap_or_else(|| "no single zkensemble:// identity".to_owned());
                let mismatch = format!("expected {}, found {found}", self.expected_uri);
                Err(CertificateError::Other(rustls::OtherError(Arc::new(io::Error::other(mismatch)))).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Explicit, so that this works whatever provider the process has (or has not) installed as its default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

async fn dial(
    connector: TlsConnector,
    target: String,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(&target).await?;
    tcp.set_nodelay(true)?;
    // Any valid name will do: the verifier looks at the identity, and the server has one certificate only.
    connector.connect(ServerName::try_from("zkd").expect("zkd is a valid DNS name"), tcp).await
}

async fn within_deadline<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(HANDSHAKE_TIMEOUT, step).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "TCP and TLS took longer than 5 s to come up"))
    })
}

fn identity_uri(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut identities = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some((*uri).to_owned()),
        _ => None,
    });
    let identity = identities.next()?;
    identities.next().is_none().then_some(identity)
}

fn roots(ca_pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem, "the CA")? {
        roots.add(certificate).map_err(setup)?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { what });
    }
    Ok(found)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| TlsError::Pem { what: "the private key", source })
}

fn setup(source: impl std::error::Error + Send + Sync + 'static) -> TlsError {
    TlsError::Setup(Box::new(source))
}

#[cfg(test)]
mod tests;
