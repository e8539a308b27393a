//! Archives of ensembles: made under load and by the clock, restored into other ensembles, and refused when they are
//! not what was written.

use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use zke_e2e::ensemble::{Ensemble, READY_LIMIT, manifest};
use zke_e2e::kubectl::{condition, wait_for};
use zke_e2e::scenario::{Scenario, python_pod_spec};

const CLAIM: &str = "zk-backups";

/// A client that holds an ephemeral node; it ends with this value.
struct Alive(Child);

impl Alive {
    fn start(scenario: &Scenario, ensemble: &Ensemble<'_>) -> Result<Self> {
        let log = scenario.file("alive.log");
        let script = scenario.script("alive.py").arg(ensemble.service_address()?).arg("/alive");
        let child = Self(script.spawn(&log)?);
        wait_for("an ephemeral node", READY_LIMIT, || {
            Ok(std::fs::read_to_string(&log)?.contains("holding").then_some(()))
        })?;
        Ok(child)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn claim(scenario: &Scenario, name: &str, size: &str) -> Result<()> {
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    });
    scenario.apply(&claim).map(drop)
}

fn backup(scenario: &Scenario, name: &str, claim: &str) -> Result<()> {
    let backup = json!({
        "apiVersion": "zkensemble.dev/v1alpha1", "kind": "ZkBackup", "metadata": {"name": name},
        "spec": {
            "ensembleRef": {"name": "zk"},
            "destination": {"persistentVolumeClaim": {"claimName": claim, "subPath": "nightly"}},
            "deadlineSeconds": 180,
        },
    });
    scenario.apply(&backup).map(drop)
}

/// Waits until a ZkBackup has ended, and gives it.
fn ended(scenario: &Scenario, name: &str) -> Result<Value> {
    wait_for(&format!("the end of ZkBackup {name}"), READY_LIMIT, || {
        let backup = scenario.json(&format!("get zkb {name}"))?;
        let phase = backup["status"]["phase"].as_str().unwrap_or_default();
        Ok(["Succeeded", "Failed"].contains(&phase).then_some(backup))
    })
}

/// Reason and message of a condition.
fn why(object: &Value, type_: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    format!("{}: {}", text("reason"), text("message"))
}

/// Runs Python in a pod that has the claim at /backup.
fn on_claim(scenario: &Scenario, name: &str, claim: &str, program: &str) -> Result<String> {
    scenario.import_clients()?;
    let mut spec = python_pod_spec(&["-c", program]);
    spec["restartPolicy"] = json!("Never");
    spec["volumes"] = json!([{"name": "backup", "persistentVolumeClaim": {"claimName": claim}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "backup", "mountPath": "/backup"}]);
    scenario.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))?;
    let done = wait_for(&format!("the end of pod {name}"), READY_LIMIT, || {
        let pod = scenario.json(&format!("get pod {name}"))?;
        Ok((pod["status"]["phase"] == "Succeeded").then_some(()))
    });
    let said = scenario.run(&format!("logs {name}"))?;
    done.map(|()| said)
}

fn restoring(name: &str, replicas: u32, restore: &Value) -> Value {
    let mut ensemble = manifest(name, replicas);
    ensemble["spec"]["bootstrap"] = json!({"restore": restore});
    ensemble
}

