//! Curator's recipes, while one member after another restarts.

use anyhow::{Result, ensure};
use zke_e2e::checkout::Checkout;
use zke_e2e::java::Java;
use zke_e2e::local_ensemble::LocalEnsemble;
use zke_e2e::progress::Progress;

use crate::group::{Group, Mark, told};
use crate::programs;

/// Containers and TTL nodes go soon.
const SETTINGS: &str = "znode.container.checkIntervalMs=500";

#[test]
#[ignore = "needs Maven and a JDK: cargo xtask test"]
fn curators_recipes_work_while_members_restart() -> Result<()> {
    let checkout = Checkout::find()?;
    let progress = Progress::default();
    let zkd = programs::binaries(&checkout, &progress)?.join("zkd");
    let java = Java::build(&checkout.path("e2e/java"), &progress)?;
    let mut ensemble = LocalEnsemble::start(&zkd, SETTINGS)?;
    let mut recipes = Group::new("recipes")?;
    let program = ["java".to_owned()].into_iter().chain(java.arguments("dev.zkensemble.e2e.Recipes"));
    recipes.start("recipes", &program.chain([ensemble.hosts()]).collect::<Vec<_>>())?;
    recipes.wait_line(Mark::default(), "from here on servers may restart")?;
    let mut restarts = 0;
    let status = loop {
        // The leader is killed, the others are asked to end; each is back before the next one goes, and once more
        // when a recipe has ended: so each of them meets a restart, unless it is quicker than that.
        let done = recipes.mark();
        let member = restarts % 3;
        if ensemble.leader()? == member {
            ensemble.kill(member)?;
            ensemble.start_again(member)?;
        } else {
            ensemble.restart(member)?;
        }
        restarts += 1;
        if let Some(status) = recipes.more_or_end("recipes", done)? {
            break status;
        }
    };
    println!("{}{restarts} restarts", told(&recipes.lines()));
    ensure!(status.success(), "the recipes ended with {status}; {}", ensemble.last_words());
    ensure!(restarts >= 3, "they ended before each member was restarted");
    Ok(())
}
