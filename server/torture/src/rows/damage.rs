//! Disks that are not what they were: rotten, lost, or somebody else's.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use zke_e2e::program::Program;

use crate::admin::figure;
use crate::ensemble::SERVE_LIMIT;
use crate::scene::Scene;

/// The kinds of files that a member has, by the beginnings of their names.
const KINDS: [&str; 3] = ["log-", "snapshot-", "identity"];
/// How long a member that must not serve is watched.
const WATCHED: Duration = Duration::from_secs(2);
/// A member that joins votes once it was in sync for five seconds.
const VOTE_LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Behind this offset of a log's first segment there may be nothing yet but what was preallocated.
const WRITTEN_BYTES: u64 = 20_000;

/// T8. A flip where nothing was written yet may do no harm: then the checker has to agree.
pub fn flips(scene: &mut Scene) -> Result<()> {
    make_snapshots(scene)?;
    for kind in KINDS {
        let member = scene.some_member()?;
        scene.survives(&format!("kill -9 of member {member}"), |scene| scene.ensemble.kill(member))?;
        let (file, offset) = flip(scene, member, kind)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        scene.note(&format!("flipped a bit at byte {offset} of {name} of member {member}"));
        let said_before = scene.ensemble.log(member).len();
        scene.ensemble.launch(member)?;
        if ends_or_serves(scene, member)? == Start::Serves {
            scene.note("it serves, so nobody may notice");
            continue;
        }
        let said = scene.ensemble.log(member).split_off(said_before);
        ensure!(
            said.contains(&name) && said.contains("corrupt"),
            "member {member} ended, and does not say that {name} is corrupt"
        );
        replace(scene, member)?;
    }
    Ok(())
}

/// Some, on every member.
fn make_snapshots(scene: &Scene) -> Result<()> {
    let mut admin = scene.admin(scene.ensemble.leader()?)?;
    admin.use_entries(500)?;
    admin.close()
}

fn flip(scene: &mut Scene, member: usize, kind: &str) -> Result<(PathBuf, u64)> {
    let data = scene.ensemble.data(member);
    let mut files: Vec<PathBuf> = fs::read_dir(&data)
        .context("look at a disk")?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind)))
        .collect();
    files.sort_unstable();
    let file = files.choose(&mut scene.random).with_context(|| format!("a member has some {kind}"))?;
    let mut bytes = fs::read(file).context("read a file of a member")?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let offset = scene.random.random_range(0..length.min(WRITTEN_BYTES));
    bytes[usize::try_from(offset)?] ^= 1 << scene.random.random_range(0..8);
    fs::write(file, bytes).context("damage a file")?;
    Ok((file.clone(), offset))
}

#[derive(Debug, PartialEq, Eq)]
enum Start {
    Serves,
    Ends,
}

fn ends_or_serves(scene: &mut Scene, member: usize) -> Result<Start> {
    let begun = Instant::now();
    loop {
        if let Some(status) = scene.ensemble.ended(member)? {
            ensure!(!status.success(), "member {member} ended as if all were well");
            return Ok(Start::Ends);
        }
        if scene.ensemble.mode(member).is_some() {
            return Ok(Start::Serves);
        }
        ensure!(begun.elapsed() < SERVE_LIMIT, "member {member} neither ends nor serves");
        sleep(LOOK_INTERVAL);
    }
}

/// T19. First the blank disk alone: it must not pass for the one that was lost. Then it is taken in, and one of the others
/// fails.
pub fn lost_disk(scene: &mut Scene) -> Result<()> {
    let member = scene.some_member()?;
    scene.survives(&format!("member {member} and its disk are lost"), |scene| {
        scene.ensemble.kill(member)?;
        scene.ensemble.make_blank(member)?;
        scene.ensemble.launch(member)
    })?;
    serves_nobody(scene, member)?;
    if scene.ensemble.is_running(member) {
        scene.ensemble.kill(member)?;
    }
    replace(scene, member)?;
    let others = scene.ensemble.others(member);
    let other = *others.choose(&mut scene.random).context("there are others")?;
    scene.survives(&format!("kill -9 of member {other}"), |scene| scene.ensemble.kill(other))?;
    scene.pause_ms(500..1_500);
    scene.ensemble.start_one(other)
}

