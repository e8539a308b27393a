//! Numbers that come to their end.

use anyhow::{Result, ensure};

use crate::scene::Scene;

/// So far before the end of the counter each epoch begins, and so many zxids the harness uses up to get there.
const LEFT: u32 = 2_000;
pub const FIRST_COUNTER: u32 = u32::MAX - LEFT;
const STEP: usize = 64;

/// T26. ZooKeeper elects a leader then; here the epoch rises under the one that leads, and nobody waits. Then an election
/// begins the next epoch, and a member reads all of it back from its log.
pub fn overflows(scene: &mut Scene) -> Result<()> {
    for _ in 0..3 {
        let leader = scene.ensemble.leader()?;
        scene.survives("the counter of zxids overflows", go_over)?;
        ensure!(scene.ensemble.leader()? == leader, "the leader is another one behind the overflow");
        let member = scene.any_follower()?;
        scene.survives(&format!("kill -9 of member {member}"), |scene| scene.ensemble.kill(member))?;
        scene.ensemble.start_one(member)?;
        let name = "kill -9 of the leader";
        scene.survives(name, |scene| scene.ensemble.kill(leader))?;
        scene.ensemble.start_one(leader)?;
    }
    Ok(())
}

fn go_over(scene: &mut Scene) -> Result<()> {
    let member = scene.any_member();
    let mut admin = scene.admin(member)?;
    admin.use_zxids(1)?;
    let first = admin.last_zxid;
    ensure!(
        first.counter() >= FIRST_COUNTER,
        "the epoch did not begin near its end: zxid {first}; is this zkd built for tests?"
    );
    for _ in 0..=LEFT as usize / STEP {
        admin.use_zxids(STEP)?;
        if admin.last_zxid.epoch() > first.epoch() {
            scene.note(&format!("behind zxid {first} comes {}", admin.last_zxid));
            return admin.close();
        }
    }
    anyhow::bail!("zxid {} follows {first}, and the epoch did not rise", admin.last_zxid)
}
