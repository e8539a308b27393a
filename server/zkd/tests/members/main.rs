//! Three real processes from three `server.N` lines: what a client keeps when members come and go.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agreement;
mod audit;
mod members;
#[path = "../client/raw.rs"]
#[allow(dead_code, reason = "shared with the tests of one server")]
mod raw;
mod read_only;
mod reconfig;
mod secrets;
mod streams;
mod transfer;

use std::time::{Duration, Instant};

use zke_wire::{ConnectRequest, ErrorCode, OpCode, Request, Response};

use members::Members;
use raw::{Raw, same_session};

fn sync() -> Request {
    Request::Sync { path: "/".to_owned() }
}

#[test]
fn a_session_and_its_writes_are_the_same_on_every_member() {
    let members = Members::start();
    let (mut first, granted) = Raw::connect(members.client(0));
    first.call(raw::create("/mine", "a", 1)).unwrap();
    first.call(raw::watching(raw::get("/mine"))).unwrap();

    let (mut second, _) = Raw::connect(members.client(1));
    second.call(sync()).unwrap();
    assert_eq!(raw::data_of(second.call(raw::get("/mine"))).0, "a");
    // A change made through one member is told to those who watch through another.
    second.call(raw::set("/mine", "b")).unwrap();
    assert_eq!(&*first.event().1.path, "/mine");

    // Moved to the third member: its connection on the first is cut, and what it still sends there has no effect.
    let mut moved = Raw::dial(members.client(2));
    let again = moved.ask_session(&same_session(&granted));
    assert_eq!((again.session_id, again.password), (granted.session_id, granted.password));
    assert!(first.hung_up());
    let stat = raw::stat_of(moved.call(raw::exists("/mine")));
    assert_eq!((stat.ephemeral_owner, stat.version), (granted.session_id.0, 1));
    moved.call(Request::Close).unwrap();
    second.call(sync()).unwrap();
    assert_eq!(second.call(raw::exists("/mine")), Err(ErrorCode::NoNode));
}

#[test]
fn acknowledged_writes_and_the_session_survive_the_leader() {
    let mut members = Members::start();
    let leader = members.leader();
    let (mut client, granted) = Raw::connect(members.client(leader));
    client.call(raw::create("/w", "", 0)).unwrap();
    client.call(raw::create("/e", "", 1)).unwrap();
    // A follower's client with writes under way when the leader dies: each is answered, once, in order.
    let other = (leader + 1) % 3;
    let (mut writer, _) = Raw::connect(members.client(other));
    let writes: Vec<_> = (1..=300).map(|xid| (xid, raw::create("/w/n-", "", 2))).collect();
    writer.send_all(&writes);
    for (answered, (xid, _)) in writes.iter().enumerate() {
        if answered == 50 {
            members.kill(leader);
        }
        let (header, response) = writer.reply(OpCode::Create);
        assert_eq!((header.xid, header.err), (*xid, None));
        assert_eq!(response, Response::Create { path: format!("/w/n-{answered:010}") });
    }
    assert!(client.hung_up());
    let mut moved = members.take_up(other, &granted);
    assert_eq!(raw::stat_of(moved.call(raw::exists("/e"))).ephemeral_owner, granted.session_id.0);
    assert_eq!(raw::stat_of(moved.call(raw::exists("/w"))).num_children, 300);
    // The dead one comes back and catches up.
    members.start_again(leader);
    let mut back = members.take_up(leader, &granted);
    assert_eq!(raw::stat_of(back.call(raw::exists("/w"))).num_children, 300);
}

#[test]
fn without_a_quorum_clients_are_cut_and_later_taken_up_again() {
    let mut members = Members::start();
    let (mut client, granted) = Raw::connect(members.client(0));
    client.call(raw::create("/kept", "", 1)).unwrap();
    members.kill(1);
    members.kill(2);
    let lost = Instant::now();
    // A third of the smallest session timeout, 4 s, is how long a member may serve without hearing from a leader.
    assert!(client.hung_up());
    assert!(lost.elapsed() < Duration::from_secs(3), "served for too long without a quorum");
    let mut probe = Raw::dial(members.client(0));
    probe.write(b"srvr");
    assert_eq!(probe.rest(), "This ZooKeeper instance is not currently serving requests\n");
    members.start_again(1);
    members.start_again(2);
    let mut again = members.take_up(0, &granted);
    assert!(again.call(raw::exists("/kept")).is_ok());
}

