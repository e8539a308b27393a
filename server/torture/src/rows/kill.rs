//! Processes that end: by force, all at once, or in order.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::admin::figure;
use crate::ensemble::APPLY_LEVELS;
use crate::scene::Scene;

/// The leader looks twice a second whether all members have the next apply level.
const RAISE_LIMIT: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// T2.
pub fn the_leader(scene: &mut Scene) -> Result<()> {
    for _ in 0..4 {
        let leader = scene.ensemble.leader()?;
        scene.survives("kill -9 of the leader", |scene| scene.ensemble.kill(leader))?;
        scene.pause_ms(0..1_500);
        scene.ensemble.start_one(leader)?;
        scene.pause_ms(0..1_000);
    }
    Ok(())
}

/// T3. A member that was started late finds the others in the middle of an election.
pub fn all(scene: &mut Scene) -> Result<()> {
    for _ in 0..3 {
        scene.passes(
            "kill -9 of all",
            0..500,
            |scene| scene.ensemble.kill_all(),
            |scene| {
                for member in 0..scene.ensemble.members() {
                    scene.ensemble.launch(member)?;
                    scene.pause_ms(0..100);
                }
                Ok(())
            },
        )?;
        scene.pause_ms(500..2_000);
    }
    Ok(())
}

/// T4. All machines at once, then one with the leader on it.
pub fn power(scene: &mut Scene) -> Result<()> {
    let everybody: Vec<usize> = (0..scene.ensemble.members()).collect();
    for _ in 0..2 {
        scene.passes(
            "all lose their power",
            0..500,
            |scene| {
                scene.ensemble.kill_all()?;
                scene.ensemble.lose_power(&everybody)
            },
            |scene| everybody.iter().try_for_each(|member| scene.ensemble.launch(*member)),
        )?;
        scene.pause_ms(500..2_000);
        let leader = scene.ensemble.leader()?;
        scene.survives("the leader loses its power", |scene| {
            scene.ensemble.kill(leader)?;
            scene.ensemble.lose_power(&[leader])
        })?;
        scene.ensemble.start_one(leader)?;
        scene.pause_ms(500..2_000);
    }
    Ok(())
}

/// T20. The leader too, wherever it is by then: to the same version, to a newer one, and one of them back, which is
/// refused once all had the newer one.
pub fn rolling(scene: &mut Scene) -> Result<()> {
    let [old, new] = APPLY_LEVELS;
    let members = 0..scene.ensemble.members();
    for version in APPLY_LEVELS {
        for member in members.clone() {
            ensure!(
                apply_level(scene, member)? == old,
                "the apply level was raised before all members had it"
            );
            scene.survives(&format!("restart of member {member} with apply level {version}"), |scene| {
                scene.ensemble.terminate(member)?;
                scene.ensemble.install(member, version);
                scene.ensemble.launch(member)
            })?;
            scene.ensemble.wait_serving(member)?;
            scene.pause_ms(0..500);
        }
    }
    let begun = Instant::now();
    for member in members {
        while apply_level(scene, member)? != new {
            ensure!(begun.elapsed() < RAISE_LIMIT, "member {member} is not at apply level {new}");
            sleep(LOOK_INTERVAL);
        }
    }
    scene.note(&format!("apply level {new} after {:.1} s", begun.elapsed().as_secs_f64()));
    let back = scene.any_member();
    let name = format!("member {back} goes back to apply level {old}");
    scene.survives(&name, |scene| {
        scene.ensemble.terminate(back)?;
        scene.ensemble.install(back, old);
        scene.ensemble.launch(back)?;
        let status = scene.ensemble.wait_end(back)?;
        let said = scene.ensemble.log(back);
        ensure!(!status.success(), "it ended as if all were well");
        ensure!(
            said.contains(&format!("at apply level {new}")),
            "it does not say which apply level it lacks"
        );
        Ok(())
    })?;
    scene.mends(&name, |scene| {
        scene.ensemble.install(back, new);
        scene.ensemble.start_one(back)
    })
}

fn apply_level(scene: &Scene, member: usize) -> Result<u32> {
    let level = figure(scene.ensemble.network.http_address(member), "zkd_apply_level")?;
    Ok(level as u32)
}
