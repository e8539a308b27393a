//! TLS for clients: rustls, versions 1.2 and 1.3, with what ZooKeeper's `ssl.*` keys name.
//!
//! Certificates, keys and trusted CAs are read again when their files change. A connection keeps what it began with, so
//! a renewal drops no session; a new one gets the new certificate. Files that do not fit together, as in the moment
//! between the writing of two, change nothing but the log. No session is resumed: each connection shows its certificate
//! anew, to the CA as it is now.
//!
//! Handshakes are bounded in time by the caller and in number here. No host name is ever looked up or compared.

mod der;
pub(crate) mod jks;
mod keystore;
mod subject;
mod verifier;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::{ClientAuth, Password, Secret, Store, Tls, Versions};
use keystore::{KeyPair, StoreError};
use verifier::ClientVerifier;

/// Every handshake of TLS begins with this byte, and nothing that ZooKeeper's clients say in plain text does: it would
/// be a frame of more than 300 MiB.
const HANDSHAKE: u8 = 0x16;

/// How long a client that has said hello may take for the rest: two round trips and its signature. While clients wait
/// for each other, one that says no more holds them up for no longer.
const TURN: Duration = Duration::from_secs(3);

/// The TLS side of a server.
pub struct ClientTls {
    settings: Tls,
    current: RwLock<Arc<ServerConfig>>,
    /// What the files held when they were last looked at, whether or not it could be used; `None` if they could not be
    /// read.
    seen: Mutex<Option<Contents>>,
    handshakes: Semaphore,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot use {}: {source}", path.display())]
    Store { path: PathBuf, source: StoreError },
    #[error("cannot use the key of {}: it is of a kind that is not served", path.display())]
    Key { path: PathBuf, source: rustls::Error },
    #[error("the certificate and the key of {} do not belong together: if they are being replaced, write both", path.display())]
    Mismatch { path: PathBuf },
    #[error("none of the cipher suites of ssl.ciphersuites is served: leave it out for all that are safe")]
    NoCipherSuite,
    #[error("cannot set up TLS: check the certificates of ssl.keyStore and ssl.trustStore")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn load(settings: &Tls) -> Result<Self, TlsError> {
        let contents = Contents::read(settings)?;
        let current = contents.server_config(settings)?;
        let handshakes = Semaphore::new(settings.handshakes_max.min(Semaphore::MAX_PERMITS));
        Ok(Self {
            settings: settings.clone(),
            current: RwLock::new(current),
            seen: Mutex::new(Some(contents)),
            handshakes,
        })
    }

    /// Looks at the files again; what cannot be used is logged, once for each change.
    pub fn reload(&self) {
        let mut seen = self.seen.lock();
        let contents = match Contents::read(&self.settings) {
            Ok(contents) => contents,
            // In the middle of a replacement a file may be missing. Once is enough until they can be read again.
            Err(error) => {
                if seen.take().is_some() {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "keeping the TLS certificates there are"
                    );
                }
                return;
            }
        };
        if seen.as_ref() == Some(&contents) {
            return;
        }
        match contents.server_config(&self.settings) {
            Ok(config) => {
                *self.current.write() = config;
                tracing::info!("new clients get the new TLS certificates");
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "keeping the TLS certificates there are"
                );
            }
        }
        *seen = Some(contents);
    }

    /// Does the handshake on a fresh connection. Once the client has said hello it waits while too many others are at
    /// it: silence takes nobody's turn.
    ///
    /// # Errors
    /// The client speaks no TLS, shows no certificate that is trusted, or takes longer than [`TURN`].
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let greeted = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let _turn = self.handshakes.acquire().await.map_err(io::Error::other)?;
        let config = Arc::clone(&self.current.read());
        timeout(TURN, greeted.into_stream(config)).await?
    }
}

/// Whether the first byte that comes is that of a handshake; it is left where it is.
///
/// # Errors
/// Those of the socket.
pub async fn speaks_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first == [HANDSHAKE])
}

