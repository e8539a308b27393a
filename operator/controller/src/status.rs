//! The status that follows from one look and one decision. Pure.

mod backups;
mod conditions;
mod latch;
mod members;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use zke_api::condition::{self, condition};
use zke_api::{Endpoints, ZkEnsembleStatus};
use zke_plan::Decision;

pub use latch::latched;

use crate::ensemble::Ensemble;
use crate::observe::Look;
use crate::status::backups::report_backups;
use crate::status::conditions::Report;
use crate::status::latch::latch;
use crate::status::members::{members, orphaned_claims, report_members};
use crate::template::WantedTemplate;

/// The next status: what was seen, the latch that `decision` asks for, and the conditions.
pub fn next(
    ensemble: &Ensemble,
    look: &Look,
    template: &WantedTemplate,
    decision: &Decision,
    now: Timestamp,
) -> ZkEnsembleStatus {
    let mut status = ensemble.status.clone();
    let names = &ensemble.names;
    status.selector = Some(format!("{}={}", zke_api::NAME_LABEL, names.name));
    status.endpoints = Some(Endpoints {
        client: format!(
            "{}.{}.svc.{}:{}",
            names.client_service(),
            names.namespace,
            names.domain,
            ensemble.spec.services.client.port
        ),
        config_map: names.discovery(),
    });
    status.target_version = Some(ensemble.version.clone());
    if *decision == Decision::Done {
        status.settled_version = status.target_version.clone();
    }
    if template.rejection(&status).is_none() {
        status.rejected = None;
    }
    latch(&mut status, ensemble, look, template, decision, now);
    let members = members(ensemble, look);
    report_members(&mut status, look, &members);
    status.orphaned_claims = orphaned_claims(&status, &look.claims);
    Report { ensemble, look, decision, members: &members, now }.conditions(&mut status);
    status.members = members;
    report_backups(&mut status, &look.backups, now);
    status
}

/// The status of an ensemble at which nothing can be looked at.
pub fn failed(ensemble: &Ensemble, error: &crate::error::Error, now: Timestamp) -> ZkEnsembleStatus {
    let mut status = ensemble.status.clone();
    let generation = Some(ensemble.generation);
    let message = error.chain();
    let stalled = condition(condition::STALLED, true, error.reason(), message.clone(), generation, Time(now));
    condition::set(&mut status.conditions, stalled);
    let ready = condition(condition::READY, false, error.reason(), message, generation, Time(now));
    condition::set(&mut status.conditions, ready);
    status
}

/// Whether `next` says something that people or programs wait for. Figures that move with every write do not count:
/// writing them would wake the reconciler that reads them.
pub fn is_news(now: &ZkEnsembleStatus, next: &ZkEnsembleStatus) -> bool {
    let still = |status: &ZkEnsembleStatus| {
        let mut status = status.clone();
        status.commit_index = None;
        status.last_zxid = None;
        status.members.iter_mut().for_each(|member| member.lag_entries = None);
        status
    };
    still(now) != still(next)
}

#[cfg(test)]
mod tests;
