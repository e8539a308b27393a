//! Probes, metrics and admin commands over HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use zkd::http;

use crate::raw::{self, Raw};
use crate::server::Server;

pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path}"), "")
}

fn ask(address: SocketAddr, what: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{what} HTTP/1.1\r\nHost: zkd\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[test]
fn probes_metrics_and_commands_tell_of_a_server_that_serves() {
    let server = Server::start();
    let address = server.serve_http(http::admin(Arc::clone(&server.clients)));
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/e", "", 1)).unwrap();
    client.call(raw::watching(raw::get("/e"))).unwrap();

    assert_eq!(get(address, "/livez"), (200, "ok\n".to_owned()));
    assert_eq!(get(address, "/readyz"), (200, "ok\n".to_owned()));

    let (status, metrics) = get(address, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "num_alive_connections 1",
        "znode_count 6",
        "watch_count 1",
        "ephemerals_count 1",
        "global_sessions 1",
        "packets_received 3",
        "packets_sent 3",
        "connection_request_count 1",
        "updatelatency_count 1",
        "readlatency_count 1",
        "zkd_serving 1",
        "zkd_raft_role{role=\"leader\"} 1",
        "zkd_request_duration_seconds_count{kind=\"write\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in\n{metrics}");
    }

    let (status, stats) = get(address, "/commands/srvr");
    assert_eq!(status, 200);
    for part in [
        "\"command\": \"server_stats\"",
        "\"error\": null",
        "\"server_state\": \"standalone\"",
        "\"node_count\": 6",
    ] {
        assert!(stats.contains(part), "{part} is missing in {stats}");
    }
    assert!(get(address, "/commands/nosuch").1.contains("Unknown command: nosuch"));
    assert_eq!(get(address, "/nosuch").0, 404);
}

/// Those of ZooKeeper's commands that hand out or replace everything are refused, to everybody, whatever they say of
/// themselves.
#[test]
fn headers_and_methods_of_http_let_nobody_do_anything() {
    let server = Server::start();
    let address = server.serve_http(http::admin(Arc::clone(&server.clients)));
    let forged = "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nAuthorization: digest super:x\r\n";
    for command in ["restore", "snapshot"] {
        let path = format!("/commands/{command}");
        let (status, text) = ask(address, &format!("GET {path}"), forged);
        assert_eq!((status, text), get(address, &path), "{command}");
        assert_eq!(status, 403, "{command}");
        for method in ["POST", "PUT", "DELETE"] {
            let (status, text) = ask(address, &format!("{method} {path}"), forged);
            assert!([403, 405].contains(&status), "{method} {command}: {status} {text}");
        }
    }
}

#[test]
fn a_server_that_stops_is_alive_and_not_ready() {
    let mut server = Server::start();
    let address = server.serve_http(http::admin(Arc::clone(&server.clients)));
    server.stop();
    assert_eq!(get(address, "/livez").0, 200);
    assert_eq!(get(address, "/readyz"), (503, "this process is stopping\n".to_owned()));
}
