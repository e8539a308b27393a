//! The Lease by which several operators choose the one that acts.
//!
//! A Lease is advice, not a fence: a process that was stopped for a minute still believes it holds it. What makes
//! two operators harmless is elsewhere (resourceVersions, control epochs, preconditions); this keeps them from
//! getting in each other's way.
//!
//! Clocks of different machines are never compared: others' renewals count from when *we* saw them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};

#[derive(Clone, Copy, Debug)]
pub struct LeaseTimes {
    pub duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

impl LeaseTimes {
    pub fn from_seconds(duration: u32, renew_deadline: u32, retry_period: u32) -> Self {
        let duration = Duration::from_secs(duration.into());
        // A deadline past the duration would let two act at once.
        let renew_deadline = Duration::from_secs(renew_deadline.into()).min(duration * 2 / 3);
        Self { duration, renew_deadline, retry_period: Duration::from_secs(retry_period.into()) }
    }
}

/// Whether we hold the lease right now. Cheap; asked before every write.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<Mutex<Option<Instant>>>);

impl Held {
    pub fn is_held(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        until.is_some_and(|until| Instant::now() < until)
    }

    fn extend(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(until);
    }
}

/// One process's claim to one Lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    namespace: String,
    identity: String,
    times: LeaseTimes,
    held: Held,
    seen: Option<Seen>,
}

/// A state of the Lease, and when it was first seen.
struct Seen {
    resource_version: Option<String>,
    at: Instant,
}

impl Candidate {
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, times: LeaseTimes) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
            times,
            held: Held::default(),
            seen: None,
        }
    }

    pub fn held(&self) -> Held {
        self.held.clone()
    }

    /// Waits until the lease is ours.
    pub async fn acquire(&mut self) {
        while !self.try_once().await {
            tokio::time::sleep(self.times.retry_period).await;
        }
    }

    /// Renews until that has failed for the whole renew deadline; then it returns, and the process must end.
    pub async fn keep(&mut self) {
        loop {
            tokio::time::sleep(self.times.retry_period).await;
            if !self.try_once().await && !self.held.is_held() {
                return;
            }
        }
    }

    /// Gives the lease up, so that the next one need not wait.
    pub async fn release(&mut self) {
        if let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await
            && let Some(spec) = lease.spec.as_mut()
            && spec.holder_identity.as_deref() == Some(&self.identity)
        {
            spec.holder_identity = Some(String::new());
            // Whether it works changes nothing for us: we are leaving.
            let _ = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        }
    }

    async fn try_once(&mut self) -> bool {
        // From before the write: our time must end before theirs begins.
        let start = Instant::now();
        let attempt =
            tokio::time::timeout(self.times.retry_period.max(Duration::from_secs(1)), self.attempt());
        match attempt.await {
            Ok(Ok(true)) => {
                self.held.extend(start + self.times.renew_deadline);
                true
            }
            Ok(Ok(false)) => false,
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "the lease could not be renewed");
                false
            }
            Err(_) => {
                tracing::warn!("the lease could not be renewed in time");
                false
            }
        }
    }

    async fn attempt(&mut self) -> kube::Result<bool> {
        let params = PostParams::default();
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            };
            let lease = Lease { metadata, spec: Some(self.claimed(None)) };
            return won(self.api.create(&params, &lease).await);
        };
        if self.seen.as_ref().is_none_or(|seen| seen.resource_version != lease.metadata.resource_version) {
            let resource_version = lease.metadata.resource_version.clone();
            self.seen = Some(Seen { resource_version, at: Instant::now() });
        }
        let since = self.seen.as_ref().map_or(Duration::ZERO, |seen| seen.at.elapsed());
        if !may_take(lease.spec.as_ref(), &self.identity, since) {
            return Ok(false);
        }
        lease.spec = Some(self.claimed(lease.spec.as_ref()));
        won(self.api.replace(&self.name, &params, &lease).await)
    }

    fn claimed(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let ours = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.times.duration.as_secs()).ok(),
            acquire_time: before.filter(|_| ours).map_or(now.clone(), |spec| spec.acquire_time.clone()),
            renew_time: now,
            lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }
}

/// Ours already, free, or not renewed for its whole duration as far as we could see.
fn may_take(spec: Option<&LeaseSpec>, identity: &str, unchanged_for: Duration) -> bool {
    let Some(spec) = spec else { return true };
    match spec.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) if holder == identity => true,
        Some(_) => {
            let duration = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
            unchanged_for > Duration::from_secs(duration)
        }
    }
}

/// Losing a race is an answer, not an error.
fn won(written: kube::Result<Lease>) -> kube::Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_it_is_free_ours_or_over() {
        let (none, short, long) = (Duration::ZERO, Duration::from_secs(15), Duration::from_secs(16));
        assert!(may_take(None, "me", none));
        assert!(may_take(Some(&held_by("")), "me", none));
        assert!(may_take(Some(&held_by("me")), "me", none));
        assert!(!may_take(Some(&held_by("other")), "me", none));
        assert!(!may_take(Some(&held_by("other")), "me", short));
        assert!(may_take(Some(&held_by("other")), "me", long));
    }

    #[test]
    fn our_time_ends_before_anybody_elses_can_begin() {
        let times = LeaseTimes::from_seconds(5, 60, 1);
        assert!(times.renew_deadline < times.duration);
    }

    #[test]
    fn nothing_is_held_before_it_was_taken() {
        let held = Held::default();
        assert!(!held.is_held());
        held.extend(Instant::now() + Duration::from_secs(60));
        assert!(held.is_held());
        held.extend(Instant::now());
        assert!(!held.is_held());
    }
}
