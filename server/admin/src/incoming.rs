//! Accepting connections for a tonic server, with or without TLS, in one bounded place.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::tls::{PeerStream, TlsError};

/// TLS handshakes under way. Members and the operator open a few connections each; the rest waits in the kernel.
const HANDSHAKES_MAX: usize = 64;
/// After a failed accept, which means that the process is out of file descriptors or memory.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Connections that did their handshake. `config` is asked for each one, so that renewed certificates are used at once.
///
/// Ends when the receiver is dropped. A failed handshake is logged and concerns nobody else.
pub fn tls_incoming(
    listener: TcpListener,
    config: impl Fn() -> Result<Arc<ServerConfig>, TlsError> + Send + Sync + 'static,
) -> mpsc::Receiver<io::Result<PeerStream>> {
    let (ready, incoming) = mpsc::channel(HANDSHAKES_MAX);
    tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        while !ready.is_closed() {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let tcp = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let tcp = match tcp {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                    continue;
                }
            };
            let (ready, config) = (ready.clone(), config());
            tokio::spawn(async move {
                let accepted = match config {
                    Ok(config) => PeerStream::accept(tcp, config).await,
                    Err(error) => Err(error),
                };
                match accepted {
                    Ok(stream) => {
                        // The server stopped meanwhile.
                        let _ = ready.send(Ok(stream)).await;
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "refused a connection")
                    }
                }
                drop(permit);
            });
        }
    });
    incoming
}
