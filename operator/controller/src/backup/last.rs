//! When the last good backup of each ensemble was made, for Prometheus. Taken from the watched backups at each scrape, so
//! that it is right after a restart and when a backup is deleted.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use zke_api::{BackupPhase, ZkBackup};

/// The two gauges, over the backups of all watched namespaces.
pub struct LastBackups {
    stores: Vec<Store<DeserializeGuard<ZkBackup>>>,
    time: (Opts, Desc),
    size: (Opts, Desc),
}

const LABELS: &[&str] = &["namespace", "ensemble"];

impl LastBackups {
    /// # Errors
    /// When a name is none, which is a mistake in this file.
    pub fn new(stores: Vec<Store<DeserializeGuard<ZkBackup>>>) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let opts = Opts::new(name, help);
            let labels = LABELS.iter().map(|label| (*label).to_owned()).collect();
            let desc = Desc::new(name.to_owned(), help.to_owned(), labels, Default::default())?;
            Ok::<_, prometheus::Error>((opts, desc))
        };
        Ok(Self {
            stores,
            time: gauge(
                "zke_operator_backup_last_success_timestamp_seconds",
                "When the newest good backup that still exists was complete",
            )?,
            size: gauge(
                "zke_operator_backup_last_success_size_bytes",
                "Size of the newest good backup that still exists",
            )?,
        })
    }
}

impl Collector for LastBackups {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.time.1, &self.size.1]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let backups: Vec<_> = self.stores.iter().flat_map(Store::state).collect();
        let last = newest(backups.iter().filter_map(|backup| backup.0.as_ref().ok()));
        let families = [(&self.time.0, 0), (&self.size.0, 1)].map(|(opts, place)| {
            let gauge = IntGaugeVec::new(opts.clone(), LABELS).ok()?;
            for ((namespace, ensemble), (second, bytes)) in &last {
                let value = if place == 0 { *second } else { i64::try_from(*bytes).unwrap_or(i64::MAX) };
                gauge.with_label_values(&[namespace, ensemble]).set(value);
            }
            Some(gauge.collect())
        });
        families.into_iter().flatten().flatten().collect()
    }
}

/// Second and size of the newest success of each ensemble.
fn newest<'a>(backups: impl Iterator<Item = &'a ZkBackup>) -> BTreeMap<(String, String), (i64, u64)> {
    let mut last = BTreeMap::new();
    for backup in backups {
        let Some(status) = &backup.status else { continue };
        let (Some(BackupPhase::Succeeded), Some(time)) = (status.phase, &status.completion_time) else {
            continue;
        };
        let bytes = status.artifact.as_ref().map_or(0, |artifact| artifact.size_bytes);
        let ensemble = (backup.namespace().unwrap_or_default(), backup.spec.ensemble_ref.name.clone());
        let newest = last.entry(ensemble).or_default();
        *newest = (time.0.as_second(), bytes).max(*newest);
    }
    last
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher};

    use super::*;
    use crate::metrics::Metrics;

    fn backup(name: &str, phase: &str, completed: &str, bytes: u64) -> DeserializeGuard<ZkBackup> {
        let backup = serde_saphyr::from_str(&format!(
            r#"
apiVersion: zkensemble.dev/v1alpha1
kind: ZkBackup
metadata: {{name: {name}, namespace: retail}}
spec:
  ensembleRef: {{name: shop}}
  destination: {{persistentVolumeClaim: {{claimName: vault}}}}
status:
  phase: {phase}
  completionTime: "{completed}"
  artifact:
    {{path: p, sizeBytes: {bytes}, sha256: s, formatVersion: 1, index: 1, term: 1, zxid: "0x1", ensembleID: e,
    memberID: m, serverVersion: v}}
"#
        ));
        DeserializeGuard(Ok(backup.unwrap()))
    }

    #[test]
    fn the_newest_good_one_that_is_still_there_is_shown() {
        let (store, mut writer) = reflector::store();
        let metrics = Metrics::new().unwrap();
        metrics.register(LastBackups::new(vec![store]).unwrap()).unwrap();
        assert!(!metrics.render().unwrap().contains("backup_last_success"), "nothing is no figure");

        for backup in [
            backup("new", "Succeeded", "2026-06-02T00:00:00Z", 20),
            backup("old", "Succeeded", "2026-06-01T00:00:00Z", 10),
            backup("bad", "Failed", "2026-06-03T00:00:00Z", 0),
        ] {
            writer.apply_watcher_event(&watcher::Event::Apply(backup));
        }
        let labels = "{ensemble=\"shop\",namespace=\"retail\"}";
        let text = metrics.render().unwrap();
        let line = format!("zke_operator_backup_last_success_timestamp_seconds{labels} 1780358400");
        assert!(text.contains(&line), "{text}");
        assert!(text.contains(&format!("zke_operator_backup_last_success_size_bytes{labels} 20")), "{text}");

        let gone = backup("new", "Succeeded", "2026-06-02T00:00:00Z", 20);
        writer.apply_watcher_event(&watcher::Event::Delete(gone));
        assert!(metrics.render().unwrap().contains(&format!("size_bytes{labels} 10")));
    }
}
