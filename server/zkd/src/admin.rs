//! The admin API: what the operator, or somebody on this machine, may ask of this process.
//!
//! Translates between the API's types and the ensemble's, and checks who calls: over the network by the certificate
//! (see [`callers`]), on the unix socket whoever may open it. Decides nothing else.

mod archives;
mod callers;

use std::path::PathBuf;

use anyhow::Context;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use zke_admin::incoming::tls_incoming;
use zke_admin::tls::PeerInfo;
use zke_admin::v1::admin_server::{Admin, AdminServer};
use zke_admin::v1::{self as api};
use zke_consensus::{AdminError, Ensemble, MemberStatus, PeerNode, Role, Serving};
use zke_storage::DiskState;
use zke_tree::{EnsembleId, LogIndex, MemberId, Term};

use callers::Method;

use crate::config::Listen;
use crate::listener;
use crate::start::{self, Membership};

/// What there is to administrate.
#[derive(Clone)]
pub(crate) enum Disk {
    Open(Ensemble),
    /// File and offset, in words.
    Corrupt(String),
}

/// Serves until it fails or is dropped.
pub(crate) async fn serve(disk: Disk, members: Membership, data_dir: PathBuf) -> anyhow::Result<()> {
    let Some(managed) = members.managed() else {
        let socket = start::admin_socket(&data_dir).context("cannot listen on the admin socket")?;
        let service =
            AdminServer::new(Service { disk, config_hash: String::new(), uri_prefix: None, data_dir });
        let server = Server::builder().add_service(service);
        return server
            .serve_with_incoming(UnixListenerStream::new(socket))
            .await
            .context("serving the admin API");
    };
    let credentials = start::credentials(managed);
    let service = AdminServer::new(Service {
        disk,
        config_hash: managed.config_hash.clone(),
        uri_prefix: Some(credentials.uri_prefix.clone()),
        data_dir,
    });
    let listen = Listen { host: None, port: managed.admin_port };
    let socket = listener::bind(&listen)
        .await
        .with_context(|| format!("cannot listen for the operator on {listen}"))?;
    let incoming = tls_incoming(socket, move || credentials.server());
    let server = Server::builder().tcp_nodelay(true).add_service(service);
    server.serve_with_incoming(ReceiverStream::new(incoming)).await.context("serving the admin API")
}

struct Service {
    disk: Disk,
    config_hash: String,
    /// Of the identities that may call; `None` on the unix socket.
    uri_prefix: Option<String>,
    data_dir: PathBuf,
}

impl Service {
    fn allow<T>(&self, request: &Request<T>, method: Method) -> Result<(), Status> {
        let Some(prefix) = &self.uri_prefix else { return Ok(()) };
        let caller = request.extensions().get::<PeerInfo>().and_then(|info| info.uri.as_deref());
        if callers::may_call(prefix, caller, method) {
            return Ok(());
        }
        let caller = caller.unwrap_or("a caller without an identity");
        Err(Status::permission_denied(format!("{caller} may not call {method:?} of a member of {prefix}")))
    }

    /// The ensemble, for a caller who is allowed.
    fn ensemble<T>(&self, request: &Request<T>, method: Method) -> Result<&Ensemble, Status> {
        self.allow(request, method)?;
        match &self.disk {
            Disk::Open(ensemble) => Ok(ensemble),
            Disk::Corrupt(detail) => {
                Err(Status::failed_precondition(format!("the disk is corrupt: {detail}")))
            }
        }
    }

