//! How a process is asked to end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Returns when the process is asked to end, with the name of the signal. A second request finds the default
/// behaviour no more: what drains is bounded, so nobody has to insist.
///
/// # Errors
/// If the system lets no handler be installed.
pub async fn requested() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
