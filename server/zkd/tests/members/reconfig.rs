//! Servers that join, leave, lead and come back by reconfig, as a client asks for it.

use std::time::{Duration, Instant};

use zke_wire::{ErrorCode, EventKind, OpCode, Request, Response};

use crate::members::Members;
use crate::raw::{self, Raw};

/// `super:test`, as ZooKeeper's users configure it.
const ENABLED: &str = "reconfigEnabled=true\n\
                       DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=\n";

fn reconfig(joining: Option<&str>, leaving: Option<&str>) -> Request {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Request::Reconfig { joining: owned(joining), leaving: owned(leaving), new_members: None, config_id: -1 }
}

/// The servers' lines, without the version.
fn lines(response: Result<Response, ErrorCode>) -> Vec<String> {
    let text = raw::data_of(response).0;
    let (lines, version) = text.rsplit_once("\nversion=").expect("a configuration ends with its version");
    assert!(i64::from_str_radix(version, 16).is_ok_and(|version| version > 0), "{version}");
    lines.lines().map(str::to_owned).collect()
}

fn client(members: &Members, member: usize) -> Raw {
    let (mut client, _) = Raw::connect(members.client(member));
    client.call(raw::auth("digest", "super:test")).unwrap();
    client
}

fn mode(members: &Members, member: usize) -> String {
    let srvr = members.srvr(member);
    srvr.lines().find_map(|line| line.strip_prefix("Mode: ")).unwrap_or("none").to_owned()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_observer_joins_gets_a_vote_and_the_leader_leaves_and_comes_back() {
    let mut members = Members::start_configured(ENABLED);
    let leader = members.leader();
    let follower = (leader + 1) % 3;
    let mut client = client(&members, follower);
    client.call(raw::create("/before", "data", 0)).unwrap();
    let first = lines(client.call(raw::watching(raw::get("/zookeeper/config"))));
    assert_eq!(first.len(), 3, "{first:?}");

    let observer = members.start_fourth(ENABLED, "observer");
    client.send(1, &reconfig(Some(&observer), None));
    assert_eq!(client.event().1.kind, EventKind::NodeDataChanged);
    let with_observer = lines(Ok(client.reply(OpCode::Reconfig).1));
    assert_eq!(with_observer[3], observer);
    members.wait_serving(3);
    assert_eq!(mode(&members, 3), "observer");
    let (mut joined, _) = Raw::connect(members.client(3));
    joined.call(Request::Sync { path: "/".into() }).unwrap();
    assert_eq!(raw::data_of(joined.call(raw::get("/before"))).0, "data");
    joined.call(raw::create("/by-observer", "", 0)).unwrap();

    // It votes once it was in sync for a while; the answer does not wait longer than clients do.
    let participant = observer.replace(":observer;", ":participant;");
    let with_four = lines(client.call(reconfig(Some(&participant), None)));
    assert_eq!(with_four[3], participant);
    wait_until("it votes", || mode(&members, 3) == "follower");

    // The answer comes when the old leader may be stopped.
    let left = (leader + 1).to_string();
    assert_eq!(lines(client.call(reconfig(None, Some(&left)))).len(), 3);
    members.kill(leader);
    client.call(raw::create("/without-the-old-leader", "", 0)).unwrap();
    wait_until("another leads", || {
        (0..4).filter(|member| *member != leader).any(|member| members.leads(member))
    });

    // It comes back with the data that it left with: that is set aside.
    let back = format!("{};127.0.0.1:{}", first[leader], members.client(leader).port());
    let whole = lines(client.call(reconfig(Some(&back), None)));
    assert_eq!(whole.len(), 4);
    members.start_again(leader);
    wait_until("it votes again", || mode(&members, leader) == "follower");
    let (mut again, _) = Raw::connect(members.client(leader));
    again.call(Request::Sync { path: "/".into() }).unwrap();
    again.call(raw::get("/without-the-old-leader")).unwrap();
}

#[test]
fn what_is_refused_changes_nothing_and_a_server_that_never_came_can_leave() {
    let members = Members::start_configured(ENABLED);
    let (mut anyone, _) = Raw::connect(members.client(0));
    let before = lines(anyone.call(raw::get("/zookeeper/config")));
    let absent = "server.999=127.0.0.1:1:2:observer;127.0.0.1:3";
    assert_eq!(anyone.call(reconfig(Some(absent), None)), Err(ErrorCode::NoAuth));
    assert_eq!(anyone.call(reconfig(Some("some thing"), None)), Err(ErrorCode::BadArguments));
    assert_eq!(anyone.call(reconfig(None, Some("2,3"))), Err(ErrorCode::BadArguments));
    assert_eq!(lines(anyone.call(raw::get("/zookeeper/config"))), before);
    let mut client = client(&members, 1);
    let asked = Instant::now();
    assert_eq!(lines(client.call(reconfig(Some(absent), None))).len(), 4);
    assert_eq!(lines(client.call(reconfig(None, Some("999")))), before);
    assert!(asked.elapsed() < Duration::from_secs(3), "an observer is not waited for");
    let late =
        Request::Reconfig { joining: None, leaving: Some("3".into()), new_members: None, config_id: 7 };
    client.send(9, &late);
    assert_eq!(client.reply(OpCode::Reconfig).0.err, Some(ErrorCode::BadVersion));
}

/// The lowest of them, which begins ensembles, as well as another.
#[test]
fn a_blank_disk_in_the_place_of_a_lost_one_says_how_it_is_brought_in() {
    for lost in [0, 2] {
        let mut members = Members::start_configured(ENABLED);
        let mut client = client(&members, 1);
        client.call(raw::create("/before", "data", 0)).unwrap();
        let ports = lines(client.call(raw::get("/zookeeper/config"))).remove(lost);
        // The client's port is in its own file only, and nobody is added without it.
        let line = format!("{ports};{}", members.client(lost));
        members.kill(lost);
        members.lose_disk(lost);
        members.start_again(lost);
        let remove = format!("reconfig -remove {}", lost + 1);
        wait_until("its log says what to do", || members.log(lost).contains(&remove));
        assert_eq!(mode(&members, lost), "none");

        client.call(reconfig(None, Some(&(lost + 1).to_string()))).unwrap();
        client.call(reconfig(Some(&line), None)).unwrap();
        members.wait_serving(lost);
        let (mut there, _) = Raw::connect(members.client(lost));
        assert_eq!(raw::data_of(there.call(raw::get("/before"))).0, "data");
    }
}
