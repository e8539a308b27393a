//! Quotas over the wire: what clients are told, and what is counted.

use std::sync::Arc;

use zkd::http;
use zke_wire::ErrorCode;

use crate::http::get;
use crate::raw::{self, Raw};
use crate::server::Server;

fn set_quota(client: &mut Raw, limits: &str) {
    client.call(raw::create("/q", "", 0)).unwrap();
    client.call(raw::create("/zookeeper/quota/q", "", 0)).unwrap();
    client.call(raw::create("/zookeeper/quota/q/zookeeper_limits", limits, 0)).unwrap();
    client.call(raw::create("/zookeeper/quota/q/zookeeper_stats", "", 0)).unwrap();
}

fn metric(server: &Server, line: &str) -> bool {
    let address = server.serve_http(http::metrics(Arc::clone(&server.clients)));
    get(address, "/metrics").1.lines().any(|found| found == line)
}

#[test]
fn a_hard_quota_is_enforced_if_the_configuration_says_so() {
    let server = Server::start_with(&[("zookeeper.enforceQuota", "true")]);
    let (mut client, _) = Raw::connect(server.address);
    set_quota(&mut client, "count=-1,bytes=-1=;byteHardLimit=4;countHardLimit=2");
    client.call(raw::create("/q/a", "1234", 0)).unwrap();
    assert_eq!(client.call(raw::create("/q/b", "", 0)), Err(ErrorCode::QuotaExceeded));
    assert_eq!(client.call(raw::set("/q/a", "12345")), Err(ErrorCode::QuotaExceeded));
    let (usage, stat) = raw::data_of(client.call(raw::get("/zookeeper/quota/q/zookeeper_stats")));
    assert_eq!((usage.as_str(), stat.version), ("count=2,bytes=4", 0));
    assert!(metric(&server, "zkd_quota_refused 2"));
}

#[test]
fn by_default_a_hard_quota_is_only_told_of() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    set_quota(&mut client, "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=1");
    client.call(raw::create("/q/a", "", 0)).unwrap();
    assert!(metric(&server, "zkd_quota_refused 0") && metric(&server, "zkd_quota_exceeded 1"));
}