/// T9. A blank disk, then a foreign one, then the right one again.
#[expect(clippy::disallowed_methods, reason = "a disk in a test is only set aside")]
pub fn wrong_disks(scene: &mut Scene) -> Result<()> {
    let member = scene.some_member()?;
    let foreign = foreign_disk(scene, member)?;
    scene.survives(&format!("kill -9 of member {member}"), |scene| scene.ensemble.kill(member))?;
    let (data, kept) = (scene.ensemble.data(member), scene.ensemble.data(member).with_extension("kept"));
    fs::rename(&data, &kept).context("set a disk aside")?;
    for (name, disk) in [("a blank", None), ("a foreign", Some(&foreign))] {
        scene.survives(&format!("{name} disk in member {member}"), |scene| {
            scene.ensemble.make_blank(member)?;
            if let Some(disk) = disk {
                copy(disk, &data)?;
            }
            scene.ensemble.launch(member)
        })?;
        serves_nobody(scene, member)?;
        if scene.ensemble.is_running(member) {
            scene.ensemble.kill(member)?;
        }
    }
    fs::remove_dir_all(&data).context("take a wrong disk away")?;
    fs::rename(&kept, &data).context("bring a disk back")?;
    scene.ensemble.start_one(member)
}

/// Of an ensemble of one that ran here for a moment.
fn foreign_disk(scene: &Scene, member: usize) -> Result<PathBuf> {
    let folder = scene.ensemble.data(member).with_extension("foreign");
    fs::create_dir(&folder).context("make a foreign disk")?;
    let mut stranger = Program::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(scene.ensemble.program())
        .arg("--data-dir")
        .arg(&folder)
        .spawn(&folder.with_extension("foreign.log"))?;
    let begun = Instant::now();
    let address = ([127, 0, 0, 1], crate::network::CLIENT_PORT).into();
    while zke_e2e::local_ensemble::mode(address).is_none() {
        ensure!(begun.elapsed() < SERVE_LIMIT, "a server alone does not serve");
        sleep(LOOK_INTERVAL);
    }
    stranger.kill().context("end a stranger")?;
    stranger.wait().context("wait for a stranger's end")?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).context("look at a disk")?.flatten() {
        if entry.file_type().context("look at a file")?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).context("copy a disk")?;
        }
    }
    Ok(())
}

/// It may wait or end.
fn serves_nobody(scene: &mut Scene, member: usize) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        if let Some(mode) = scene.ensemble.mode(member) {
            bail!("member {member} serves as {mode} from a disk that is not its own");
        }
        if let Some(status) = scene.ensemble.ended(member)? {
            scene.note(&format!("member {member} ended: {status}"));
            return Ok(());
        }
        sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// While the change is under way the members of before are needed too.
fn votes_for_good(scene: &Scene, member: usize) -> Result<bool> {
    let votes = matches!(scene.ensemble.mode(member).as_deref(), Some("follower" | "leader"));
    let leader = scene.ensemble.network.http_address(scene.ensemble.leader()?);
    Ok(votes && figure(leader, "zkd_voter_sets")? < 2.0)
}

/// As an administrator does: the server leaves, its directory is emptied, and it joins as a new one.
fn replace(scene: &mut Scene, member: usize) -> Result<()> {
    let name = format!("replacement of member {member}");
    scene.survives(&name, |scene| {
        let leader = scene.ensemble.leader()?;
        let mut admin = scene.admin(leader)?;
        admin.reconfig(None, Some((member + 1).to_string()))?;
        admin.close()?;
        scene.ensemble.make_blank(member)?;
        scene.ensemble.launch(member)?;
        let mut admin = scene.admin(scene.ensemble.leader()?)?;
        admin.reconfig(Some(scene.ensemble.line(member)), None)?;
        admin.close()
    })?;
    let begun = Instant::now();
    while !votes_for_good(scene, member)? {
        ensure!(begun.elapsed() < VOTE_LIMIT, "member {member} has a new disk and no vote");
        sleep(LOOK_INTERVAL);
    }
    scene.note(&format!("member {member} votes again after {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(())
}
