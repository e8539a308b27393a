//! The local Kubernetes itself: if these fail, what the others say means little.
//!
//! `cargo xtask test` runs them; by hand, after `cargo xtask up`: `cargo test -p zke-e2e -- --ignored`.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use zke_e2e::clients::PYTHON;
use zke_e2e::kubectl::wait_for;
use zke_e2e::scenario::{Scenario, python_pod_spec};

const LIMIT: Duration = Duration::from_secs(120);

/// A StatefulSet of web servers, each with a volume of 300 MiB, the smallest there is.
fn web(replicas: u32, storage_class: &str) -> Value {
    let mut spec = python_pod_spec(&["-m", "http.server", "8080", "--directory", "/data"]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    spec["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web-pods"},
            "spec": {"selector": {"app": "web"}, "clusterIP": "None"},
        },
        {
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"},
            "spec": {
                "serviceName": "web-pods", "replicas": replicas, "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec},
                "volumeClaimTemplates": [{
                    "metadata": {"name": "data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"], "storageClassName": storage_class,
                        "resources": {"requests": {"storage": "300Mi"}},
                    },
                }],
            },
        },
    ]})
}

fn wait_until_ready(scenario: &Scenario) -> Result<()> {
    scenario.import_clients()?;
    scenario.run("rollout status statefulset/web --timeout=120s").map(drop)
}

fn python(scenario: &Scenario, pod: &str, program: &str) -> Result<String> {
    let words = ["--namespace", &scenario.namespace, "exec", pod, "--", PYTHON, "-c", program];
    scenario.kubectl.call(words).output()
}

fn node_of(scenario: &Scenario, pod: &str) -> Result<String> {
    let pod = scenario.json(&format!("get pod {pod}"))?;
    Ok(pod["spec"]["nodeName"].as_str().context("the pod is not scheduled")?.to_owned())
}

const FETCH: &str = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).status)";

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn services_and_names_work_from_everywhere() -> Result<()> {
    let scenario = Scenario::open("services")?;
    scenario.import_clients()?;
    scenario.apply(&web(3, "zke-movable"))?;
    wait_until_ready(&scenario)?;
    let service = scenario.json("get service web")?;
    let address = service["spec"]["clusterIP"].as_str().context("no address")?;
    let here = scenario.python.command(&["-c", FETCH, &format!("http://{address}/")]).output()?;
    assert_eq!(here.trim(), "200", "from this machine to the Service");
    for pod in ["web-0", "web-1", "web-2"] {
        let pod_address = scenario.json(&format!("get pod {pod}"))?;
        let pod_address = pod_address["status"]["podIP"].as_str().context("no address")?.to_owned();
        let here =
            scenario.python.command(&["-c", FETCH, &format!("http://{pod_address}:8080/")]).output()?;
        assert_eq!(here.trim(), "200", "from this machine to {pod}");
        // From its own node also to itself: the reply must find its way back through the Service.
        let node = node_of(&scenario, pod)?;
        let service = scenario.python_pod("fetch", &["-c", FETCH, "http://web/"], Some(&node))?;
        assert_eq!(service.trim(), "200", "from {node} to the Service");
        let name = format!("http://{pod}.web-pods.services.svc.cluster.local:8080/");
        let named = scenario.python_pod("fetch", &["-c", FETCH, &name], Some(&node))?;
        assert_eq!(named.trim(), "200", "from {node} to {name}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_full_volume_is_full() -> Result<()> {
    let scenario = Scenario::open("full-volume")?;
    scenario.import_clients()?;
    scenario.apply(&web(1, "zke-node-bound"))?;
    wait_until_ready(&scenario)?;
    let fill = "
import errno
written = 0
with open('/data/fill', 'wb') as file:
    try:
        while True:
            file.write(bytes(1 << 20)); file.flush(); written += 1
    except OSError as error:
        print(errno.errorcode[error.errno], written)
";
    let said = python(&scenario, "web-0", fill)?;
    let (error, mebibytes) = said.trim().split_once(' ').context("no count")?;
    assert_eq!(error, "ENOSPC");
    let mebibytes: u32 = mebibytes.parse()?;
    assert!((200..300).contains(&mebibytes), "{mebibytes} MiB fit into a volume of 300");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_movable_volume_follows_its_pod() -> Result<()> {
    let scenario = Scenario::open("movable-volume")?;
    scenario.import_clients()?;
    scenario.apply(&web(1, "zke-movable"))?;
    wait_until_ready(&scenario)?;
    python(&scenario, "web-0", "open('/data/note', 'w').write('still here')")?;
    let first = node_of(&scenario, "web-0")?;
    scenario.run(&format!("cordon {first}"))?;
    let moved = move_away(&scenario, &first);
    scenario.run(&format!("uncordon {first}"))?;
    moved
}

fn move_away(scenario: &Scenario, first: &str) -> Result<()> {
    scenario.run("delete pod web-0")?;
    wait_for("the pod on another node", LIMIT, || {
        Ok(node_of(scenario, "web-0").ok().filter(|node| node != first))
    })?;
    wait_until_ready(scenario)?;
    assert_eq!(python(scenario, "web-0", "print(open('/data/note').read())")?.trim(), "still here");
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_node_bound_volume_keeps_its_pod() -> Result<()> {
    let scenario = Scenario::open("bound-volume")?;
    scenario.import_clients()?;
    scenario.apply(&web(1, "zke-node-bound"))?;
    wait_until_ready(&scenario)?;
    let first = node_of(&scenario, "web-0")?;
    scenario.run(&format!("cordon {first}"))?;
    let stuck = scenario.run("delete pod web-0").and_then(|_| {
        wait_for("the scheduler's refusal", LIMIT, || {
            let pod = scenario.json("get pod web-0")?;
            let message =
                pod.pointer("/status/conditions/0/message").and_then(Value::as_str).unwrap_or_default();
            Ok(message.contains("node affinity").then_some(()))
        })
    });
    scenario.run(&format!("uncordon {first}"))?;
    stuck?;
    wait_until_ready(&scenario)?;
    assert_eq!(node_of(&scenario, "web-0")?, first);
    Ok(())
}
