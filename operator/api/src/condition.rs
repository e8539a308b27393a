//! The conditions of our kinds, in the form that kstatus, Flux, Argo CD and `kubectl wait` understand.
//!
//! `Reconciling`, `Stalled`, `Degraded` and `Failing` are there only while true; the others are always there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The present generation is fully applied: every member is a voter, in sync and accepts clients.
pub const READY: &str = "Ready";
/// There is a leader, and a quorum accepts clients.
pub const AVAILABLE: &str = "Available";
/// The operator works towards the spec.
pub const RECONCILING: &str = "Reconciling";
/// The operator cannot get on without somebody's help; the message says whose.
pub const STALLED: &str = "Stalled";
/// A quorum serves, but not every member is well.
pub const DEGRADED: &str = "Degraded";
/// The ensemble has accepted clients once. Never becomes false again.
pub const INITIALIZED: &str = "Initialized";
/// Membership could be changed now; when false the reason names what is in the way.
pub const CHANGE_ALLOWED: &str = "ChangeAllowed";
/// The newest backup that ended was a good one. Only there once a backup of the ensemble has ended.
pub const BACKUP_HEALTHY: &str = "BackupHealthy";

/// Of a schedule: its last backup failed, or a slot was missed, and no good backup has come since.
pub const FAILING: &str = "Failing";

/// Sets or replaces the condition of this type; its transition time moves only when its status does.
pub fn set(conditions: &mut Vec<Condition>, mut condition: Condition) {
    match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
        Some(known) => {
            if known.status == condition.status {
                condition.last_transition_time = known.last_transition_time.clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

/// Removes the condition of this type, if there is one.
pub fn clear(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// Whether the condition of this type is there and true.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// A condition as of `now`.
pub fn condition(
    type_: &str,
    holds: bool,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Time,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64, holds: bool, message: &str) -> Condition {
        let now = Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap());
        condition(READY, holds, "Reason", message, Some(1), now)
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        set(&mut conditions, at(1, false, "first"));
        set(&mut conditions, at(2, false, "second"));
        assert_eq!(
            (conditions[0].message.as_str(), conditions[0].last_transition_time.0.as_second()),
            ("second", 1)
        );
        set(&mut conditions, at(3, true, "third"));
        assert_eq!(conditions[0].last_transition_time.0.as_second(), 3);
        assert!(is_true(&conditions, READY));
        clear(&mut conditions, READY);
        assert!(conditions.is_empty());
    }
}
