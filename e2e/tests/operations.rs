//! What the operator does to a running ensemble, while a client writes and notes down what was acknowledged.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use zke_e2e::ensemble::{Ensemble, READY_LIMIT, images, uids};
use zke_e2e::kubectl::{condition, wait_for};
use zke_e2e::node::PAUSE_IMAGE;
use zke_e2e::scenario::Scenario;

const SERVER_IMAGE: &str = "ghcr.io/zkensemble/zkd";
const OPERATOR: &str = "--namespace zke-system deployment/zke-operator";
const OPERATOR_PODS: &str = "--namespace zke-system pod --selector=app.kubernetes.io/name=zke-operator";

/// An image under another tag: a new version as far as Kubernetes can tell.
fn next_version(scenario: &Scenario, version: &str) -> Result<()> {
    let present = format!("{SERVER_IMAGE}:{}", env!("CARGO_PKG_VERSION"));
    scenario.cluster.tag(&present, &format!("{SERVER_IMAGE}:{version}"))
}

/// A version whose image holds another program: nothing called zkd is in it.
fn broken_version(scenario: &Scenario, version: &str) -> Result<()> {
    scenario.cluster.tag(PAUSE_IMAGE, &format!("{SERVER_IMAGE}:{version}"))
}

/// The member ids by pod: they stand for disks, and stay while pods come and go.
fn member_ids(ensemble: &Ensemble<'_>) -> Result<Vec<(Value, Value)>> {
    let members = ensemble.object()?["status"]["members"].as_array().cloned().unwrap_or_default();
    Ok(members.into_iter().map(|member| (member["name"].clone(), member["memberID"].clone())).collect())
}

