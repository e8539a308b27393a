//! ZkBackupSchedules: read live, decide, make a backup, write the status, remove what is no longer wanted.
//!
//! A backup is made before it is written down, under a name made of its slot: whoever dies between the two finds it
//! again. Backups are removed by deleting their ZkBackup, and only after the status is safe.

mod observe;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::EventType;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use zke_api::{
    SCHEDULE_LABEL, ZkBackup, ZkBackupSchedule, ZkBackupScheduleSpec, ZkBackupScheduleStatus, ZkBackupSpec,
};
use zke_plan::retention::{Retention, superfluous};
use zke_plan::schedule::{Progress, Timetable, Turn, backup_name, next_slot, turn};
use zke_plan::{Cron, time_zone};

use crate::error::Error;
use crate::events::{event, publish};
use crate::malformed;
use crate::names::FIELD_MANAGER;
use crate::reconcile::Context;
use crate::run::{CONCURRENCY, api};
use crate::schedule::observe::{Look, is_own};

/// On a backup: the slot it was made for.
const SCHEDULED_AT_ANNOTATION: &str = "zkensemble.dev/scheduled-at";
/// Somebody wrote first.
const AT_ONCE: Duration = Duration::from_millis(200);
const AFTER_ERROR: Duration = Duration::from_secs(5);
/// No timer is trusted for longer: clocks are set, and backups grow too old to be kept.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// A slot that waits for the backup before it: that one's end wakes us, its lateness does not.
const WHILE_HELD: Duration = Duration::from_secs(10);

type Guarded = DeserializeGuard<ZkBackupSchedule>;

/// Follows the schedules of these namespaces, or of all for a lone `None`, until it is dropped.
pub async fn watch(namespaces: &[Option<&str>], context: &Arc<Context>) {
    let runs = namespaces.iter().map(|namespace| {
        let client = &context.client;
        let made = watcher::Config::default().labels(SCHEDULE_LABEL);
        Controller::new(api::<Guarded>(client, *namespace), watcher::Config::default())
            .with_config(Config::default().concurrency(CONCURRENCY))
            .owns(api::<DeserializeGuard<ZkBackup>>(client, *namespace), made)
            // Failures are logged where they happen.
            .run(reconcile, after_error, context.clone())
            .for_each(async |_| {})
    });
    join_all(runs).await;
}

async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    if let Err(invalid) = &object.0 {
        let error = Error::Invalid(Box::new(invalid.clone()));
        malformed::tell(&context, &object, &error).await;
        return Err(error);
    }
    let namespace = object.namespace().unwrap_or_default();
    let schedules: Api<ZkBackupSchedule> = Api::namespaced(context.client.clone(), &namespace);
    let read =
        schedules.get_opt(&object.name_any()).await.map_err(Error::kubernetes("reading the schedule"))?;
    let Some(schedule) = read.filter(|schedule| schedule.metadata.deletion_timestamp.is_none()) else {
        return Ok(Action::await_change());
    };
    let backups = Api::namespaced(context.client.clone(), &namespace);
    let run = Run { context: &context, schedules: &schedules, backups, schedule };
    match run.once().await {
        Err(error) if error.is_transient() => {
            tracing::info!(schedule = run.schedule.name_any(), error = error.chain(), "looking again");
            Ok(Action::requeue(AT_ONCE))
        }
        Err(error) => {
            let next = status::hindered(&run.schedule, &error, Timestamp::now());
            if let Err(error) = run.write(&next).await {
                tracing::debug!(error = error.chain(), "the failure could not be reported");
            }
            Err(error)
        }
        done => done,
    }
}

fn after_error(object: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    context.metrics.errors.with_label_values(&[error.reason()]).inc();
    tracing::warn!(schedule = object.name_any(), error = error.chain(), "the reconciliation failed");
    match error {
        Error::Invalid(_) => Action::await_change(),
        _ => Action::requeue(AFTER_ERROR),
    }
}

struct Run<'a> {
    context: &'a Context,
    schedules: &'a Api<ZkBackupSchedule>,
    backups: Api<ZkBackup>,
    schedule: ZkBackupSchedule,
}

