//! From one ensemble to another: what an archive takes along, and what a power loss leaves of a restoration.

use std::io::{Cursor, Read, Write};
use std::time::Duration;

use zke_consensus::{AdminError, Capture, Restoration};
use zke_sim::commands::{self, SESSION, create};
use zke_sim::{World, world};
use zke_storage::{ArchiveHeader, ArchiveWriter, DiskState, LogId};
use zke_tree::{Command, EPOCH_MARGIN, EnsembleId, WriteOp};
use zke_wire::{Acl, CreateMode};

const OTHER: EnsembleId = EnsembleId([0xcd; 16]);
const DEADLINE: Duration = Duration::from_secs(10);

fn create_ephemeral(path: &str) -> Command {
    let op = WriteOp::Create {
        path: path.to_owned(),
        data: None,
        acl: vec![Acl::open()],
        flags: CreateMode::Ephemeral.flags(),
        with_stat: false,
    };
    commands::write(op)
}

fn archive_of(mut capture: Capture) -> (ArchiveHeader, Vec<u8>) {
    let mut content = Vec::new();
    capture.read_to_end(&mut content).expect("a simulated disk reads");
    assert_eq!(content.len() as u64, capture.content_bytes);
    let header = ArchiveHeader {
        ensemble: capture.ensemble,
        member: capture.member,
        last: LogId { term: capture.term.0, index: capture.index.0 },
        zxid: capture.zxid,
        created_ms: 0,
        server_version: "0".to_owned(),
    };
    (header.clone(), pack(&header, &content))
}

fn pack(header: &ArchiveHeader, content: &[u8]) -> Vec<u8> {
    let mut writer = ArchiveWriter::create(Vec::new(), header).expect("a vector takes it");
    writer.write_all(content).expect("a vector takes it");
    writer.finish().expect("a vector takes it")
}

fn asked() -> Restoration {
    Restoration { ensemble: OTHER, address: "member-3:2888".to_owned(), epoch_above: 40 }
}

async fn restore(world: &World, member: usize, archive: Vec<u8>) -> Result<(), AdminError> {
    let ensemble = world.member(member);
    let expect = ensemble.status().identity.member;
    ensemble.restore(expect, asked(), Cursor::new(archive)).await
}

/// Three members with some data; the archive is taken from one that does not lead.
async fn taken(world: &World) -> (ArchiveHeader, Vec<u8>) {
    let leader = world.start_with_session(3).await;
    for write in 0..30 {
        world.propose_and_wait(write % 3, create(format!("/write-{write}"))).await;
    }
    world.propose_and_wait(0, create_ephemeral("/ephemeral")).await;
    // Acknowledged by another member: the archive has it all the same.
    world.propose_and_wait(leader, create("/last")).await;
    let capture = world.member((leader + 1) % 3).capture().await.expect("an ensemble that serves");
    archive_of(capture)
}

fn assert_restored(world: &World, member: usize, header: &ArchiveHeader) {
    for path in ["/write-0", "/write-29", "/last"] {
        assert!(world.exists(member, path), "{path} is missing");
    }
    assert!(!world.exists(member, "/ephemeral"));
    assert!(!world.has_session(member, SESSION));
    let status = world.member(member).status();
    assert_eq!(status.identity.ensemble, Some(OTHER));
    assert_eq!(status.members.keys().copied().collect::<Vec<_>>(), [status.identity.member]);
    assert!(status.last_zxid.epoch() >= header.zxid.epoch().max(40) + EPOCH_MARGIN);
    assert!(status.term.0 > header.last.term + u64::from(EPOCH_MARGIN));
}

#[test]
fn an_archive_from_a_follower_becomes_another_ensemble() {
    world::run(5, |world: World| async move {
        let (header, archive) = taken(&world).await;
        let member = world.start_blank().await;
        restore(&world, member, archive.clone()).await.expect("the disk is blank");
        // Until the process starts anew it only says whose it is.
        assert_eq!(world.member(member).status().identity.state, DiskState::Restoring);
        restore(&world, member, archive.clone()).await.expect("repeating it is harmless");
        world.restart(member).await;
        world.wait_serving(member, DEADLINE).await;
        assert_restored(&world, member, &header);
        restore(&world, member, archive).await.expect("repeating it is harmless");
        world.propose_and_wait(member, commands::begin()).await;
        world.propose_and_wait(member, create("/after")).await;
        world.crash(member).await;
        world.wait_serving(member, DEADLINE).await;
        for path in ["/after", "/write-0", "/last"] {
            assert!(world.exists(member, path), "{path} is missing");
        }
    });
}