    fn status(&self, ensemble: &Ensemble) -> api::StatusResponse {
        let status = ensemble.status();
        let disk_state = disk_state(&status);
        let (ready, not_ready_reason) = match status.serving {
            Serving::Yes => (true, String::new()),
            Serving::No(reason) => (false, reason.to_string()),
        };
        let member = |(id, node): (&MemberId, &PeerNode)| api::Member {
            member_id: id.0,
            pod: node.pod.clone(),
            peer_address: node.address.clone(),
        };
        let voter_set =
            |set: &Vec<MemberId>| api::VoterSet { member_ids: set.iter().map(|id| id.0).collect() };
        api::StatusResponse {
            disk_state: disk_state.into(),
            disk_detail: String::new(),
            ensemble_id: status.identity.ensemble.map(|id| id.to_string()).unwrap_or_default(),
            member_id: status.identity.member.0,
            pod: status.pod,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: role(status.role).into(),
            term: status.term.0,
            leader_member_id: status.leader.map_or(0, |id| id.0),
            last_log_index: status.last_log_index.0,
            commit_index: status.commit_index.0,
            applied_index: status.applied_index.0,
            config_index: status.config_index.0,
            members: status.members.iter().map(member).collect(),
            voter_sets: status.voter_sets.iter().map(voter_set).collect(),
            serving: status.lets_clients_in,
            ready,
            not_ready_reason,
            last_zxid: u64::try_from(status.last_zxid.0).unwrap_or(0),
            apply_level: ensemble.state().read().apply_level(),
            config_hash: self.config_hash.clone(),
            control_epoch: status.control_epoch,
        }
    }
}

/// A disk that was told to begin an ensemble and crashed before it did counts as blank: the call is repeated.
fn disk_state(status: &MemberStatus) -> api::DiskState {
    let named = status.members.contains_key(&status.identity.member);
    match status.identity.state {
        DiskState::Retired | DiskState::Renewing => api::DiskState::Retired,
        DiskState::Diverged => api::DiskState::Corrupt,
        _ if status.identity.ensemble.is_none() => api::DiskState::Blank,
        _ if named => api::DiskState::Member,
        DiskState::Member if status.members.is_empty() => api::DiskState::Blank,
        DiskState::Blank | DiskState::Joining | DiskState::Member | DiskState::Restoring => {
            api::DiskState::Joining
        }
    }
}

fn role(role: Role) -> api::Role {
    match role {
        Role::Leader => api::Role::Leader,
        Role::Follower => api::Role::Follower,
        Role::Candidate => api::Role::Candidate,
        Role::Learner => api::Role::Learner,
    }
}

fn refused(error: AdminError) -> Status {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        message = format!("{message}: {source}");
        cause = source.source();
    }
    match error {
        AdminError::NotLeader { .. } => Status::unavailable(message),
        AdminError::Precondition { .. } | AdminError::Adopt(_) => Status::failed_precondition(message),
        AdminError::Archive(_) => Status::data_loss(message),
        AdminError::Timeout => Status::deadline_exceeded(message),
        AdminError::Failed(_) => Status::internal(message),
    }
}

fn ensemble_id(text: &str) -> Result<EnsembleId, Status> {
    text.parse().map_err(|error: zke_tree::ParseIdError| Status::invalid_argument(error.to_string()))
}

#[tonic::async_trait]
impl Admin for Service {
    async fn status(
        &self,
        request: Request<api::StatusRequest>,
    ) -> Result<Response<api::StatusResponse>, Status> {
        self.allow(&request, Method::Status)?;
        let status = match &self.disk {
            Disk::Open(ensemble) => self.status(ensemble),
            Disk::Corrupt(detail) => api::StatusResponse {
                disk_state: api::DiskState::Corrupt.into(),
                disk_detail: detail.clone(),
                not_ready_reason: "the disk is corrupt".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                config_hash: self.config_hash.clone(),
                ..Default::default()
            },
        };
        Ok(Response::new(status))
    }

    async fn leader_status(
        &self,
        request: Request<api::LeaderStatusRequest>,
    ) -> Result<Response<api::LeaderStatusResponse>, Status> {
        let ensemble = self.ensemble(&request, Method::LeaderStatus)?;
        let progress = ensemble.progress().await.map_err(refused)?;
        let progress = progress.into_iter().map(|(id, progress)| api::Progress {
            member_id: id.0,
            matched_index: progress.matched_index.0,
            in_sync: progress.in_sync,
        });
        let progress = progress.collect();
        Ok(Response::new(api::LeaderStatusResponse { status: Some(self.status(ensemble)), progress }))
    }

    async fn bootstrap(
        &self,
        request: Request<api::BootstrapRequest>,
    ) -> Result<Response<api::BootstrapResponse>, Status> {
        let ensemble = self.ensemble(&request, Method::Bootstrap)?;
        let asked = request.get_ref();
        let own_pod = ensemble.status().pod;
        if asked.pod != own_pod {
            return Err(Status::failed_precondition(format!("this is pod {own_pod}")));
        }
        let id = ensemble_id(&asked.ensemble_id)?;
        let expect = MemberId(asked.expect_member_id);
        ensemble.bootstrap(id, expect, asked.peer_address.clone()).await.map_err(refused)?;
        Ok(Response::new(api::BootstrapResponse {}))
    }

