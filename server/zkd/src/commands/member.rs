//! The way to a member's admin API: over mutual TLS to one pod, or through the socket in a data directory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use zke_admin::tls::{self, ClientIdentity, TlsError};
use zke_admin::v1::admin_client::AdminClient;
use zke_admin::v1::{StatusRequest, StatusResponse};

use super::report::{Failure, Outcome, Reason};

/// How long to go on dialling: a pod may be starting again. The Job's own retries come behind it.
const DIAL_DEADLINE: Duration = Duration::from_secs(30);
const DIAL_INTERVAL: Duration = Duration::from_millis(500);
/// Answered from the member's memory.
const STATUS_DEADLINE: Duration = Duration::from_secs(10);

/// Which member is meant, and how it is reached.
#[derive(Debug, Clone, Args)]
pub struct Door {
    /// The identity of the member, such as zkensemble://namespace/ensemble/pod
    #[arg(long, value_name = "URI", requires = "address", requires = "tls_dir")]
    pub member: Option<String>,
    /// Where its admin API is
    #[arg(long, value_name = "HOST:PORT", requires = "member")]
    pub address: Option<String>,
    /// Holds ca.crt, tls.crt and tls.key
    #[arg(long, value_name = "DIR", requires = "member")]
    pub tls_dir: Option<PathBuf>,
    /// The socket of a server on this machine: admin.sock in its data directory
    #[arg(long, value_name = "FILE", conflicts_with = "member")]
    pub socket: Option<PathBuf>,
}

impl Door {
    /// # Errors
    /// `MemberSilent` when nobody answers for half a minute, or somebody else does.
    pub async fn open(&self) -> Outcome<AdminClient<Channel>> {
        match (&self.socket, &self.member, &self.address, &self.tls_dir) {
            (Some(socket), ..) => open_socket(socket).await,
            (None, Some(member), Some(address), Some(tls_dir)) => open_tls(member, address, tls_dir).await,
            _ => Err(Failure::new(
                Reason::InvalidRequest,
                "name the member: --socket DIR/admin.sock, or --member, --address and --tls-dir",
            )),
        }
    }
}

async fn open_socket(socket: &Path) -> Outcome<AdminClient<Channel>> {
    if !socket.exists() {
        let message = format!("there is no {}: name admin.sock in the data directory", socket.display());
        return Err(Failure::new(Reason::NotFound, message));
    }
    let silent = |error: tonic::transport::Error| {
        Failure::new(
            Reason::MemberSilent,
            format!("no server answers at {}: {}", socket.display(), chain(&error)),
        )
    };
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).map_err(silent)?;
    endpoint.connect().await.map(AdminClient::new).map_err(silent)
}

async fn open_tls(member: &str, address: &str, tls_dir: &Path) -> Outcome<AdminClient<Channel>> {
    let read = |name: &str| {
        let path = tls_dir.join(name);
        std::fs::read(&path).map_err(|error| Failure::io(format_args!("read {}", path.display()), &error))
    };
    let identity = ClientIdentity::load(&read("ca.crt")?, &read("tls.crt")?, &read("tls.key")?);
    let identity = identity.map_err(|error| Failure::new(Reason::IoFailed, chain(&error)))?;
    let begun = Instant::now();
    loop {
        match tls::connect(address, member, &identity).await {
            Ok(channel) => return Ok(AdminClient::new(channel)),
            Err(TlsError::Connect { .. }) if begun.elapsed() < DIAL_DEADLINE => sleep(DIAL_INTERVAL).await,
            Err(error) => return Err(Failure::new(Reason::MemberSilent, chain(&error))),
        }
    }
}

/// What the member says of itself.
pub async fn status(member: &mut AdminClient<Channel>) -> Outcome<StatusResponse> {
    within(STATUS_DEADLINE, "its status", member.status(StatusRequest {}))
        .await
        .map(tonic::Response::into_inner)
}

/// Waits for one answer.
pub async fn within<T>(
    deadline: Duration,
    what: &str,
    answer: impl Future<Output = Result<T, Status>>,
) -> Outcome<T> {
    match timeout(deadline, answer).await {
        Ok(answer) => answer.map_err(|status| refused(&status)),
        Err(_) => {
            let message = format!("the member did not send {what} within {} s", deadline.as_secs());
            Err(Failure::new(Reason::MemberSilent, message))
        }
    }
}

/// What an answer that is none means.
fn refused(status: &Status) -> Box<Failure> {
    let reason = match status.code() {
        Code::DataLoss => Reason::Corrupt,
        // A connection that broke has one of these codes, and no member of ours uses them otherwise.
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => Reason::MemberSilent,
        _ => Reason::MemberRefused,
    };
    Failure::new(reason, format!("the member answered: {}", status.message()))
}

/// Two threads: one works on files, and the connection has to go on meanwhile.
pub fn runtime() -> Outcome<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure::io("start threads", &error))
}

pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}
