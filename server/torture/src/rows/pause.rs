//! Time that passes otherwise: processes that get none while their clocks go on, and a time of day that jumps.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};

use crate::scene::Scene;

/// How far a time of day jumps.
const HOUR_S: i64 = 3_600;
/// For what passes between two looks at clocks.
const SLACK_MS: i64 = 60_000;
/// A time of day that runs so many times as fast, for so long.
const RATE: i64 = 10;
const RUNS_FAST_S: i64 = 5;

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

/// T13. Sessions live as long as they were granted, by clocks that nobody sets; what clients are told as the time of a change
/// never goes back.
pub fn clocks_jump(scene: &mut Scene) -> Result<()> {
    let leader = scene.ensemble.leader()?;
    let ahead = format!("the time of day of member {leader}, which leads, is an hour ahead");
    scene.survives(&ahead, |scene| scene.ensemble.set_clock(leader, HOUR_S))?;
    let told_ms = told_time_ms(scene)?;
    let really_ms = i64::try_from(SystemTime::UNIX_EPOCH.elapsed().context("read the clock")?.as_millis())?;
    // Also shows that the jump reached the process.
    ensure!(
        scene.ensemble.leader()? != leader || told_ms > really_ms + HOUR_S * 1_000 - SLACK_MS,
        "a change is said to be of {told_ms} ms; it should be an hour later than {really_ms} ms"
    );
    scene.pause_ms(3_000..6_000);
    scene.mends(&ahead, |scene| scene.ensemble.set_clock(leader, 0))?;
    ensure!(told_time_ms(scene)? >= told_ms, "the time of changes went back");

    let member = scene.some_member()?;
    let behind = format!("the time of day of member {member} is an hour behind");
    scene.survives(&behind, |scene| scene.ensemble.set_clock(member, -HOUR_S))?;
    scene.pause_ms(3_000..6_000);
    scene.mends(&behind, |scene| scene.ensemble.set_clock(member, 0))?;

    let member = scene.some_member()?;
    let fast = format!("the time of day of member {member} runs {RATE} times as fast");
    scene.survives(&fast, |scene| {
        for tenths in 1..=RUNS_FAST_S * 10 {
            // A tenth of a second passes by itself.
            scene.ensemble.set_clock(member, tenths * (RATE - 1) / 10)?;
            sleep(Duration::from_millis(100));
        }
        Ok(())
    })?;
    scene.mends(&fast, |scene| scene.ensemble.set_clock(member, 0))?;
    ensure!(told_time_ms(scene)? >= told_ms, "the time of changes went back");
    Ok(())
}

fn told_time_ms(scene: &mut Scene) -> Result<i64> {
    let member = scene.any_member();
    let mut admin = scene.admin(member)?;
    let told_ms = admin.time_ms()?;
    admin.close()?;
    Ok(told_ms)
}
