//! Calls to the members' admin API.
//!
//! A pod is dialled at its address and must prove its name; nothing is asked of DNS. Connections are made anew for
//! each look: there are few, and renewed certificates need no further care.

use std::time::Duration;

use tonic::transport::Channel;
use zke_admin::tls::{self, ClientIdentity};
use zke_admin::v1::admin_client::AdminClient;
use zke_admin::v1::{LeaderStatusRequest, LeaderStatusResponse, StatusRequest, StatusResponse};

use crate::error::Error;
use crate::names::{ADMIN_PORT, Names};

/// A member answers from memory; one that needs longer counts as silent for this look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// A change waits for Raft: a few elections and a flush of a slow disk fit in.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to one member.
#[derive(Clone, Debug)]
pub struct Member {
    pub pod: String,
    client: AdminClient<Channel>,
}

impl Member {
    /// # Errors
    /// [`Error::Silent`] when the pod does not answer, or another one does.
    pub async fn connect(
        names: &Names,
        pod: &str,
        address: &str,
        identity: &ClientIdentity,
    ) -> Result<Self, Error> {
        let silent = |source| Error::Silent { call: "connecting", pod: pod.to_owned(), source };
        let address = if address.contains(':') {
            format!("[{address}]:{}", ADMIN_PORT.1)
        } else {
            format!("{address}:{}", ADMIN_PORT.1)
        };
        let uri = names.uri(pod);
        let connecting = tls::connect(&address, &uri, identity);
        let channel = tokio::time::timeout(LOOK_TIMEOUT, connecting)
            .await
            .map_err(|elapsed| silent(elapsed.into()))?
            .map_err(|error| silent(error.into()))?;
        Ok(Self { pod: pod.to_owned(), client: AdminClient::new(channel) })
    }

    pub async fn status(&mut self) -> Result<StatusResponse, Error> {
        let call = self.client.status(StatusRequest {});
        answer("Status", &self.pod, LOOK_TIMEOUT, call).await
    }

    pub async fn leader_status(&mut self) -> Result<LeaderStatusResponse, Error> {
        let call = self.client.leader_status(LeaderStatusRequest {});
        answer("LeaderStatus", &self.pod, LOOK_TIMEOUT, call).await
    }

    /// One changing call; `call` names it for people.
    pub async fn change<T, F>(
        &mut self,
        call: &'static str,
        send: impl FnOnce(AdminClient<Channel>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        answer(call, &self.pod, CHANGE_TIMEOUT, send(self.client.clone())).await
    }
}

async fn answer<T>(
    call: &'static str,
    pod: &str,
    timeout: Duration,
    request: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(timeout, request).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::Refused { call, pod: pod.to_owned(), source: Box::new(status) }),
        Err(elapsed) => Err(Error::Silent { call, pod: pod.to_owned(), source: elapsed.into() }),
    }
}
