//! Processes that get no time: nobody tells them, and their clocks go on.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::scene::Scene;

/// T12. Longer than any session lives, so the others elect a leader and let sessions go meanwhile.
pub fn long(scene: &mut Scene) -> Result<()> {
    for _ in 0..2 {
        let member = scene.some_member()?;
        let name = format!("SIGSTOP of member {member}");
        scene.survives(&name, |scene| scene.ensemble.pause(member))?;
        scene.pause_ms(4_000..8_000);
        scene.mends(&name, |scene| scene.ensemble.resume(member))?;
        scene.ensemble.wait_serving(member)?;
        scene.pause_ms(500..1_500);
    }
    Ok(())
}

/// T15: one twentieth of its time, in small pieces.
pub fn starves(scene: &mut Scene) -> Result<()> {
    for _ in 0..2 {
        let member = scene.some_member()?;
        let name = format!("5 % of the time for member {member}");
        scene.survives(&name, |scene| {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(5) {
                scene.ensemble.pause(member)?;
                sleep(Duration::from_millis(95));
                scene.ensemble.resume(member)?;
                sleep(Duration::from_millis(5));
            }
            Ok(())
        })?;
        scene.ensemble.wait_serving(member)?;
        scene.pause_ms(500..1_500);
    }
    Ok(())
}
