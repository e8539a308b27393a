//! Carries out one step of the plan, with the step's expectation as its precondition.

mod pods;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tonic::Code;
use zke_admin::v1::admin_client::AdminClient;
use zke_admin::v1::{
    AddLearnerRequest, BootstrapRequest, ChangeVotersRequest, JoinRequest, Member as AdminMember,
    SetServingRequest, TakeControlRequest, TransferLeadershipRequest,
};
use zke_api::{ENSEMBLE_ID_ANNOTATION, INITIALIZED_ANNOTATION};
use zke_plan::{ClaimMark, EnsembleId, MemberId, Step};

use crate::admin::Member;
use crate::apply::apply;
use crate::build;
use crate::ensemble::Ensemble;
use crate::error::Error;
use crate::names::FIELD_MANAGER;
use crate::observe::Look;
use crate::template::WantedTemplate;

/// What a step may touch.
pub struct Actor<'a> {
    pub client: &'a Client,
    pub ensemble: &'a Ensemble,
    pub template: &'a WantedTemplate,
    pub look: &'a mut Look,
    /// Our turn of control over the ensemble, if we have taken one already.
    pub control_epoch: &'a mut Option<u64>,
    pub holder: &'a str,
}

impl Actor<'_> {
    /// Does `step` once. Steps that are only a latch have nothing to do here.
    ///
    /// # Errors
    /// When it was not done, or may not have been: the next look tells.
    pub async fn act(&mut self, step: &Step) -> Result<(), Error> {
        let result = match step {
            Step::CheckArchive => self.look.restoration.check_archive(self.client, self.ensemble).await,
            Step::Restore { ordinal, member_id, ensemble_id } => {
                let restoration = &self.look.restoration;
                restoration.restore(self.client, self.ensemble, *ordinal, *member_id, *ensemble_id).await
            }
            Step::Begin(_) | Step::PutBack { .. } | Step::Finish { .. } => Ok(()),
            Step::RenewPod { ordinal, uid } => self.delete_pod(*ordinal, uid).await,
            Step::RemovePod { removal, by } => self.remove_pod(removal, *by).await,
            Step::SetReplicas { to, .. } => self.set_replicas(*to).await,
            Step::MarkClaims { claims, ensemble_id, initialized } => {
                self.mark_claims(claims, *ensemble_id, *initialized).await
            }
            Step::SetBudget { min_available } => self.set_budget(*min_available).await,
            Step::DeleteClaim { ordinal, uid } => self.delete_claim(*ordinal, uid).await,
            Step::Bootstrap { ordinal, member_id, ensemble_id } => {
                self.bootstrap(*ordinal, *member_id, *ensemble_id).await
            }
            Step::Join { ordinal, member_id, ensemble_id } => {
                self.join(*ordinal, *member_id, *ensemble_id).await
            }
            Step::AddLearner { ordinal, member_id, config_index } => {
                self.add_learner(*ordinal, *member_id, *config_index).await
            }
            Step::ChangeVoters { config_index, voters, retire } => {
                self.change_voters(*config_index, voters, retire).await
            }
            Step::TransferLeadership { to, term } => self.transfer_leadership(*to, *term).await,
            Step::SetServing => self.set_serving().await,
        };
        let may_be_outdated = match &result {
            // It may be our epoch that is old.
            Err(Error::Refused { source, .. }) => source.code() == Code::FailedPrecondition,
            // It may still arrive. A new epoch makes the leader refuse it then.
            Err(Error::Silent { .. }) => true,
            _ => false,
        };
        if may_be_outdated {
            *self.control_epoch = None;
        }
        result
    }

    /// Guarded by the version that was seen: the plan's proof is worth nothing for another one.
    async fn set_replicas(&self, replicas: u32) -> Result<(), Error> {
        let live = self.look.stateful_set.as_ref();
        let mut set = build::stateful_set::stateful_set(self.ensemble, self.template, replicas, live);
        set.metadata.resource_version = live.and_then(ResourceExt::resource_version);
        set.metadata.uid = live.and_then(ResourceExt::uid);
        apply(self.client, &set).await.map(drop)
    }

    async fn mark_claims(
        &self,
        claims: &[ClaimMark],
        ensemble_id: EnsembleId,
        initialized: bool,
    ) -> Result<(), Error> {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &self.ensemble.names.namespace);
        for mark in claims {
            let seen = self.look.claims.get(&mark.ordinal).and_then(ResourceExt::resource_version);
            let patch = json!({"metadata": {
                "uid": mark.uid,
                "resourceVersion": seen,
                "annotations": {
                    ENSEMBLE_ID_ANNOTATION: ensemble_id.to_string(),
                    INITIALIZED_ANNOTATION: initialized.to_string(),
                },
            }});
            let params =
                PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            api.patch(&self.ensemble.names.claim(mark.ordinal), &params, &Patch::Merge(patch))
                .await
                .map_err(Error::kubernetes("marking a claim"))?;
        }
        Ok(())
    }

    async fn set_budget(&self, min_available: Option<u32>) -> Result<(), Error> {
        if let Some(min_available) = min_available {
            return apply(self.client, &build::budget::budget(self.ensemble, min_available)).await.map(drop);
        }
        let api: Api<PodDisruptionBudget> =
            Api::namespaced(self.client.clone(), &self.ensemble.names.namespace);
        let uid = self.look.budget.as_ref().and_then(ResourceExt::uid);
        let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version: None });
        api.delete(&self.ensemble.names.budget(), &params)
            .await
            .map(drop)
            .map_err(Error::kubernetes("removing the budget"))
    }

    async fn delete_claim(&self, ordinal: u32, uid: &str) -> Result<(), Error> {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &self.ensemble.names.namespace);
        let seen = self.look.claims.get(&ordinal).and_then(ResourceExt::resource_version);
        let params = DeleteParams::default()
            .preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: seen });
        api.delete(&self.ensemble.names.claim(ordinal), &params)
            .await
            .map(drop)
            .map_err(Error::kubernetes("deleting a retired member's claim"))
    }

    async fn bootstrap(
        &mut self,
        ordinal: u32,
        member_id: MemberId,
        ensemble_id: EnsembleId,
    ) -> Result<(), Error> {
        let AdminMember { pod, peer_address, .. } = self.admin_member(ordinal, member_id);
        let request = BootstrapRequest {
            ensemble_id: ensemble_id.to_string(),
            expect_member_id: member_id.0,
            pod,
            peer_address,
        };
        let member = self.member(ordinal, "Bootstrap")?;
        member
            .change("Bootstrap", |mut client| async move { client.bootstrap(request).await })
            .await
            .map(drop)
    }

    async fn join(
        &mut self,
        ordinal: u32,
        member_id: MemberId,
        ensemble_id: EnsembleId,
    ) -> Result<(), Error> {
        let request = JoinRequest { ensemble_id: ensemble_id.to_string(), expect_member_id: member_id.0 };
        let member = self.member(ordinal, "Join")?;
        member.change("Join", |mut client| async move { client.join(request).await }).await.map(drop)
    }

    async fn add_learner(
        &mut self,
        ordinal: u32,
        member_id: MemberId,
        config_index: u64,
    ) -> Result<(), Error> {
        let request = AddLearnerRequest {
            control_epoch: self.control_epoch().await?,
            expect_config_index: config_index,
            member: Some(self.admin_member(ordinal, member_id)),
        };
        let leader = self.leader("AddLearner")?;
        leader
            .change("AddLearner", |mut client| async move { client.add_learner(request).await })
            .await
            .map(drop)
    }

    async fn change_voters(
        &mut self,
        config_index: u64,
        voters: &BTreeSet<MemberId>,
        retire: &BTreeSet<MemberId>,
    ) -> Result<(), Error> {
        let request = ChangeVotersRequest {
            control_epoch: self.control_epoch().await?,
            expect_config_index: config_index,
            voter_member_ids: voters.iter().map(|id| id.0).collect(),
            retire_member_ids: retire.iter().map(|id| id.0).collect(),
        };
        let leader = self.leader("ChangeVoters")?;
        let call = |mut client: AdminClient<_>| async move { client.change_voters(request).await };
        leader.change("ChangeVoters", call).await.map(drop)
    }

    async fn transfer_leadership(&mut self, to: MemberId, term: u64) -> Result<(), Error> {
        let request = TransferLeadershipRequest {
            control_epoch: self.control_epoch().await?,
            expect_term: term,
            to_member_id: to.0,
        };
        let leader = self.leader("TransferLeadership")?;
        let call = |mut client: AdminClient<_>| async move { client.transfer_leadership(request).await };
        leader.change("TransferLeadership", call).await.map(drop)
    }

    async fn set_serving(&mut self) -> Result<(), Error> {
        let request = SetServingRequest { control_epoch: self.control_epoch().await?, serving: true };
        let leader = self.leader("SetServing")?;
        leader
            .change("SetServing", |mut client| async move { client.set_serving(request).await })
            .await
            .map(drop)
    }

    /// Calls that go through Raft carry it, so that an operator that lost its turn is refused.
    async fn control_epoch(&mut self) -> Result<u64, Error> {
        if let Some(epoch) = *self.control_epoch {
            return Ok(epoch);
        }
        let request = TakeControlRequest { holder: self.holder.to_owned() };
        let leader = self.leader("TakeControl")?;
        let call = |mut client: AdminClient<_>| async move { client.take_control(request).await };
        let epoch = leader.change("TakeControl", call).await?.control_epoch;
        Ok(*self.control_epoch.insert(epoch))
    }

    fn admin_member(&self, ordinal: u32, member_id: MemberId) -> AdminMember {
        let names = &self.ensemble.names;
        let pod = names.pod(ordinal);
        AdminMember { member_id: member_id.0, peer_address: names.peer_address(&pod), pod }
    }

    fn leader(&mut self, call: &'static str) -> Result<&mut Member, Error> {
        let ordinal = self.look.leader.as_ref().map_or(u32::MAX, |(ordinal, _)| *ordinal);
        self.member(ordinal, call)
    }

    fn member(&mut self, ordinal: u32, call: &'static str) -> Result<&mut Member, Error> {
        let pod = self.ensemble.names.pod(ordinal);
        self.look.members.get_mut(&ordinal).ok_or_else(|| Error::Silent {
            call,
            pod,
            source: "it was not seen in this look".into(),
        })
    }
}