/// The ensemble says why it was not begun, and nothing was started.
fn refused(scenario: &Scenario, name: &str, restore: &Value, expected: &str) -> Result<()> {
    scenario.apply(&restoring(name, 3, restore))?;
    let (reason, message) = Ensemble::existing(scenario, name).wait_for_condition("Stalled")?;
    println!("{name}: {reason}: {message}");
    ensure!(reason == "ArchiveRefused" && message.contains(expected), "{reason}: {message}");
    let started = scenario.json(&format!("get statefulsets,pvc --selector=zkensemble.dev/name={name}"))?;
    ensure!(started["items"].as_array().is_some_and(Vec::is_empty), "{started:#}");
    scenario.run(&format!("delete zke {name}")).map(drop)
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_backup_under_load_is_the_tree_at_its_zxid_and_restores_it() -> Result<()> {
    let scenario = Scenario::open("backup")?;
    claim(&scenario, CLAIM, "1Gi")?;
    let ensemble = Ensemble::create(&scenario, "zk", 3)?;
    let identity = ensemble.object()?["status"]["ensembleID"].clone();
    let _alive = Alive::start(&scenario, &ensemble)?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(300)?;
    backup(&scenario, "first", CLAIM)?;
    let first = ended(&scenario, "first")?;
    ensure!(first["status"]["phase"] == "Succeeded", "{}", why(&first, "Ready"));
    writer.wait_for_writes(300)?;
    println!("{}", scenario.run("get zkb")?.trim());
    let artifact = first["status"]["artifact"].clone();
    let text = |key: &str| artifact[key].as_str().unwrap_or_default().to_owned();
    ensure!(artifact["ensembleID"] == identity, "{artifact:#}");

    scenario.apply(&restoring("copy", 3, &json!({"backupRef": {"name": "first"}})))?;
    let copy = Ensemble::existing(&scenario, "copy");
    copy.wait_until_ready()?;
    ensure!(copy.object()?["status"]["ensembleID"] != identity, "the copy took the ensemble's id");
    let compared = scenario
        .script("same_at.py")
        .arg(ensemble.service_address()?)
        .arg(copy.service_address()?)
        .args(["/load", &text("zxid")])
        .output()?;
    println!("{}", compared.trim());
    writer.wait_for_writes(100)?;
    writer.finish()?;

    // A change of how it began is refused; leaving it out is not.
    let other = scenario.apply(&restoring("copy", 3, &json!({"backupRef": {"name": "second"}})));
    let said = format!("{:#}", other.expect_err("another source must be refused"));
    ensure!(said.contains("it has begun"), "{said}");

    let path = format!("nightly/{}", text("path"));
    let damage = format!(
        "p = '/backup/{path}'; d = bytearray(open(p, 'rb').read()); d[len(d) // 2] ^= 1
open(p + '.flipped', 'wb').write(d); open(p + '.cut', 'wb').write(open(p, 'rb').read()[:-20]); print('done')"
    );
    on_claim(&scenario, "damage", CLAIM, &damage)?;
    let on_file = |suffix: &str| json!({"persistentVolumeClaim": {"claimName": CLAIM, "path": format!("{path}{suffix}")}});
    refused(&scenario, "flipped", &on_file(".flipped"), "Corrupt")?;
    refused(&scenario, "cut", &on_file(".cut"), "Corrupt")?;
    refused(&scenario, "absent", &on_file(".absent"), "NotFound")?;
    let mut other_sum = on_file("");
    other_sum["persistentVolumeClaim"]["sha256"] = json!("0".repeat(64));
    refused(&scenario, "other-sum", &other_sum, "ChecksumMismatch")?;
    // The ensemble that was backed up has noticed nothing of it all.
    ensure!(condition(&ensemble.object()?, "Ready") == Some("True"));
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_backup_that_cannot_be_made_says_why_and_harms_nobody() -> Result<()> {
    let scenario = Scenario::open("bad-backup")?;
    // The smallest volume that there is, filled up to its last block.
    claim(&scenario, "small", "300Mi")?;
    claim(&scenario, CLAIM, "300Mi")?;
    let ensemble = Ensemble::create(&scenario, "zk", 1)?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(300)?;
    let fill = "
size = 1 << 20
with open('/backup/fill', 'wb', buffering=0) as file:
    while size:
        try:
            file.write(bytes(size))
        except OSError:
            size //= 2
print('full')";
    on_claim(&scenario, "fill", "small", fill)?;
    backup(&scenario, "full", "small")?;
    let full = ended(&scenario, "full")?;
    println!("full: {}", why(&full, "Ready"));
    ensure!(full["status"]["phase"] == "Failed" && why(&full, "Ready").starts_with("NoSpace"), "{full:#}");

    backup(&scenario, "killed", CLAIM)?;
    wait_for("the backup's Job", READY_LIMIT, || {
        scenario.run("delete job killed-backup --cascade=foreground --wait=false").map(Some)
    })?;
    let killed = ended(&scenario, "killed")?;
    println!("killed: {}", why(&killed, "Ready"));
    ensure!(killed["status"]["phase"] == "Failed" && why(&killed, "Ready").starts_with("Lost"), "{killed:#}");

    let object = ensemble.object()?;
    ensure!(condition(&object, "Ready") == Some("True"), "{:#}", object["status"]);
    writer.wait_for_writes(100)?;
    writer.finish().map(drop)
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_schedule_makes_backups_by_the_clock_and_keeps_the_last_two() -> Result<()> {
    let scenario = Scenario::open("schedule")?;
    claim(&scenario, CLAIM, "300Mi")?;
    let ensemble = Ensemble::create(&scenario, "zk", 1)?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(100)?;
    scenario.apply(&json!({
        "apiVersion": "zkensemble.dev/v1alpha1", "kind": "ZkBackupSchedule",
        "metadata": {"name": "minutely"},
        "spec": {
            "ensembleRef": {"name": "zk"}, "schedule": "* * * * *", "timeZone": "Europe/Berlin", "immediate": true,
            "retention": {"keepLast": 2},
            "template": {"destination": {"persistentVolumeClaim": {"claimName": CLAIM}}},
        },
    }))?;
    let mut seen = std::collections::BTreeSet::new();
    wait_for("four successes by the clock", Duration::from_secs(300), || {
        for backup in scenario.json("get zkb")?["items"].as_array().into_iter().flatten() {
            let phase = backup["status"]["phase"].as_str().unwrap_or_default();
            ensure!(phase != "Failed", "{}", why(backup, "Ready"));
            if phase == "Succeeded" {
                let text = |key: &str| backup["metadata"][key].as_str().map(str::to_owned);
                // In the order in which they were made.
                seen.insert(text("creationTimestamp").zip(text("name")).context("no name")?);
            }
        }
        // One at once, and three slots.
        Ok((seen.len() >= 4).then_some(()))
    })?;
    scenario.run("patch zkbs minutely --type=merge --patch {\"spec\":{\"suspend\":true}}")?;
    let kept = wait_for("the retention", READY_LIMIT, || {
        let backups = scenario.json("get zkb")?["items"].as_array().cloned().unwrap_or_default();
        let names: Vec<_> =
            backups.iter().filter_map(|b| b["metadata"]["name"].as_str()).map(str::to_owned).collect();
        let over = backups.iter().all(|backup| backup["status"]["phase"] == "Succeeded");
        Ok((names.len() == 2 && over).then_some(names))
    })?;
    println!("{}", scenario.run("get zkbs,zkb")?.trim());
    let oldest: Vec<_> = seen.iter().take(2).map(|(_, name)| name.clone()).collect();
    ensure!(!kept.iter().any(|name| oldest.contains(name)), "{kept:?} of {seen:?}");
    let files = on_claim(
        &scenario,
        "files",
        CLAIM,
        "import glob; print(len(glob.glob('/backup/**/*.zks', recursive=True)))",
    )?;
    ensure!(files.trim() == "2", "{files} files are left of two backups");
    writer.finish().map(drop)
}
