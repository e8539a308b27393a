//! The status that follows from one look and one turn of a schedule, and the events that tell of it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::events::{Event, EventType};
use zke_api::condition::{self, condition};
use zke_api::{ActiveBackup, ZkBackup, ZkBackupSchedule, ZkBackupScheduleStatus};
use zke_plan::retention::Outcome;
use zke_plan::schedule::Turn;

use crate::error::Error;
use crate::events::event;
use crate::schedule::observe::Look;

/// `turn` was carried out; `next` is the slot to come.
pub fn next(
    schedule: &ZkBackupSchedule,
    look: &Look,
    turn: Turn,
    next: Option<Timestamp>,
    now: Timestamp,
) -> ZkBackupScheduleStatus {
    let mut status = schedule.status.clone().unwrap_or_default();
    status.observed_generation = schedule.metadata.generation;
    status.next_schedule_time = next.map(Time);
    match turn {
        Turn::Start(slot) => {
            status.last_schedule_time = Some(Time(slot));
            status.settled_time = Some(Time(slot));
        }
        Turn::Miss(slot) => {
            status.last_missed_time = Some(Time(slot));
            status.settled_time = Some(Time(slot));
        }
        Turn::Pass(slot) => status.settled_time = Some(Time(slot)),
        Turn::Hold(_) | Turn::Rest => {}
    }
    status.active = look.active().map(|backup| ActiveBackup { name: backup.name_any() });
    let success = look.newest_success();
    status.last_successful_backup = success.map(ResourceExt::name_any);
    if let Some(time) = success.and_then(completion) {
        status.last_successful_time = Some(time);
    }
    let mut report = Report { schedule, status, now };
    report.failing(look, turn);
    let (reason, message) = if schedule.spec.suspend {
        ("Suspended", "spec.suspend is set: no backups are made")
    } else {
        ("Scheduled", "backups are made as scheduled")
    };
    report.set(condition::READY, true, reason, message.to_owned());
    condition::clear(&mut report.status.conditions, condition::STALLED);
    report.status
}

/// A schedule that cannot be followed until somebody changes it.
pub fn invalid(schedule: &ZkBackupSchedule, message: &str, now: Timestamp) -> ZkBackupScheduleStatus {
    let mut status = schedule.status.clone().unwrap_or_default();
    status.observed_generation = schedule.metadata.generation;
    status.next_schedule_time = None;
    let mut report = Report { schedule, status, now };
    report.set(condition::READY, false, "InvalidSchedule", message.to_owned());
    report.set(condition::STALLED, true, "InvalidSchedule", message.to_owned());
    report.status
}

/// A schedule at which nothing can be looked at now.
pub fn hindered(schedule: &ZkBackupSchedule, error: &Error, now: Timestamp) -> ZkBackupScheduleStatus {
    let status = schedule.status.clone().unwrap_or_default();
    let mut report = Report { schedule, status, now };
    report.set(condition::READY, false, error.reason(), error.chain());
    report.status
}

/// What changed for people who watch.
pub fn news(before: &ZkBackupScheduleStatus, after: &ZkBackupScheduleStatus) -> Vec<Event> {
    let mut news = Vec::new();
    for type_ in [condition::READY, condition::FAILING] {
        let find = |status: &ZkBackupScheduleStatus| {
            status.conditions.iter().find(|condition| condition.type_ == type_).cloned()
        };
        match (find(before), find(after)) {
            (old, Some(new)) if old.as_ref().is_none_or(|old| old.reason != new.reason) => {
                let good = type_ == condition::READY && new.status == "True";
                let type_of_event = if good { EventType::Normal } else { EventType::Warning };
                news.push(event(type_of_event, &new.reason, new.message));
            }
            (Some(_), None) => {
                let note = after.last_successful_backup.as_deref().unwrap_or("a backup");
                news.push(event(EventType::Normal, "Recovered", format!("{note} succeeded")));
            }
            _ => {}
        }
    }
    news
}

struct Report<'a> {
    schedule: &'a ZkBackupSchedule,
    status: ZkBackupScheduleStatus,
    now: Timestamp,
}

impl Report<'_> {
    /// It stays until a good backup comes, even if the failed one was removed meanwhile.
    fn failing(&mut self, look: &Look, turn: Turn) {
        if let Turn::Miss(slot) = turn {
            let message = format!("the backup of {slot} could not begin in time");
            return self.set(condition::FAILING, true, "SlotMissed", message);
        }
        let known = self.status.conditions.iter().find(|condition| condition.type_ == condition::FAILING);
        let since = known.map(|condition| condition.last_transition_time.0);
        match look.newest_ended() {
            Some((backup, Outcome::Failed { .. })) => {
                let message = format!("{} failed: {}", backup.name_any(), why(backup));
                self.set(condition::FAILING, true, "LastBackupFailed", message);
            }
            Some((_, Outcome::Succeeded { at })) if since.is_some_and(|since| at >= since) => {
                condition::clear(&mut self.status.conditions, condition::FAILING);
            }
            _ => {}
        }
    }

    fn set(&mut self, type_: &str, holds: bool, reason: &str, message: String) {
        let generation = self.schedule.metadata.generation;
        condition::set(
            &mut self.status.conditions,
            condition(type_, holds, reason, message, generation, Time(self.now)),
        );
    }
}

