//! Containers and TTL nodes: how they come, and that the leader removes them.

use bytes::Bytes;
use zke_wire::{Acl, ErrorCode, EventKind, MultiResult, OpCode, Request, Response, Stat};

use crate::raw::{self, Raw};
use crate::server::Server;

/// Of a server whose leader looks often.
const LOOKS_OFTEN: (&str, &str) = ("znode.container.checkIntervalMs", "100");

fn container(path: &str) -> Request {
    Request::CreateContainer { path: path.to_owned(), data: None, acl: vec![Acl::open()], flags: 4 }
}

fn with_ttl(path: &str, ttl_ms: i64) -> Request {
    let data = Some(Bytes::from_static(b"data"));
    Request::CreateTtl { path: path.to_owned(), data, acl: vec![Acl::open()], flags: 5, ttl_ms }
}

fn stat_of_new(response: Result<Response, ErrorCode>) -> Stat {
    match response {
        Ok(Response::Create2 { stat, .. }) => stat,
        other => panic!("not the answer to createContainer or createTTL: {other:?}"),
    }
}

#[test]
fn a_container_goes_after_its_last_child_and_a_ttl_node_in_time() {
    let server = Server::start_with(&[LOOKS_OFTEN]);
    let (mut client, _) = Raw::connect(server.address);
    assert_eq!(stat_of_new(client.call(container("/locks"))).ephemeral_owner, 0);
    client.call(container("/unused")).unwrap();
    client.call(raw::create("/locks/one", "", 0)).unwrap();
    client.call(raw::watching(raw::exists("/locks"))).unwrap();
    client.call(raw::delete("/locks/one")).unwrap();
    let (_, event) = client.event();
    assert_eq!((event.kind, &*event.path), (EventKind::NodeDeleted, "/locks"));

    let stat = stat_of_new(client.call(with_ttl("/ttl", 300)));
    assert_eq!((stat.ephemeral_owner, stat.data_length), (0, 4));
    client.call(raw::watching(raw::exists("/ttl"))).unwrap();
    let (_, event) = client.event();
    assert_eq!((event.kind, &*event.path), (EventKind::NodeDeleted, "/ttl"));
    // Rounds of looking have passed by now.
    assert!(client.call(raw::exists("/unused")).is_ok());
}

#[test]
fn a_multi_makes_them_too() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.send(3, &Request::Multi { ops: vec![container("/c"), with_ttl("/c/t", 60_000)] });
    let (_, response) = client.reply(OpCode::Multi);
    let Response::Multi { results } = response else { panic!("{response:?}") };
    let paths = results.iter().map(|result| match result {
        MultiResult::Create2 { path, .. } => path.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(paths.collect::<Vec<_>>(), ["/c", "/c/t"]);
    assert_eq!(client.call(with_ttl("/none", 0)), Err(ErrorCode::BadArguments));
    let plain = Request::Create {
        path: "/none".to_owned(),
        data: None,
        acl: vec![Acl::open()],
        flags: 5,
        with_stat: true,
    };
    assert_eq!(client.call(plain), Err(ErrorCode::BadArguments));
}