#[test]
fn a_member_that_is_asked_to_end_answers_and_ends() {
    let mut members = Members::start();
    let (mut client, granted) = Raw::connect(members.client(0));
    client.send_all(&[(1, raw::create("/last", "", 0)), (2, raw::get("/last"))]);
    assert_eq!(client.reply(OpCode::Create).0.err, None);
    assert_eq!(client.reply(OpCode::GetData).0.err, None);
    for member in 0..3 {
        let asked = Instant::now();
        assert!(members.terminate(member).success());
        assert!(asked.elapsed() < Duration::from_secs(8), "member {member} took {:?}", asked.elapsed());
    }
    assert!(client.hung_up());
    // All three at once, and everything is back.
    for member in 0..3 {
        members.start_again(member);
    }
    let mut again = members.take_up(1, &granted);
    assert!(again.call(raw::exists("/last")).is_ok());
    let ahead = ConnectRequest { last_zxid_seen: zke_wire::Zxid(1), ..same_session(&granted) };
    // One member that serves says nothing of another: each has to hear from the new leader first.
    members.wait_serving(2);
    assert_eq!(Raw::dial(members.client(2)).ask_session(&ahead).session_id, granted.session_id);
}

/// Real writes to a real file system that does not take them: they hang in the kernel, as with a lost volume.
#[test]
#[ignore = "mounts file systems of its own, as root: cargo xtask test"]
fn a_leader_whose_disk_hangs_is_replaced_and_ends() {
    let mut members = Members::start_on_own_disks();
    let leader = members.leader();
    let other = (leader + 1) % 3;
    let (mut client, _) = Raw::connect(members.client(other));
    client.call(raw::create("/w", "", 0)).unwrap();
    let mut thaw = members.hang_disk(leader, 8);
    let hung = Instant::now();
    let (mut written, mut longest) = (0, Duration::ZERO);
    // Written on without a pause: a majority of disks is well.
    while (0..3).filter(|member| *member != leader).all(|member| !members.leads(member)) {
        assert!(hung.elapsed() < Duration::from_secs(6), "nobody took over");
        let begun = Instant::now();
        client.call(raw::set("/w", &written.to_string())).unwrap();
        (written, longest) = (written + 1, longest.max(begun.elapsed()));
    }
    println!("replaced after {:.1?}; the longest of {written} writes took {longest:.1?}", hung.elapsed());
    assert!(!members.wait_end(leader).success());
    assert!(thaw.wait().unwrap().success());
    members.start_again(leader);
    // A session of its own: the other was not heard from while the disk hung, and may have expired.
    members.wait_serving(leader);
    let (mut back, _) = Raw::connect(members.client(leader));
    back.call(sync()).unwrap();
    assert_eq!(raw::data_of(back.call(raw::get("/w"))).0, (written - 1).to_string());
}

/// It is tried eighteen times a second.
#[test]
fn the_log_says_once_that_a_member_is_away_and_that_it_is_back() {
    let mut members = Members::start();
    let leader = members.leader();
    let away = (leader + 1) % 3;
    let before = members.log(leader).lines().count();
    let log = |members: &Members| -> Vec<String> {
        members.log(leader).lines().skip(before).map(str::to_owned).collect()
    };
    members.kill(away);
    std::thread::sleep(Duration::from_secs(2));
    let said = log(&members);
    let name = format!("server.{}", away + 1);
    assert!(
        matches!(&said[..], [line] if line.contains("cannot reach") && line.contains(&name)),
        "{said:#?}"
    );
    members.start_again(away);
    members.wait_serving(away);
    let said = log(&members);
    let back = said.iter().filter(|line| line.contains("reached a member again") && line.contains(&name));
    assert_eq!(back.count(), 1, "{said:#?}");
}
