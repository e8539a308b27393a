//! Ensembles that things happen to, while a client writes and notes down what was acknowledged.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use zke_e2e::ensemble::{Ensemble, READY_LIMIT, manifest, uids};
use zke_e2e::kubectl::wait_for;
use zke_e2e::scenario::Scenario;

const OPERATOR: &str = "--namespace zke-system deployment/zke-operator";

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn no_acknowledged_write_is_lost_with_the_leader() -> Result<()> {
    let scenario = Scenario::open("lost-leader")?;
    let ensemble = Ensemble::create(&scenario, "zk", 3)?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(200)?;
    let leader = ensemble.leader()?;
    let before = uids(&ensemble.pods()?);
    ensemble.delete_pods(std::slice::from_ref(&leader))?;
    writer.wait_for_writes(500)?;
    wait_for("a new pod", READY_LIMIT, || Ok((uids(&ensemble.pods()?) != before).then_some(())))?;
    ensemble.wait_until_ready()?;
    writer.wait_for_writes(200)?;
    writer.finish()?;
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn clients_see_only_what_a_right_server_shows_while_pods_go() -> Result<()> {
    let scenario = Scenario::open("mixed")?;
    let ensemble = Ensemble::create(&scenario, "zk", 3)?;
    ensemble.judge_mixed_load(30, || {
        for _ in 0..2 {
            sleep(Duration::from_secs(5));
            let leader = ensemble.leader()?;
            ensemble.delete_pods(std::slice::from_ref(&leader))?;
            sleep(Duration::from_secs(3));
            ensemble.wait_until_ready()?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn everything_is_back_after_all_pods_went_at_once() -> Result<()> {
    let scenario = Scenario::open("lost-pods")?;
    let ensemble = Ensemble::create(&scenario, "zk", 3)?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(300)?;
    let journal = writer.finish()?;
    let before = uids(&ensemble.pods()?);
    let pods: Vec<_> = before.iter().map(|(name, _)| name.clone()).collect();
    ensemble.delete_pods(&pods)?;
    wait_for("three new pods", READY_LIMIT, || {
        let now = uids(&ensemble.pods()?);
        Ok((now.len() == 3 && now.iter().all(|pod| !before.contains(pod))).then_some(()))
    })?;
    ensemble.wait_until_ready()?;
    println!("{}", ensemble.verify("/load", &journal)?.trim());
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn an_ensemble_serves_and_heals_without_its_operator() -> Result<()> {
    let scenario = Scenario::open("no-operator")?;
    let ensemble = Ensemble::create(&scenario, "zk", 3)?;
    let deployment = scenario.kubectl.json(&format!("get {OPERATOR}"))?;
    let replicas = deployment["spec"]["replicas"].as_u64().context("the operator has no replicas")?;
    scenario.kubectl.run(&format!("scale {OPERATOR} --replicas=0"))?;
    let outcome = live_without_operator(&scenario, &ensemble);
    scenario.kubectl.run(&format!("scale {OPERATOR} --replicas={replicas}"))?;
    scenario.kubectl.run(&format!("rollout status {OPERATOR} --timeout=120s"))?;
    outcome?;
    ensemble.wait_until_ready()
}

fn live_without_operator(scenario: &Scenario, ensemble: &Ensemble<'_>) -> Result<()> {
    let follower = ensemble.follower()?;
    wait_for("the operator's end", READY_LIMIT, || {
        let pods = scenario.kubectl.items("get pods --namespace zke-system")?;
        Ok(pods.is_empty().then_some(()))
    })?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(200)?;
    let before = uids(&ensemble.pods()?);
    ensemble.delete_pods(std::slice::from_ref(&follower))?;
    wait_for("the pod's successor", READY_LIMIT, || {
        let now = uids(&ensemble.pods()?);
        Ok((now.len() == 3 && now != before).then_some(()))
    })?;
    // A member is Ready only when it has caught up with the leader.
    scenario.run(&format!("wait --for=condition=Ready pod/{follower} --timeout=120s"))?;
    writer.wait_for_writes(200)?;
    writer.finish().map(drop)
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn kept_volumes_bring_the_same_data_back() -> Result<()> {
    let scenario = Scenario::open("kept-volumes")?;
    let ensemble = Ensemble::create(&scenario, "zk", 3)?;
    let mut writer = ensemble.start_writer("/load")?;
    writer.wait_for_writes(300)?;
    let journal = writer.finish()?;
    let identity = ensemble.object()?["status"]["ensembleID"].clone();
    for replicas in [3, 1, 3] {
        scenario.run("delete zke zk --timeout=120s")?;
        wait_for("the end of the pods", READY_LIMIT, || Ok(ensemble.pods()?.is_empty().then_some(())))?;
        Ensemble::create(&scenario, "zk", replicas)?;
        println!("with {replicas}: {}", ensemble.verify("/load", &journal)?.trim());
        assert_eq!(ensemble.object()?["status"]["ensembleID"], identity);
    }
    Ok(())
}

/// What the API server says to a spec with one field set to something else.
fn refusal(scenario: &Scenario, name: &str, field: &str, value: Value) -> Result<String> {
    let mut ensemble = manifest(name, 3);
    *ensemble["spec"].pointer_mut(field).unwrap_or(&mut Value::Null) = value.clone();
    if ensemble["spec"].pointer(field).is_none() {
        ensemble["spec"][field.trim_start_matches('/')] = value;
    }
    match scenario.apply(&ensemble) {
        Ok(_) => anyhow::bail!("{field} was accepted: {}", ensemble["spec"]),
        Err(error) => Ok(format!("{error:#}")),
    }
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn the_api_server_refuses_what_cannot_work_and_says_what_can() -> Result<()> {
    let scenario = Scenario::open("refusals")?;
    let refusals = [
        ("/replicas", json!(2), "replicas must be 1, 3, 5 or 7"),
        ("/replicas", json!(9), "replicas must be 1, 3, 5 or 7"),
        ("/storage/size", json!("10 gigabytes"), "must be a quantity above zero"),
        ("/storage/size", json!("-1Gi"), "must be a quantity above zero"),
        ("/replcas", json!(3), "replcas"),
    ];
    for (field, value, expected) in refusals {
        let said = refusal(&scenario, "refused", field, value)?;
        ensure!(said.contains(expected), "{field}: {said}");
    }
    let mut shrinking = manifest("shrinking", 1);
    shrinking["spec"]["storage"]["size"] = json!("2Gi");
    scenario.apply(&shrinking)?;
    let said = refusal(&scenario, "shrinking", "/storage/size", json!("1Gi"))?;
    ensure!(said.contains("size may only grow"), "{said}");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn members_run_under_the_restricted_pod_security_level() -> Result<()> {
    let scenario = Scenario::open("restricted")?;
    let namespace = scenario.kubectl.json("get namespace restricted")?;
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let ensemble = Ensemble::create(&scenario, "zk", 1)?;
    let pods = ensemble.pods()?;
    assert_eq!(pods.len(), 1);
    // The proof that enforcement is on: the same namespace turns away a pod that is not restricted.
    let careless = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "careless"},
        "spec": {"containers": [{"name": "c", "image": "zkensemble.dev/pause:1"}]},
    });
    let refused = scenario.apply(&careless).expect_err("a pod without a security context must be refused");
    assert!(format!("{refused:#}").contains("violates PodSecurity \"restricted"), "{refused:#}");
    let operator = scenario.kubectl.items("get pods --namespace zke-system")?;
    for pod in pods.iter().chain(&operator) {
        let security = &pod["spec"]["containers"][0]["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{}", pod["metadata"]["name"]);
    }
    Ok(())
}