impl Run<'_> {
    async fn once(&self) -> Result<Action, Error> {
        let schedule = &self.schedule;
        let now = Timestamp::now();
        let timetable = match timetable(&schedule.spec) {
            Ok(timetable) => timetable,
            Err(message) => {
                self.write(&status::invalid(schedule, &message, now)).await?;
                return Ok(Action::await_change());
            }
        };
        let mut look = Look::take(&self.context.client, schedule).await?;
        let mut turn = turn(&timetable, &progress(schedule, &look), now);
        if let Turn::Start(slot) = turn {
            match self.start(slot).await? {
                Some(backup)
                    if !look.backups.iter().any(|known| known.metadata.uid == backup.metadata.uid) =>
                {
                    look.backups.push(backup);
                }
                Some(_) => {}
                None => turn = Turn::Miss(slot),
            }
        }
        let next = next_slot(&timetable, now);
        self.write(&status::next(schedule, &look, turn, next, now)).await?;
        self.remove_superfluous(&look, now).await?;
        let rest = match turn {
            Turn::Hold(_) => WHILE_HELD,
            _ => next.map_or(LONGEST_REST, |next| until(next).min(LONGEST_REST)),
        };
        Ok(Action::requeue(rest))
    }

    /// Makes the backup of a slot, or finds it made. `None` when somebody else's has its name.
    async fn start(&self, slot: Timestamp) -> Result<Option<ZkBackup>, Error> {
        if !self.context.held.is_held() {
            return Err(Error::LeaseLost { step: "MakeBackup" });
        }
        let backup = backup_of(&self.schedule, slot);
        let name = backup.name_any();
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.backups.create(&params, &backup).await {
            Ok(made) => {
                let note = format!("{name} was made for {slot}");
                self.say(EventType::Normal, "BackupCreated", note).await;
                Ok(Some(made))
            }
            Err(kube::Error::Api(refusal)) if refusal.is_already_exists() => {
                let found =
                    self.backups.get_opt(&name).await.map_err(Error::kubernetes("reading a backup"))?;
                let found = found.filter(|backup| is_own(backup, &self.schedule));
                if found.is_none() {
                    let note =
                        format!("there is a ZkBackup {name} already, and this schedule did not make it");
                    self.say(EventType::Warning, "BackupNameTaken", note).await;
                }
                Ok(found)
            }
            Err(error) => Err(Error::kubernetes("making a backup")(error)),
        }
    }

    async fn remove_superfluous(&self, look: &Look, now: Timestamp) -> Result<(), Error> {
        let retention = retention(&self.schedule.spec);
        for name in superfluous(&look.kept(), &retention, now) {
            let Some(backup) = look.backups.iter().find(|backup| backup.name_any() == name) else { continue };
            if !self.context.held.is_held() {
                return Err(Error::LeaseLost { step: "RemoveBackup" });
            }
            // Only as it was seen: had it changed, the reasons might have as well.
            let seen = Preconditions { uid: backup.uid(), resource_version: backup.resource_version() };
            let params = DeleteParams::default().preconditions(seen);
            match self.backups.delete(&name, &params).await {
                Err(kube::Error::Api(refusal)) if refusal.is_not_found() => {}
                deleted => {
                    deleted.map_err(Error::kubernetes("removing a backup"))?;
                    let note = format!("{name} is beyond what spec.retention keeps");
                    self.say(EventType::Normal, "BackupRemoved", note).await;
                }
            }
        }
        Ok(())
    }

    async fn write(&self, next: &ZkBackupScheduleStatus) -> Result<(), Error> {
        let before = self.schedule.status.clone().unwrap_or_default();
        if before == *next {
            return Ok(());
        }
        let object = ZkBackupSchedule { status: Some(next.clone()), ..self.schedule.clone() };
        self.schedules
            .replace_status(&self.schedule.name_any(), &PostParams::default(), &object)
            .await
            .map_err(Error::kubernetes("writing the status"))?;
        publish(&self.context.recorder, &self.schedule, status::news(&before, next)).await;
        Ok(())
    }

    async fn say(&self, type_: EventType, reason: &str, note: String) {
        publish(&self.context.recorder, &self.schedule, vec![event(type_, reason, note)]).await;
    }
}

fn timetable(spec: &ZkBackupScheduleSpec) -> Result<Timetable, String> {
    let cron: Cron =
        spec.schedule.parse().map_err(|error: zke_plan::InvalidCron| format!("spec.schedule: {error}"))?;
    let zone = time_zone(&spec.time_zone).ok_or_else(|| {
        format!(
            "spec.timeZone: {:?} is no time zone: write an IANA name such as UTC or Europe/Berlin",
            spec.time_zone
        )
    })?;
    Ok(Timetable {
        cron,
        zone,
        suspend: spec.suspend,
        immediate: spec.immediate,
        starting_deadline_s: spec.starting_deadline_seconds,
    })
}

fn progress(schedule: &ZkBackupSchedule, look: &Look) -> Progress {
    let status = schedule.status.as_ref();
    Progress {
        created: schedule.metadata.creation_timestamp.as_ref().map_or_else(Timestamp::now, |time| time.0),
        settled: status.and_then(|status| status.settled_time.as_ref()).map(|time| time.0),
        under_way: look.active().is_some(),
    }
}

fn retention(spec: &ZkBackupScheduleSpec) -> Retention {
    let within = spec.retention.keep_within;
    Retention {
        keep_last: spec.retention.keep_last,
        keep_within_s: within.map(|within| i64::try_from(within.as_ms() / 1000).unwrap_or(i64::MAX)),
        failed_history_limit: spec.retention.failed_history_limit,
    }
}

fn backup_of(schedule: &ZkBackupSchedule, slot: Timestamp) -> ZkBackup {
    let name = schedule.name_any();
    let template = &schedule.spec.template;
    let spec = ZkBackupSpec {
        ensemble_ref: schedule.spec.ensemble_ref.clone(),
        destination: template.destination.clone(),
        deadline_seconds: template.deadline_seconds,
        deletion_policy: template.deletion_policy,
        source: template.source,
    };
    let owner = schedule.controller_owner_ref(&()).unwrap_or_default();
    ZkBackup {
        metadata: ObjectMeta {
            name: Some(backup_name(&name, slot)),
            namespace: schedule.namespace(),
            labels: Some([(SCHEDULE_LABEL.to_owned(), name)].into()),
            annotations: Some(BTreeMap::from([(SCHEDULED_AT_ANNOTATION.to_owned(), slot.to_string())])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

fn until(moment: Timestamp) -> Duration {
    let ms = moment.as_millisecond().saturating_sub(Timestamp::now().as_millisecond());
    // Not before it, or the look would find nothing due.
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)) + Duration::from_millis(50)
}
