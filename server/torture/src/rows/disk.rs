//! Disks that fail to flush, or take long: the system call is tampered with, in a real process.

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use rustix::process::{Pid, Signal, kill_process};
use zke_e2e::program::Program;

use crate::scene::Scene;

/// For strace to get hold of all threads.
const ATTACH_LIMIT: Duration = Duration::from_secs(20);

/// T6. Once is as bad as for ever: what the kernel could not write is not written by asking again.
pub fn fails(scene: &mut Scene) -> Result<()> {
    for _ in 0..3 {
        let member = scene.some_member()?;
        let (how, when) = if scene.random.random_bool(0.5) { ("once", ":when=1") } else { ("for ever", "") };
        let mut tracer = None;
        scene.survives(&format!("EIO {how} at member {member}"), |scene| {
            tracer = Some(tamper(scene, member, &format!("error=EIO{when}"))?);
            let status = scene.ensemble.wait_end(member)?;
            ensure!(!status.success(), "member {member} could not flush, and ended as if all were well");
            Ok(())
        })?;
        end(tracer)?;
        let said = scene.ensemble.log(member);
        ensure!(said.contains("sync"), "member {member} does not say what it could not do");
        scene.pause_ms(0..1_000);
        scene.ensemble.start_one(member)?;
        scene.pause_ms(0..500);
    }
    Ok(())
}

/// T14. A slow follower keeps nobody waiting; a leader that is stuck hands over.
pub fn is_slow(scene: &mut Scene) -> Result<()> {
    for leads in [false, true] {
        let leader = scene.ensemble.leader()?;
        let member = if leads { leader } else { scene.any_follower()? };
        let delay_ms = scene.random.random_range(100..2_500);
        let name = format!("each flush of member {member} takes {delay_ms} ms longer");
        let mut tracer = None;
        scene.survives(&name, |scene| {
            tracer = Some(tamper(scene, member, &format!("delay_enter={}", delay_ms * 1_000))?);
            Ok(())
        })?;
        scene.pause_ms(3_000..5_000);
        scene.mends(&name, |_| end(tracer))?;
        // A leader whose flush hangs for long, and who finds nobody to hand over to, ends by itself.
        if let Some(status) = scene.ensemble.ended(member)? {
            scene.note(&format!("member {member} ended by itself: {status}"));
            scene.ensemble.launch(member)?;
        }
        scene.ensemble.wait_serving(member)?;
        scene.pause_ms(0..500);
    }
    Ok(())
}

/// Has strace do this to each flush of a member; returns when it does.
fn tamper(scene: &Scene, member: usize, injection: &str) -> Result<Child> {
    let log = scene.ensemble.data(member).with_extension("strace");
    // Of the last one, if there was one.
    let _ = std::fs::remove_file(&log);
    let tracer = Program::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "strace", "-f", "-o", "/dev/null"])
        .args(["-e", "trace=fdatasync,fsync", "-e", &format!("inject=fdatasync,fsync:{injection}")])
        .args(["-p", &scene.ensemble.pid(member)?.to_string()])
        .spawn(&log)?;
    let begun = Instant::now();
    while !std::fs::read_to_string(&log).unwrap_or_default().contains("attached") {
        ensure!(begun.elapsed() < ATTACH_LIMIT, "strace does not get hold of member {member}");
        sleep(Duration::from_millis(10));
    }
    Ok(tracer)
}

/// Lets go of the member, if that has not ended.
fn end(tracer: Option<Child>) -> Result<()> {
    let mut tracer = tracer.context("strace was started")?;
    if tracer.try_wait().context("look after strace")?.is_none() {
        kill_process(Pid::from_child(&tracer), Signal::TERM).context("end strace")?;
        tracer.wait().context("wait for strace")?;
    }
    Ok(())
}