/// The subject of the certificate that the client has shown and we trust, as ZooKeeper writes it.
pub fn client_subject(stream: &TlsStream<TcpStream>) -> Option<String> {
    let (_, connection) = stream.get_ref();
    subject::of(connection.peer_certificates()?.first()?)
}

/// What stands in all the files.
#[derive(PartialEq, Eq)]
struct Contents {
    key_store: Vec<u8>,
    key_password: Option<Secret>,
    key_file: Option<Vec<u8>>,
    trust_store: Option<Vec<u8>>,
    trust_password: Option<Secret>,
}

impl Contents {
    fn read(settings: &Tls) -> Result<Self, TlsError> {
        let trust_store = settings.trust_store.as_ref();
        Ok(Self {
            key_store: read(&settings.key_store.path)?,
            key_password: password(&settings.key_store)?,
            key_file: settings.key_file.as_deref().map(read).transpose()?,
            trust_store: trust_store.map(|store| read(&store.path)).transpose()?,
            trust_password: trust_store.map(password).transpose()?.flatten(),
        })
    }

    fn server_config(&self, settings: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(provider(&settings.cipher_suites)?);
        let certified = self.certified_key(settings, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(settings.versions))
            .map_err(|error| TlsError::Setup(Box::new(error)))?;
        let trusted = settings.trust_store.as_ref().zip(self.trust_store.as_ref());
        let builder = match trusted.filter(|_| settings.client_auth != ClientAuth::None) {
            None => builder.with_no_client_auth(),
            Some((store, bytes)) => {
                let anchors = keystore::trusted(store.kind, bytes, self.trust_password.as_ref())
                    .map_err(|source| TlsError::Store { path: store.path.clone(), source })?;
                let verifier = ClientVerifier::new(anchors, settings.client_auth, &provider)?;
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// rustls' own way to build one refuses certificates of version 1, which clients of ZooKeeper take.
    fn certified_key(&self, settings: &Tls, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let Store { path, kind, .. } = &settings.key_store;
        let pair =
            keystore::key_pair(*kind, &self.key_store, self.key_password.as_ref(), self.key_file.as_deref());
        let KeyPair { chain, key } = pair.map_err(|source| TlsError::Store { path: path.clone(), source })?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|source| TlsError::Key { path: path.clone(), source })?;
        let leaf = chain.first().map(|leaf| X509Certificate::from_der(leaf));
        let Some(Ok((_, leaf))) = leaf else {
            return Err(TlsError::Store { path: path.clone(), source: StoreError::NoCertificate });
        };
        // A kind of key that cannot tell its public half is not refused for it.
        if key.public_key().is_some_and(|public| public.as_ref() != leaf.public_key().raw) {
            return Err(TlsError::Mismatch { path: path.clone() });
        }
        Ok(CertifiedKey::new(chain, key))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn password(store: &Store) -> Result<Option<Secret>, TlsError> {
    match &store.password {
        None => Ok(None),
        Some(Password::Text(text)) => Ok(Some(text.clone())),
        // As ZooKeeper: its first line, since editors end a file with one.
        Some(Password::File(path)) => {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            Ok(Some(Secret::new(text.lines().next().unwrap_or_default())))
        }
    }
}

/// With the cipher suites of these names, or all if none is named.
fn provider(names: &[String]) -> Result<CryptoProvider, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    if !names.is_empty() {
        // Java's names; those of TLS 1.3 have a prefix of their own here.
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            names.contains(&name)
        });
    }
    if provider.cipher_suites.is_empty() { Err(TlsError::NoCipherSuite) } else { Ok(provider) }
}

fn versions(versions: Versions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    match versions {
        Versions { tls12: true, tls13: true } => BOTH,
        Versions { tls12: true, .. } => &BOTH[1..],
        Versions { .. } => &BOTH[..1],
    }
}
