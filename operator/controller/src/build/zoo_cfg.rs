//! `zoo.cfg`, as `zkd` reads it: ZooKeeper's keys first, then the `zke.` keys of a managed member.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::build::pod_template::{DATA_PATH, TLS_PATH};
use crate::ensemble::Ensemble;
use crate::names::{ADMIN_PORT, CLIENT_PORT, HTTP_PORT, PEER_PORT};

/// A configuration and the digest by which a running member tells which one it uses.
#[derive(Clone, Debug)]
pub struct ZooCfg {
    pub text: String,
    /// 16 hex digits.
    pub hash: String,
}

pub fn render(ensemble: &Ensemble) -> ZooCfg {
    let mut text = String::new();
    let mut set = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{key}={value}").expect("a string takes everything");
    };
    let server = &ensemble.spec.server;
    set("dataDir", &DATA_PATH);
    set("clientPort", &CLIENT_PORT.1);
    set("tickTime", &server.tick_time.as_ms());
    if let Some(timeout) = server.session.min_timeout {
        set("minSessionTimeout", &timeout.as_ms());
    }
    if let Some(timeout) = server.session.max_timeout {
        set("maxSessionTimeout", &timeout.as_ms());
    }
    set("maxClientCnxns", &server.limits.max_client_connections);
    if let Some(bytes) = server.limits.max_request_bytes.as_ref().and_then(|quantity| quantity.as_u64()) {
        set("jute.maxbuffer", &bytes);
    }
    set("4lw.commands.whitelist", &words(ensemble));
    set("admin.serverPort", &HTTP_PORT.1);
    set("zke.mode", &"managed");
    set("zke.ensemble", &format_args!("{}/{}", ensemble.names.namespace, ensemble.names.name));
    set("zke.peerPort", &PEER_PORT.1);
    set("zke.adminPort", &ADMIN_PORT.1);
    set("zke.tlsDir", &TLS_PATH);
    set("zke.peerAddress", &ensemble.names.peer_address("{pod}"));
    let digest = Sha256::digest(text.as_bytes());
    let hash = digest.iter().take(8).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    text.push_str(&format!("zke.configHash={hash}\n"));
    ZooCfg { text, hash }
}

fn words(ensemble: &Ensemble) -> String {
    let words = ensemble.spec.server.four_letter_words.iter();
    words.map(|word| format!("{word:?}").to_lowercase()).collect::<Vec<_>>().join(",")
}
