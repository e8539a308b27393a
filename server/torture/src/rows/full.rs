//! Volumes that others fill to the last byte, and take away again.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zke_check::event::Phase;
use zke_wire::ErrorCode;

use crate::scene::Scene;

/// Room for a log of a few segments of 64 MiB, its spare, its reserve, and a filler.
pub const VOLUME_MIB: u32 = 512;
/// A member looks twice a second, and tells its leader at once.
const NOTICE_LIMIT: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Where no load writes.
const NODE: &str = "/zookeeper/full";
/// Deletes of what is not there, each of which takes its place in the log.
const DELETES: usize = 200;

/// T7. One full follower keeps nobody waiting; with a full majority growth is refused and everything else goes on; a
/// member starts on its full disk; and with room again all is as before.
pub fn volumes(scene: &mut Scene) -> Result<()> {
    let follower = scene.any_follower()?;
    let name = format!("no room on member {follower}");
    scene.survives(&name, |scene| fill(scene, follower))?;
    scene.pause_ms(500..2_000);
    scene.mends(&name, |scene| make_room(scene, follower))?;

    scene.record.fault("no room anywhere", Phase::Begin);
    let members = 0..scene.ensemble.members();
    members.clone().try_for_each(|member| fill(scene, member))?;
    wait_create(scene, Some(ErrorCode::QuotaExceeded))?;
    scene.note("growth is refused");
    let mut admin = scene.admin(follower)?;
    admin.use_zxids(DELETES)?;
    let refused = admin.create(NODE)?;
    ensure!(refused == Some(ErrorCode::QuotaExceeded), "a create on full volumes was answered {refused:?}");
    admin.close()?;
    scene.note("deletes go on");
    let restarted = scene.some_member()?;
    scene.ensemble.kill(restarted)?;
    scene.ensemble.start_one(restarted).context("start on a full disk")?;
    scene.note(&format!("member {restarted} started on its full disk"));
    scene.pause_ms(500..3_000);
    scene.mends("no room anywhere", |scene| {
        members.clone().try_for_each(|member| make_room(scene, member))?;
        wait_create(scene, None)
    })
}

fn filler(scene: &Scene, member: usize) -> PathBuf {
    scene.ensemble.data(member).join("of-somebody-else")
}

/// Takes what is left of a member's volume.
fn fill(scene: &Scene, member: usize) -> Result<()> {
    static STEP: [u8; 64 << 10] = [1; 64 << 10];
    let mut file = fs::File::create(filler(scene, member)).context("begin to fill a volume")?;
    let bound = usize::try_from(VOLUME_MIB).context("a small number")? << 20;
    for _ in 0..=bound / STEP.len() {
        match std::io::Write::write(&mut file, &STEP) {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            written => written.map(drop).context("fill a volume")?,
        }
    }
    anyhow::bail!("the disk of member {member} is not a volume of its own")
}

fn make_room(scene: &Scene, member: usize) -> Result<()> {
    fs::remove_file(filler(scene, member)).context("make room on a volume")
}

/// Until a create is answered so; whatever comes of it is taken away.
fn wait_create(scene: &mut Scene, expected: Option<ErrorCode>) -> Result<()> {
    let begun = Instant::now();
    let member = scene.any_member();
    let mut admin = scene.admin(member)?;
    loop {
        let answered = admin.create(NODE)?;
        if answered.is_none() {
            let left = admin.delete(NODE)?;
            ensure!(left.is_none(), "a delete was answered {left:?}");
        }
        if answered == expected {
            return admin.close();
        }
        ensure!(begun.elapsed() < NOTICE_LIMIT, "a create is answered {answered:?}, and not {expected:?}");
        sleep(LOOK_INTERVAL);
    }
}