fn completion(backup: &ZkBackup) -> Option<Time> {
    backup.status.as_ref()?.completion_time.clone()
}

fn why(backup: &ZkBackup) -> String {
    let mut conditions = backup.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.find(|condition| condition.type_ == condition::READY);
    ready.map_or_else(String::new, |ready| format!("{}: {}", ready.reason, ready.message))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn schedule() -> ZkBackupSchedule {
        serde_saphyr::from_str(
            r#"
apiVersion: zkensemble.dev/v1alpha1
kind: ZkBackupSchedule
metadata: {name: nightly, namespace: retail, uid: s, generation: 2}
spec:
  ensembleRef: {name: shop}
  schedule: "0 3 * * *"
  template: {destination: {persistentVolumeClaim: {claimName: vault}}}
"#,
        )
        .unwrap()
    }

    fn backup(name: &str, phase: &str, completed: i64) -> ZkBackup {
        serde_saphyr::from_str(&format!(
            r#"
apiVersion: zkensemble.dev/v1alpha1
kind: ZkBackup
metadata: {{name: {name}, namespace: retail}}
spec:
  ensembleRef: {{name: shop}}
  destination: {{persistentVolumeClaim: {{claimName: vault}}}}
status:
  phase: {phase}
  completionTime: "{}"
  conditions:
  - {{type: Ready, status: "False", reason: NoSpace, message: no space, lastTransitionTime: "2026-01-01T00:00:00Z"}}
"#,
            at(completed)
        ))
        .unwrap()
    }

    fn look(backups: Vec<ZkBackup>) -> Look {
        Look { backups, referenced: BTreeSet::new() }
    }

    fn failing(status: &ZkBackupScheduleStatus) -> Option<&str> {
        let mut conditions = status.conditions.iter();
        let found = conditions.find(|condition| condition.type_ == condition::FAILING)?;
        Some(found.reason.as_str())
    }

    #[test]
    fn it_is_failing_from_a_failure_to_the_next_success() {
        let mut schedule = schedule();
        let step = |schedule: &mut ZkBackupSchedule, backups, turn, now| {
            let before = schedule.status.clone().unwrap_or_default();
            let after = next(schedule, &look(backups), turn, None, at(now));
            schedule.status = Some(after.clone());
            let news: Vec<_> = news(&before, &after).into_iter().map(|event| event.reason).collect();
            (failing(&after).map(str::to_owned), news)
        };
        let good = backup("good", "Succeeded", 10);
        let bad = backup("bad", "Failed", 20);
        let (failing, news) = step(&mut schedule, vec![good.clone()], Turn::Rest, 11);
        assert_eq!((failing, news), (None, vec!["Scheduled".to_owned()]));
        let (failing, news) = step(&mut schedule, vec![good.clone(), bad], Turn::Rest, 21);
        assert_eq!(failing.as_deref(), Some("LastBackupFailed"));
        assert_eq!(news, ["LastBackupFailed"]);
        let status = schedule.status.as_ref().unwrap();
        assert_eq!(status.last_successful_backup.as_deref(), Some("good"));
        assert_eq!(status.last_successful_time, Some(Time(at(10))));
        // The failed one is gone, and nothing is better by that.
        let (failing, _) = step(&mut schedule, vec![good.clone()], Turn::Rest, 30);
        assert_eq!(failing.as_deref(), Some("LastBackupFailed"));
        let (failing, _) = step(&mut schedule, vec![good.clone()], Turn::Miss(at(40)), 50);
        assert_eq!(failing.as_deref(), Some("SlotMissed"));
        let better = backup("better", "Succeeded", 60);
        let (failing, news) = step(&mut schedule, vec![good, better], Turn::Rest, 61);
        assert_eq!((failing, news), (None, vec!["Recovered".to_owned()]));
    }

    #[test]
    fn a_slot_is_settled_once_and_shows_what_runs() {
        let running = backup("nightly-1", "Running", 0);
        let status = next(&schedule(), &look(vec![running]), Turn::Start(at(5)), Some(at(99)), at(6));
        assert_eq!(status.active.unwrap().name, "nightly-1");
        assert_eq!(status.settled_time, Some(Time(at(5))));
        assert_eq!(status.next_schedule_time, Some(Time(at(99))));
        assert_eq!(status.observed_generation, Some(2));
    }

    #[test]
    fn an_invalid_schedule_is_stalled_until_it_is_not() {
        let mut schedule = schedule();
        let status = invalid(&schedule, "no such zone", at(1));
        assert!(condition::is_true(&status.conditions, condition::STALLED));
        assert!(!condition::is_true(&status.conditions, condition::READY));
        schedule.status = Some(status);
        let status = next(&schedule, &look(Vec::new()), Turn::Rest, None, at(2));
        assert!(condition::is_true(&status.conditions, condition::READY));
        assert!(!condition::is_true(&status.conditions, condition::STALLED));
    }
}
