//! What the documentation tells its reader to type works as it stands there.

use anyhow::{Result, ensure};
use zke_e2e::document;
use zke_e2e::ensemble::{Ensemble, images, uids};
use zke_e2e::kubectl::condition;
use zke_e2e::scenario::Scenario;

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn every_command_of_the_operations_page_works() -> Result<()> {
    let scenario = Scenario::open("operations-page")?;
    let server = |tag: &str| format!("ghcr.io/zkensemble/zkd:{tag}");
    // The next version of the page is this one under another name.
    scenario.cluster.tag(&server(env!("CARGO_PKG_VERSION")), &server("0.2.0"))?;
    document::run(&scenario, "docs/operations.md")
}

#[test]
#[ignore = "needs the local cluster: cargo xtask test"]
fn every_command_of_the_backup_page_works() -> Result<()> {
    let scenario = Scenario::open("backup-page")?;
    scenario.run("apply --filename examples/quickstart.yaml")?;
    Ensemble::existing(&scenario, "quickstart").wait_until_ready()?;
    document::run(&scenario, "docs/backup.md")
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
    ensemble.patch(&serde_json::json!({"spec": {"progressDeadlineSeconds": 601}}))?;
    ensemble.wait_until_ready()?;
    upgrade("info")?;
    ensemble.patch(&serde_json::json!({"spec": {"progressDeadlineSeconds": 600}}))?;
    ensemble.wait_until_ready()?;
    ensure!(uids(&ensemble.pods()?) == members, "members were renewed");
    ensure!(condition(&ensemble.object()?, "Stalled").is_none());
    println!(
        "operator {before:?} became {after:?}; members {members:?} stayed, with {:?}",
        images(&ensemble.pods()?)
    );
    Ok(())
}