    async fn join(&self, request: Request<api::JoinRequest>) -> Result<Response<api::JoinResponse>, Status> {
        let ensemble = self.ensemble(&request, Method::Join)?;
        let asked = request.get_ref();
        let id = ensemble_id(&asked.ensemble_id)?;
        ensemble.join(id, MemberId(asked.expect_member_id)).map_err(refused)?;
        Ok(Response::new(api::JoinResponse {}))
    }

    async fn take_control(
        &self,
        request: Request<api::TakeControlRequest>,
    ) -> Result<Response<api::TakeControlResponse>, Status> {
        let ensemble = self.ensemble(&request, Method::TakeControl)?;
        let control_epoch = ensemble.take_control().await.map_err(refused)?;
        tracing::info!(holder = ?request.get_ref().holder, control_epoch, "an operator took control");
        Ok(Response::new(api::TakeControlResponse { control_epoch }))
    }

    async fn add_learner(
        &self,
        request: Request<api::AddLearnerRequest>,
    ) -> Result<Response<api::MembershipResponse>, Status> {
        let ensemble = self.ensemble(&request, Method::AddLearner)?;
        let asked = request.get_ref();
        let learner = asked.member.as_ref().ok_or_else(|| Status::invalid_argument("no member is named"))?;
        let node = PeerNode { pod: learner.pod.clone(), address: learner.peer_address.clone() };
        let expect = LogIndex(asked.expect_config_index);
        let added =
            ensemble.add_learner(asked.control_epoch, expect, MemberId(learner.member_id), node).await;
        let config_index = added.map_err(refused)?.0;
        Ok(Response::new(api::MembershipResponse { config_index }))
    }

    async fn change_voters(
        &self,
        request: Request<api::ChangeVotersRequest>,
    ) -> Result<Response<api::MembershipResponse>, Status> {
        let ensemble = self.ensemble(&request, Method::ChangeVoters)?;
        let asked = request.get_ref();
        let ids = |ids: &[u64]| ids.iter().copied().map(MemberId).collect();
        let (voters, retire) = (ids(&asked.voter_member_ids), ids(&asked.retire_member_ids));
        let expect = LogIndex(asked.expect_config_index);
        let changed = ensemble.change_voters(asked.control_epoch, expect, voters, retire).await;
        let config_index = changed.map_err(refused)?.0;
        Ok(Response::new(api::MembershipResponse { config_index }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<api::TransferLeadershipRequest>,
    ) -> Result<Response<api::TransferLeadershipResponse>, Status> {
        let ensemble = self.ensemble(&request, Method::TransferLeadership)?;
        let asked = request.get_ref();
        let to = (asked.to_member_id != 0).then_some(MemberId(asked.to_member_id));
        let moved = ensemble.transfer_leadership(asked.control_epoch, Term(asked.expect_term), to).await;
        moved.map_err(refused)?;
        Ok(Response::new(api::TransferLeadershipResponse {}))
    }

    async fn set_serving(
        &self,
        request: Request<api::SetServingRequest>,
    ) -> Result<Response<api::SetServingResponse>, Status> {
        let ensemble = self.ensemble(&request, Method::SetServing)?;
        let asked = request.get_ref();
        ensemble.set_serving(asked.control_epoch, asked.serving).await.map_err(refused)?;
        Ok(Response::new(api::SetServingResponse {}))
    }

    type SnapshotStream = archives::Snapshot;

    async fn snapshot(
        &self,
        request: Request<api::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let ensemble = self.ensemble(&request, Method::Snapshot)?;
        archives::snapshot(ensemble, &self.data_dir).await.map(Response::new)
    }

    async fn restore(
        &self,
        request: Request<Streaming<api::RestoreChunk>>,
    ) -> Result<Response<api::RestoreResponse>, Status> {
        let ensemble = self.ensemble(&request, Method::Restore)?;
        archives::restore(ensemble, request.into_inner()).await?;
        Ok(Response::new(api::RestoreResponse {}))
    }
}
