//! What the documentation tells its reader to type works as it stands there.

use anyhow::Result;
use zke_e2e::document;
use zke_e2e::ensemble::Ensemble;
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
    scenario
        .run(&format!("apply --filename {}", scenario.checkout.path("examples/quickstart.yaml").display()))?;
    Ensemble::existing(&scenario, "quickstart").wait_until_ready()?;
    document::run(&scenario, "docs/backup.md")
}