/// Waits until the operator has begun something that the spec asks for.
fn wait_for_operation(ensemble: &Ensemble<'_>, kind: &str) -> Result<()> {
    wait_for(&format!("the operation {kind}"), READY_LIMIT, || {
        Ok((ensemble.object()?["status"]["operation"]["type"] == kind).then_some(()))
    })
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_rolling_update_renews_every_member_and_loses_nothing() -> Result<()> {
    let scenario = Scenario::open("rolling")?;
    next_version(&scenario, "0.1.1-next")?;
    let ensemble = Ensemble::create(&scenario, "zk", 3)?;
    let members = member_ids(&ensemble)?;
    let mut writer = ensemble.start_writer("/load")?;
    let changes = [
        ("another image", json!({"spec": {"version": "0.1.1-next"}})),
        ("other resources", json!({"spec": {"resources": {"requests": {"memory": "80Mi"}}}})),
        ("another setting", json!({"spec": {"server": {"tickTime": "1s"}}})),
        (
            "a restart",
            json!({"metadata": {"annotations": {"zkensemble.dev/restartedAt": "2026-01-01T00:00:00Z"}}}),
        ),
    ];
    for (what, change) in changes {
        println!("{what}");
        writer.wait_for_writes(100)?;
        let (before, leader) = (uids(&ensemble.pods()?), ensemble.leader()?);
        ensemble.patch(&change)?;
        let first = wait_for("the first renewed pod", READY_LIMIT, || {
            let now = uids(&ensemble.pods()?);
            Ok(before.iter().find(|pod| !now.contains(pod)).map(|(name, _)| name.clone()))
        })?;
        ensure!(first != leader, "{what}: the leader {leader} went first");
        wait_for("three renewed pods", READY_LIMIT, || {
            let now = uids(&ensemble.pods()?);
            Ok((now.len() == 3 && now.iter().all(|pod| !before.contains(pod))).then_some(()))
        })?;
        ensemble.wait_until_ready()?;
        let after = member_ids(&ensemble)?;
        ensure!(after == members, "{what}: the disks became others: {members:?} {after:?}");
    }
    ensure!(images(&ensemble.pods()?) == [format!("{SERVER_IMAGE}:0.1.1-next")]);
    writer.wait_for_writes(100)?;
    writer.finish()?;
    let configurations = scenario.json("get configmaps --selector=zkensemble.dev/name=zk")?;
    let names =
        configurations["items"].as_array().into_iter().flatten().map(|item| &item["metadata"]["name"]);
    let names: Vec<_> =
        names.filter_map(Value::as_str).filter(|name| name.starts_with("zk-config-")).collect();
    ensure!(names.len() == 1, "configurations that nobody uses are still there: {names:?}");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_bad_image_stops_at_the_first_member_and_a_changed_spec_heals() -> Result<()> {
    let scenario = Scenario::open("bad-image")?;
    broken_version(&scenario, "0.0.8-broken")?;
    next_version(&scenario, "0.1.2-next")?;
    let ensemble = Ensemble::create(&scenario, "zk", 3)?;
    // Soon enough for a test, and long enough for a good member to be ready.
    ensemble.patch(&json!({"spec": {"progressDeadlineSeconds": 40}}))?;
    ensemble.wait_until_ready()?;
    let mut writer = ensemble.start_writer("/load")?;
    for bad in ["0.0.8-broken", "0.0.9-missing"] {
        writer.wait_for_writes(100)?;
        let before = uids(&ensemble.pods()?);
        ensemble.patch(&json!({"spec": {"version": bad}}))?;
        // On a machine that is busy enough, the put-back itself may be overdue for a moment.
        let message = ensemble.wait_for_reason("Stalled", "CanaryFailed")?;
        println!("{bad}: {message}");
        wait_for("the last good image on every member", READY_LIMIT, || {
            let pods = ensemble.pods()?;
            let ready = pods.iter().filter(|pod| condition(pod, "Ready") == Some("True")).count();
            let good = !images(&pods).iter().any(|image| image.ends_with(bad));
            Ok((pods.len() == 3 && ready == 3 && good).then_some(()))
        })?;
        let after = uids(&ensemble.pods()?);
        let untouched = after.iter().filter(|pod| before.contains(pod)).count();
        ensure!(untouched == 2, "{bad}: {untouched} members were left alone: {before:?} {after:?}");
        let object = ensemble.object()?;
        ensure!(condition(&object, "Available") == Some("True"), "{bad}: {:#}", object["status"]);
        let described = scenario.run("describe zke zk")?;
        ensure!(described.contains("CanaryFailed"), "{described}");
        // It stays so until the spec changes.
        ensure!(condition(&object, "Ready") == Some("False"));
        let heal = if bad == "0.0.9-missing" { json!("0.1.2-next") } else { Value::Null };
        ensemble.patch(&json!({"spec": {"version": heal}}))?;
        ensemble.wait_until_ready()?;
        ensure!(condition(&ensemble.object()?, "Stalled").is_none());
    }
    ensure!(images(&ensemble.pods()?) == [format!("{SERVER_IMAGE}:0.1.2-next")]);
    writer.wait_for_writes(100)?;
    writer.finish().map(drop)
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn an_image_that_was_wrong_from_the_start_is_mended_by_the_spec_alone() -> Result<()> {
    let scenario = Scenario::open("wrong-start")?;
    let mut manifest = zke_e2e::ensemble::manifest("zk", 3);
    manifest["spec"]["version"] = json!("0.0.9-missing");
    scenario.apply(&manifest)?;
    let ensemble = Ensemble::existing(&scenario, "zk");
    wait_for(
        "three pods that cannot start",
        READY_LIMIT,
        || Ok((ensemble.pods()?.len() == 3).then_some(())),
    )?;
    ensemble.patch(&json!({"spec": {"version": env!("CARGO_PKG_VERSION")}}))?;
    ensemble.wait_until_ready()
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_node_is_drained_in_the_middle_of_an_update() -> Result<()> {
    let scenario = Scenario::open("drained")?;
    next_version(&scenario, "0.1.3-next")?;
    let ensemble = Ensemble::create(&scenario, "drained", 3)?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(100)?;
    ensemble.patch(&json!({"spec": {"version": "0.1.3-next"}}))?;
    wait_for_operation(&ensemble, "Update")?;
    let leader = ensemble.leader()?;
    let pod = scenario.json(&format!("get pod {leader}"))?;
    let node = pod["spec"]["nodeName"].as_str().context("the leader's pod is on no node")?.to_owned();
    let drain = format!(
        "drain {node} --ignore-daemonsets --delete-emptydir-data --timeout=120s --pod-selector=zkensemble.dev/name=drained"
    );
    let drained = scenario.kubectl.run(&drain);
    scenario.kubectl.run(&format!("uncordon {node}"))?;
    println!("{}", drained?.trim());
    ensemble.wait_until_ready()?;
    ensure!(images(&ensemble.pods()?) == [format!("{SERVER_IMAGE}:0.1.3-next")]);
    writer.wait_for_writes(100)?;
    writer.finish().map(drop)
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn an_ensemble_goes_from_one_to_five_and_back_under_load() -> Result<()> {
    let scenario = Scenario::open("scaling")?;
    let ensemble = Ensemble::create(&scenario, "zk", 1)?;
    let mut writer = ensemble.start_writer("/load")?;
    for replicas in [3, 5, 3, 1] {
        writer.wait_for_writes(100)?;
        ensemble.scale(replicas)?;
        ensemble.wait_until_ready()?;
        ensemble.wait_for_pods(replicas as usize)?;
    }
    writer.wait_for_writes(100)?;
    writer.finish().map(drop)
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_change_of_mind_in_the_middle_of_scaling_ends_right() -> Result<()> {
    let scenario = Scenario::open("turned")?;
    let ensemble = Ensemble::create(&scenario, "zk", 3)?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(100)?;
    ensemble.scale(5)?;
    wait_for("a fourth pod", READY_LIMIT, || Ok((ensemble.pods()?.len() > 3).then_some(())))?;
    ensemble.scale(3)?;
    ensemble.wait_until_ready()?;
    ensemble.wait_for_pods(3)?;
    writer.wait_for_writes(100)?;
    writer.finish().map(drop)
}

/// Ends the operator's pod as a crash would, again and again, while something is under way.
fn kill_the_operator(scenario: &Scenario, times: u32) -> Result<()> {
    for _ in 0..times {
        scenario.kubectl.run(&format!("delete {OPERATOR_PODS} --grace-period=0 --force"))?;
        scenario.kubectl.run(&format!("rollout status {OPERATOR} --timeout=120s"))?;
        // Time enough to take over, and not to finish.
        std::thread::sleep(Duration::from_secs(2));
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn an_operator_that_is_killed_again_and_again_goes_on_where_it_was() -> Result<()> {
    let scenario = Scenario::open("killed-operator")?;
    next_version(&scenario, "0.1.4-next")?;
    let ensemble = Ensemble::create(&scenario, "zk", 1)?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(100)?;
    ensemble.scale(3)?;
    kill_the_operator(&scenario, 5)?;
    ensemble.wait_until_ready()?;
    ensemble.patch(&json!({"spec": {"version": "0.1.4-next"}}))?;
    kill_the_operator(&scenario, 5)?;
    ensemble.wait_until_ready()?;
    ensure!(images(&ensemble.pods()?) == [format!("{SERVER_IMAGE}:0.1.4-next")]);
    writer.wait_for_writes(100)?;
    writer.finish().map(drop)
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn the_same_manifest_twice_changes_nothing() -> Result<()> {
    let scenario = Scenario::open("applied-twice")?;
    let ensemble = Ensemble::create(&scenario, "zk", 1)?;
    let before = ensemble.object()?["metadata"].clone();
    scenario.apply(&zke_e2e::ensemble::manifest("zk", 1))?;
    let after = ensemble.object()?["metadata"].clone();
    ensure!(before["generation"] == after["generation"], "{before:#} {after:#}");
    let owners = |metadata: &Value| {
        let fields = metadata["managedFields"].as_array().cloned().unwrap_or_default();
        fields
            .into_iter()
            .filter(|entry| entry["subresource"].is_null())
            .map(|entry| entry["fieldsV1"].clone())
            .collect::<Vec<_>>()
    };
    ensure!(owners(&before) == owners(&after), "the spec has other owners now");
    Ok(())
}
