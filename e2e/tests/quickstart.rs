//! What `cargo xtask up` promises about the quick-start ensemble. It is there when these tests run.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use zke_e2e::document;
use zke_e2e::ensemble::{Ensemble, uids};
use zke_e2e::kubectl::condition;
use zke_e2e::program::Program;
use zke_e2e::scenario::Scenario;

/// What `up` may take when everything is right: it checks the builds, the images, the release and the ensemble.
const SECOND_UP_LIMIT: Duration = Duration::from_secs(60);

fn env(scenario: &Scenario, name: &str) -> Result<String> {
    let file = scenario.cluster.state().join("env");
    let program = format!(". '{}' && printf %s \"${name}\"", file.display());
    let value = Program::new("sh").args(["-c", &program]).without_env(name).output()?;
    ensure!(!value.is_empty(), "{} does not set {name}", file.display());
    Ok(value)
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn clients_on_this_machine_and_in_pods_find_what_zookeeper_offers() -> Result<()> {
    let quickstart = Scenario::visit("default")?;
    let ensemble = Ensemble::existing(&quickstart, "quickstart");
    ensemble.wait_until_ready()?;
    let hosts = env(&quickstart, "ZK_HOSTS")?;
    for hosts in [hosts, ensemble.member_addresses()?] {
        let said = quickstart.script("checks.py").arg(&hosts).output()?;
        println!("{hosts}: {}", said.lines().last().unwrap_or_default());
    }
    let pods = Scenario::open("clients")?;
    for hosts in [ensemble.member_names()?, "quickstart-client.default:2181".to_owned()] {
        let said = pods.python_pod("checks", &["checks.py", &hosts], None)?;
        println!("in a pod, {hosts}: {}", said.lines().last().unwrap_or_default());
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_shell_that_sources_env_has_the_programs_and_the_cluster() -> Result<()> {
    let quickstart = Scenario::visit("default")?;
    let file = quickstart.cluster.state().join("env");
    let typed = format!(
        ". '{}' && kubectl get zke quickstart --output name && helm list --all-namespaces --short",
        file.display()
    );
    let said = Program::new("sh").args(["-c", &typed]).without_env("KUBECONFIG").output()?;
    assert_eq!(said.lines().collect::<Vec<_>>(), ["zkensemble.zkensemble.dev/quickstart", "zke-operator"]);
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn an_ephemeral_node_is_seen_by_another_client_and_goes_with_its_own() -> Result<()> {
    let quickstart = Scenario::visit("default")?;
    let said = quickstart.script("seed.py").arg(env(&quickstart, "ZK_HOSTS")?).output()?;
    println!("{}", said.trim());
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn kubectl_waits_for_it_and_shows_it() -> Result<()> {
    let quickstart = Scenario::visit("default")?;
    quickstart.run("wait --for=condition=Ready zke/quickstart --timeout=60s")?;
    let table = quickstart.run("get zke")?;
    println!("{table}");
    let (header, row) = table.split_once('\n').context("no row")?;
    let columns: Vec<_> = header.split_whitespace().collect();
    assert_eq!(columns, ["NAME", "READY", "REPLICAS", "LEADER", "VERSION", "AGE"]);
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells[..3], ["quickstart", "True", "3"]);
    assert!(cells[3].starts_with("quickstart-"), "{row}");
    assert_eq!(cells[4], env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// Everything that the second `up` could have changed, in the namespaces that it works in.
fn picture(quickstart: &Scenario) -> Result<Vec<(String, String)>> {
    let mut objects = quickstart.kubectl.items("get nodes,crds,storageclasses")?;
    for namespace in ["default", "zke-system"] {
        let kinds = "pods,statefulsets,deployments,services,configmaps,secrets,pvc,zke";
        objects.extend(quickstart.kubectl.items(&format!("get {kinds} --namespace {namespace}"))?);
    }
    let mut picture = uids(&objects);
    let generations = objects.iter().map(|object| {
        (format!("generation of {}", object["metadata"]["uid"]), object["metadata"]["generation"].to_string())
    });
    picture.extend(generations);
    Ok(picture)
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn a_second_up_is_quick_and_changes_nothing() -> Result<()> {
    let quickstart = Scenario::visit("default")?;
    Ensemble::existing(&quickstart, "quickstart").wait_until_ready()?;
    let (files, before) = (fs::read(quickstart.cluster.state().join("env"))?, picture(&quickstart)?);
    let started = Instant::now();
    Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .directory(quickstart.checkout.root())
        .args(["xtask", "up"])
        .run()?;
    let took = started.elapsed();
    println!("the second up took {:.1} s", took.as_secs_f64());
    assert!(took < SECOND_UP_LIMIT, "{took:?}");
    assert_eq!(picture(&quickstart)?, before);
    assert_eq!(fs::read(quickstart.cluster.state().join("env"))?, files);
    Ok(())
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn an_upgrade_of_the_operators_chart_touches_no_member() -> Result<()> {
    let quickstart = Scenario::visit("default")?;
    let ensemble = Ensemble::existing(&quickstart, "quickstart");
    ensemble.wait_until_ready()?;
    let operator = || -> Result<Vec<(String, String)>> {
        let pods = quickstart.kubectl.json(
            "--namespace zke-system get pods --selector=app.kubernetes.io/name=zke-operator --field-selector=status.phase=Running",
        )?;
        Ok(uids(pods["items"].as_array().map_or(&[], Vec::as_slice)))
    };
    let upgrade = |level: &str| {
        document::typed(
            &quickstart,
            &format!(
                "helm upgrade zke-operator charts/zke-operator --namespace zke-system --reuse-values --set log.level={level} --wait --timeout 2m"
            ),
        )
    };
    let (members, before) = (uids(&ensemble.pods()?), operator()?);
    upgrade("debug")?;
    let after = operator()?;
    ensure!(after != before, "the operator was not renewed: {after:?}");
    // It has looked at the ensemble once it writes a status for another generation.
    ensemble.patch(&json!({"spec": {"progressDeadlineSeconds": 601}}))?;
    ensemble.wait_until_ready()?;
    upgrade("info")?;
    ensemble.patch(&json!({"spec": {"progressDeadlineSeconds": 600}}))?;
    ensemble.wait_until_ready()?;
    ensure!(uids(&ensemble.pods()?) == members, "members were renewed");
    ensure!(condition(&ensemble.object()?, "Stalled").is_none());
    println!("operator {before:?} became {after:?}; members {members:?} stayed");
    Ok(())
}
