//! Processes that end: by force, all at once, or in order.

use anyhow::Result;

use crate::scene::Scene;

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

/// T20. The leader too, wherever it is by then.
pub fn rolling(scene: &mut Scene) -> Result<()> {
    for _ in 0..2 {
        for member in 0..scene.ensemble.members() {
            scene.survives(&format!("restart of member {member}"), |scene| {
                scene.ensemble.terminate(member)?;
                scene.ensemble.launch(member)
            })?;
            scene.ensemble.wait_serving(member)?;
            scene.pause_ms(0..500);
        }
    }
    Ok(())
}
