//! Members so far behind that the log does not help them.

use anyhow::{Result, ensure};

use crate::scene::Scene;

/// A snapshot each 300 entries, and 60 kept behind it, but that the log is cut in steps of 1,024.
pub const OFTEN: &str = "snapCount=300\n";
/// Further than the log goes back then.
const FAR: usize = 2_500;

/// T16. Killed at random moments after it was started, of which some are in the middle of the snapshot; then two snapshots
/// in a row.
pub fn cut_short(scene: &mut Scene) -> Result<()> {
    let member = scene.any_follower()?;
    let before = installed(scene, member);
    scene.survives(&format!("kill -9 of member {member}"), |scene| scene.ensemble.kill(member))?;
    go_far(scene)?;
    for _ in 0..3 {
        scene.survives(&format!("start and kill -9 of member {member}"), |scene| {
            scene.ensemble.launch(member)?;
            scene.pause_ms(50..1_000);
            scene.ensemble.kill(member)
        })?;
    }
    scene.ensemble.start_one(member)?;
    scene.survives(&format!("kill -9 of member {member} again"), |scene| scene.ensemble.kill(member))?;
    go_far(scene)?;
    scene.ensemble.start_one(member)?;
    // A kill right behind the first one leaves it installed and untold, so only both together have to show.
    ensure!(
        installed(scene, member) > before,
        "member {member} was far behind, twice, and came back without a snapshot: snapCount does not count"
    );
    Ok(())
}

/// More entries than the log keeps. The load goes on beside them.
fn go_far(scene: &Scene) -> Result<()> {
    let leader = scene.ensemble.leader()?;
    let mut admin = scene.admin(leader)?;
    admin.use_entries(FAR)?;
    scene.note(&format!("{FAR} entries further"));
    admin.close()
}

fn installed(scene: &Scene, member: usize) -> usize {
    scene.ensemble.log(member).matches("installed a snapshot").count()
}
