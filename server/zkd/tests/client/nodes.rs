//! Nodes: made, read, changed, removed.

use zke_wire::{Acl, ErrorCode, Id, Request, Response, perms};

use crate::raw::{self, Raw};
use crate::server::Server;

#[test]
fn nodes_are_made_read_changed_and_removed() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    assert_eq!(client.call(raw::create("/a", "one", 0)), raw::created("/a"));
    assert_eq!(client.call(raw::create("/a", "two", 0)), Err(ErrorCode::NodeExists));
    assert_eq!(client.call(raw::create("/none/b", "", 0)), Err(ErrorCode::NoNode));
    let (data, stat) = raw::data_of(client.call(raw::get("/a")));
    assert_eq!((data.as_str(), stat.version, stat.data_length), ("one", 0, 3));
    assert_eq!(raw::stat_of(client.call(raw::set_version("/a", "four", 0))).version, 1);
    assert_eq!(client.call(raw::set_version("/a", "five", 0)), Err(ErrorCode::BadVersion));
    assert_eq!(raw::data_of(client.call(raw::get("/a"))).0, "four");
    client.call(raw::create("/a/child", "", 0)).unwrap();
    assert_eq!(client.call(raw::delete("/a")), Err(ErrorCode::NotEmpty));
    assert_eq!(client.call(raw::delete("/a/child")), Ok(Response::Empty));
    assert_eq!(client.call(raw::delete("/a")), Ok(Response::Empty));
    assert_eq!(client.call(raw::exists("/a")), Err(ErrorCode::NoNode));
}

#[test]
fn data_may_be_missing_or_empty_and_is_given_back_as_it_was() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    for (path, data) in [("/missing", None), ("/empty", Some(bytes::Bytes::new()))] {
        let create = Request::Create {
            path: path.to_owned(),
            data: data.clone(),
            acl: vec![Acl::open()],
            flags: 0,
            with_stat: false,
        };
        client.call(create).unwrap();
        match client.call(raw::get(path)) {
            Ok(Response::Data { data: found, .. }) => assert_eq!(found, data),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn create2_tells_the_new_node_s_stat() {
    let server = Server::start();
    let (mut client, granted) = Raw::connect(server.address);
    let create2 = Request::Create {
        path: "/e-".to_owned(),
        data: None,
        acl: vec![Acl::open()],
        flags: 3,
        with_stat: true,
    };
    let Ok(Response::Create2 { path, stat }) = client.call(create2) else { panic!("no create2 answer") };
    assert_eq!(path.len(), "/e-".len() + 10);
    assert_eq!((stat.ephemeral_owner, stat.version, stat.num_children), (granted.session_id.0, 0, 0));
    assert_eq!(raw::stat_of(client.call(raw::exists(&path))), stat);
}

#[test]
fn sequential_nodes_are_numbered_by_their_parent() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/q", "", 0)).unwrap();
    assert_eq!(client.call(raw::create("/q/n-", "", 2)), raw::created("/q/n-0000000000"));
    client.call(raw::create("/q/plain", "", 0)).unwrap();
    client.call(raw::delete("/q/n-0000000000")).unwrap();
    assert_eq!(client.call(raw::create("/q/n-", "", 3)), raw::created("/q/n-0000000002"));
    assert_eq!(client.call(raw::create("/q/x", "", 99)), Err(ErrorCode::BadArguments));
}

#[test]
fn children_are_listed_with_and_without_stat() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/p", "", 0)).unwrap();
    for name in ["a", "b", "c"] {
        client.call(raw::create(&format!("/p/{name}"), "", 0)).unwrap();
    }
    let Ok(Response::Children { mut children }) = client.call(raw::children("/p")) else {
        panic!("no children")
    };
    children.sort();
    assert_eq!(children, ["a", "b", "c"]);
    let with_stat = Request::GetChildren { path: "/p".to_owned(), watch: false, with_stat: true };
    let Ok(Response::Children2 { children, stat }) = client.call(with_stat) else { panic!("no children") };
    assert_eq!((children.len(), stat.num_children, stat.cversion), (3, 3, 3));
    assert_eq!(client.call(raw::children("/none")), Err(ErrorCode::NoNode));
}

#[test]
fn access_control_lists_are_read_and_changed() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/acl", "x", 0)).unwrap();
    let read_only = vec![Acl { perms: perms::READ, id: Id::anyone() }];
    let set_acl = Request::SetAcl { path: "/acl".to_owned(), acl: read_only.clone(), version: 0 };
    assert_eq!(raw::stat_of(client.call(set_acl)).aversion, 1);
    let get_acl = Request::GetAcl { path: "/acl".to_owned() };
    match client.call(get_acl) {
        Ok(Response::Acl { acl, .. }) => assert_eq!(acl, read_only),
        other => panic!("{other:?}"),
    }
    assert!(client.call(raw::get("/acl")).is_ok());
    assert_eq!(client.call(raw::set("/acl", "y")), Err(ErrorCode::NoAuth));
}

#[test]
fn large_data_and_many_children_go_through() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    let large = "x".repeat(1_000_000);
    client.call(raw::create("/large", &large, 0)).unwrap();
    assert_eq!(raw::data_of(client.call(raw::get("/large"))).0, large);
    client.call(raw::create("/many", "", 0)).unwrap();
    let creates: Vec<_> = (0..3_000).map(|n| (n, raw::create(&format!("/many/{n:04}"), "", 0))).collect();
    client.send_all(&creates);
    for (xid, _) in creates {
        let (header, _) = client.reply(zke_wire::OpCode::Create);
        assert_eq!((header.xid, header.err), (xid, None));
    }
    let Ok(Response::Children { children }) = client.call(raw::children("/many")) else {
        panic!("no children")
    };
    assert_eq!(children.len(), 3_000);
}

#[test]
fn all_below_a_node_are_counted_and_a_session_s_ephemerals_listed() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    let (mut other, _) = Raw::connect(server.address);
    for (path, flags) in [("/p", 0), ("/p/q", 0), ("/p/q/r", 1), ("/p/q/s", 0), ("/pe", 1)] {
        client.call(raw::create(path, "", flags)).unwrap();
    }
    other.call(raw::create("/p/o", "", 1)).unwrap();
    let below = |path: &str| Request::GetAllChildrenNumber { path: path.to_owned() };
    assert_eq!(client.call(below("/p")), Ok(Response::ChildrenNumber(4)));
    // With the three nodes that are there from the beginning.
    assert_eq!(client.call(below("/")), Ok(Response::ChildrenNumber(9)));
    assert_eq!(client.call(below("/none")), Err(ErrorCode::NoNode));
    let ephemerals = |client: &mut Raw, prefix: Option<&str>| {
        let request = Request::GetEphemerals { prefix: prefix.map(str::to_owned) };
        match client.call(request) {
            Ok(Response::Ephemerals { paths }) => paths.join(" "),
            other => panic!("not the answer to getEphemerals: {other:?}"),
        }
    };
    assert_eq!(ephemerals(&mut client, None), "/p/q/r /pe");
    assert_eq!(ephemerals(&mut client, Some("/")), "/p/q/r /pe");
    assert_eq!(ephemerals(&mut client, Some("/p/")), "/p/q/r");
    assert_eq!(ephemerals(&mut other, None), "/p/o");
}
