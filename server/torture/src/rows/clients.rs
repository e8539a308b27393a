//! Connections of clients that break, for one end or for both.

use anyhow::Result;
use rand::Rng as _;

use crate::network::Side;
use crate::scene::Scene;

/// T22. Each connection to a member is reset, so its clients send their watches to another one in the middle of changes.
pub fn watch_storm(scene: &mut Scene) -> Result<()> {
    for _ in 0..10 {
        let member = scene.any_member();
        let reset = |scene: &mut Scene| scene.ensemble.network.reset_clients(member);
        let mend = |scene: &mut Scene| scene.ensemble.network.heal_member(member);
        scene.passes(&format!("clients of member {member} are reset"), 50..400, reset, mend)?;
        scene.pause_ms(100..800);
    }
    Ok(())
}

/// T24. The member hears nothing and keeps the connection, while its client takes the session up elsewhere, closes it, or
/// lets it expire.
pub fn moved_sessions(scene: &mut Scene) -> Result<()> {
    for _ in 0..4 {
        let member = scene.any_member();
        let with_leader = scene.random.random_bool(0.3);
        let cut = |scene: &mut Scene| scene.ensemble.network.cut(Side::Clients, member);
        let mend = |scene: &mut Scene| scene.ensemble.network.heal_member(member);
        scene.passes(&format!("member {member} hears nothing of its clients"), 1_500..5_000, cut, mend)?;
        if with_leader {
            let leader = scene.ensemble.leader()?;
            scene.survives("kill -9 of the leader", |scene| scene.ensemble.kill(leader))?;
            scene.ensemble.start_one(leader)?;
        }
        scene.pause_ms(100..800);
    }
    Ok(())
}
