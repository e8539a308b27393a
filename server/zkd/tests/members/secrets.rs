//! What a server logs of its secrets at the most talkative level: nothing.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use zke_e2e::ports::free_ports;
use zke_wire::{Acl, Id, Request, perms};

use crate::raw::{self, Raw};

const PASSWORDS: [&str; 4] = ["of-a-digest", "of-a-user", "of-the-superuser", "apassword"];

/// Ends the process with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As `tests/client/testdata` has it: key stores whose password is the last of `PASSWORDS`.
fn properties(dir: &TempDir, port: u16) -> Vec<String> {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/client/testdata");
    let jaas = dir.path().join("jaas.conf");
    fs::write(&jaas, "Server { a.DigestLoginModule required user_al=\"of-a-user\"; };").unwrap();
    let digest = dir.path().join("super");
    fs::write(&digest, "super:O8kVC0cDBq+qDSTsDdlZ3wnpFbY=").unwrap();
    let config = dir.path().join("zoo.cfg");
    let text = format!(
        "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         client.portUnification=true\nssl.keyStore.location={data}/keystore.jks\n\
         ssl.keyStore.password=apassword\nssl.trustStore.location={data}/truststore.jks\n\
         ssl.trustStore.password=apassword\nzke.superDigestFile={}\n",
        dir.path().join("data").display(),
        digest.display()
    );
    fs::write(&config, text).unwrap();
    vec![
        "-Dzookeeper.DigestAuthenticationProvider.superDigest=root:dGhlIGRpZ2VzdCBvZiByb290".to_owned(),
        "-Dzookeeper.SASLAuthenticationProvider.superPassword=of-the-superuser".to_owned(),
        format!("-Djava.security.auth.login.config={}", jaas.display()),
        "--config".to_owned(),
        config.display().to_string(),
    ]
}

/// A server that logs all it can.
struct Running {
    process: Process,
    address: SocketAddr,
    log: PathBuf,
}

fn start(dir: &TempDir) -> Running {
    let port = free_ports(1).unwrap()[0];
    let log = dir.path().join("log");
    let child = Command::new(env!("CARGO_BIN_EXE_zkd"))
        .args(properties(dir, port))
        .env("RUST_LOG", "trace")
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let process = Process(child);
    wait_serving(address);
    Running { process, address, log }
}

#[test]
fn the_log_holds_no_secret_and_no_line_of_a_client() {
    let dir = TempDir::new().unwrap();
    let Running { process, address, log } = start(&dir);
    let (mut client, _) = Raw::connect(address);

    client.call(raw::auth("digest", "al:of-a-digest")).unwrap();
    let acl = vec![Acl { perms: perms::ALL, id: Id::new("auth", "") }];
    let create = Request::Create { path: "/own".to_owned(), data: None, acl, flags: 0, with_stat: false };
    client.call(create).unwrap();
    client.call(raw::get("/own")).unwrap();
    client.call(Request::GetAcl { path: "/own".to_owned() }).unwrap();
    // Somebody who takes the one field for another.
    client.call(raw::auth("al:of-a-digest", "")).unwrap_err();
    let (mut user, granted) = Raw::connect(address);
    let token = |text: &'static str| Request::Sasl { token: Some(Bytes::from_static(text.as_bytes())) };
    user.call(token("")).unwrap();
    // Likewise.
    user.call(token("username=\"al\",password=\"of-a-user\"")).unwrap_err();

    forge(address);
    drop(process);
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("DEBUG") && log.contains("refusing a client's credentials"), "{log}");
    // The last is that of the client's password.
    let digests =
        ["dGhlIGRpZ2VzdCBvZiByb290", "O8kVC0cDBq+qDSTsDdlZ3wnpFbY=", "kU6VEsPggwp6BW2kdAno/3fdCAc="];
    let session = format!("{:?}", granted.password);
    for secret in PASSWORDS.into_iter().chain(digests).chain([session.as_str()]) {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    let line = log.lines().find(|line| line.starts_with("forged") || line.contains("\u{1b}[31mred"));
    assert_eq!(line, None, "a client wrote it");
}

/// Sends what would begin a line of the log, or colour one, if it were written as it is.
fn forge(address: SocketAddr) {
    let forged = "\nforged \u{1b}[31mred";
    let (mut client, _) = Raw::connect(address);
    client.call(raw::create(&format!("/{forged}"), forged, 0)).unwrap_err();
    client.call(raw::get(&format!("/{forged}"))).unwrap_err();
    client.call(raw::auth(&format!("digest{forged}"), forged)).unwrap_err();
    let (mut client, _) = Raw::connect(address);
    client.call(raw::auth("digest", &format!("{forged}:x"))).unwrap();
    client.call(raw::create("/a", "", 0)).unwrap();
    let token = |text: String| Request::Sasl { token: Some(Bytes::from(text)) };
    client.call(token(String::new())).unwrap();
    client.call(token(format!("username=\"{forged}\",nonce=\"{forged}\""))).unwrap_err();
}

/// Waits until it serves.
fn wait_serving(address: SocketAddr) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if TcpStream::connect(address).is_ok() {
            let mut word = Raw::dial(address);
            word.write(b"srvr");
            if word.rest().contains("Mode: ") {
                return;
            }
        }
        sleep(Duration::from_millis(20));
    }
    panic!("the server does not serve");
}
