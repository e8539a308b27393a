//! Events: one for each change that the conditions show, and one for each step of an operation.

use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource, ResourceExt};
use zke_api::{ZkEnsembleStatus, condition};
use zke_plan::Step;

use crate::error::Error;

/// Tells people what happened to `object`. Best effort: an event that cannot be written is only logged.
pub async fn publish<K>(recorder: &Recorder, object: &K, events: Vec<Event>)
where
    K: Resource<DynamicType = ()>,
{
    let reference = object.object_ref(&());
    for event in events {
        if let Err(error) = recorder.publish(&event, &reference).await {
            tracing::debug!(object = object.name_any(), %error, "an event could not be written");
        }
    }
}

/// What changed for those who watch conditions.
pub fn of_change(before: &ZkEnsembleStatus, after: &ZkEnsembleStatus) -> Vec<Event> {
    let watched = [
        condition::READY,
        condition::AVAILABLE,
        condition::STALLED,
        condition::DEGRADED,
        condition::BACKUP_HEALTHY,
    ];
    let mut events = Vec::new();
    for type_ in watched {
        let old = before.conditions.iter().find(|condition| condition.type_ == type_);
        let new = after.conditions.iter().find(|condition| condition.type_ == type_);
        let abnormal = type_ == condition::STALLED || type_ == condition::DEGRADED;
        match (old, new) {
            (old, Some(new))
                if old.is_none_or(|old| old.status != new.status || old.reason != new.reason) =>
            {
                // The first word about a condition that does not hold yet is no news.
                if old.is_none() && !abnormal && new.status == "False" {
                    continue;
                }
                let lost = old.is_some_and(|old| old.status == "True") && new.status == "False";
                let warn =
                    abnormal || (lost && [condition::AVAILABLE, condition::BACKUP_HEALTHY].contains(&type_));
                let type_of_event = if warn { EventType::Warning } else { EventType::Normal };
                events.push(event(
                    type_of_event,
                    &new.reason,
                    format!("{type_}={}: {}", new.status, new.message),
                ));
            }
            (Some(_), None) => {
                events.push(event(EventType::Normal, &format!("No{type_}"), format!("{type_} is over")));
            }
            _ => {}
        }
    }
    events
}

/// A step that was done.
pub fn of_step(step: &Step, target: Option<&str>) -> Event {
    let note = match (step, target) {
        (Step::Begin(operation), _) => {
            format!("{} to {} members begins", operation.kind.name(), operation.replicas)
        }
        (Step::Finish { replicas, .. }, _) => format!("done: {replicas} members"),
        (step, Some(target)) => format!("{}: {target}", step.name()),
        (step, None) => step.name().to_owned(),
    };
    event(EventType::Normal, step.name(), note)
}

pub fn of_error(error: &Error) -> Event {
    event(EventType::Warning, error.reason(), error.chain())
}

pub fn event(type_: EventType, reason: &str, note: String) -> Event {
    // The API server takes 1 kB.
    let note = note.chars().take(1000).collect();
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}