#[test]
fn what_is_no_good_archive_changes_nothing() {
    world::run(6, |world: World| async move {
        let (header, archive) = taken(&world).await;
        let member = world.start_blank().await;
        let mut flipped = archive.clone();
        flipped[archive.len() / 2] ^= 1;
        let content = &archive[archive.len() - 16 - 1..];
        let other_zxid = ArchiveHeader { zxid: zke_wire::Zxid(header.zxid.0 + 1), ..header.clone() };
        let cases = [
            (flipped, "damaged at byte"),
            (archive[..archive.len() - 1].to_vec(), "cut short"),
            ([&archive[..], b"x"].concat(), "goes on after its end"),
            (pack(&header, content), "bad"),
            (Vec::new(), "cut short"),
            (pack(&other_zxid, &content_of(&archive)), "another state"),
        ];
        for (bytes, reason) in cases {
            let error = restore(&world, member, bytes).await.expect_err(reason);
            let AdminError::Archive(cause) = &error else { panic!("{reason}: {error}") };
            assert!(cause.to_string().contains(reason), "{cause}");
        }
        world.restart(member).await;
        assert_eq!(world.member(member).status().identity.state, DiskState::Blank);
        restore(&world, member, archive.clone()).await.expect("still blank");
        let error = restore(&world, 0, archive).await.expect_err("a member");
        assert!(matches!(error, AdminError::Precondition { .. }), "{error}");
    });
}

fn content_of(archive: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut reader = zke_storage::ArchiveReader::open(archive, "it").expect("a good archive");
    reader.read_to_end(&mut content).expect("a good archive");
    content
}

/// The member itself, and not only its files: it starts on whatever the power loss left.
#[test]
fn power_loss_at_any_moment_leaves_a_blank_disk_or_the_restored_member() {
    let mut outcomes = [0, 0];
    let (header, archive) = archive_of_a_world();
    for operations in 0..40 {
        let archive = archive.clone();
        let header = header.clone();
        let history = world::run(900 + operations, move |world: World| async move {
            let member = world.start_blank().await;
            world.lose_power_after(member, operations);
            let before = restore(&world, member, archive.clone()).await;
            world.crash(member).await;
            let blank = world.member(member).status().identity.state == DiskState::Blank;
            assert!(before.is_err() || !blank, "what was reported is lost");
            if blank {
                restore(&world, member, archive).await.expect("the disk is blank");
                world.restart(member).await;
            }
            world.wait_serving(member, DEADLINE).await;
            assert_restored(&world, member, &header);
            world.propose_and_wait(member, Command::TakeControl {}).await;
            world.note(if blank { "it was left blank" } else { "it was left restored" });
        });
        let left_blank = history.iter().any(|line| line.to_string().ends_with("it was left blank"));
        outcomes[usize::from(left_blank)] += 1;
    }
    assert!(outcomes[0] > 3 && outcomes[1] > 3, "{outcomes:?}");
}

fn archive_of_a_world() -> (ArchiveHeader, Vec<u8>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    world::run(4, |world: World| async move {
        sender.send(taken(&world).await).expect("it is waited for");
    });
    receiver.recv().expect("it was sent")
}

/// One at a time, since each costs the disk a whole snapshot; and the next when the first is done with.
#[test]
fn a_second_capture_waits_for_its_turn() {
    world::run(8, |world: World| async move {
        world.start_members(3).await;
        world.wait_all_serving(DEADLINE).await;
        let first = world.member(1).capture().await.expect("nothing else is under way");
        let error = world.member(1).capture().await.err().expect("one at a time");
        assert!(matches!(error, AdminError::Precondition { .. }), "{error}");
        drop(first);
        world.member(1).capture().await.expect("the first one is gone");
        let blank = world.start_blank().await;
        assert!(world.member(blank).capture().await.is_err());
    });
}
