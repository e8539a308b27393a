//! SASL DIGEST-MD5 as a client does it, and what a server asks of those who do not.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use tempfile::TempDir;
use zke_wire::{Acl, ErrorCode, Id, OpCode, Request, Response, Zxid, perms};

use crate::raw::{self, Raw};
use crate::server::Server;

const JAAS: &str = "Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_super=\"super_secret\"
    user_jaasuser=\"jaas_password\";
};";

/// A server with the users of `JAAS` and these properties.
fn start(properties: &[(&str, &str)]) -> (Server, PathBuf, TempDir) {
    let dir = TempDir::new().unwrap();
    let jaas = dir.path().join("jaas.conf");
    fs::write(&jaas, JAAS).unwrap();
    let path = jaas.display().to_string();
    let mut all = vec![("java.security.auth.login.config", path.as_str())];
    all.extend(properties);
    (Server::start_with(&all), jaas, dir)
}

fn hex_md5(text: impl AsRef<[u8]>) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest-response to a challenge, by RFC 2831.
fn respond(challenge: &[u8], user: &str, password: &str) -> Bytes {
    let challenge = std::str::from_utf8(challenge).unwrap();
    let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let (realm, cnonce, uri) = ("zk-sasl-md5", "c2FtcGxl", "zookeeper/zk-sasl-md5");
    let mut secret = Md5::digest(format!("{user}:{realm}:{password}")).to_vec();
    secret.extend_from_slice(format!(":{nonce}:{cnonce}").as_bytes());
    let request = hex_md5(format!("AUTHENTICATE:{uri}"));
    let response = hex_md5(format!("{}:{nonce}:00000001:{cnonce}:auth:{request}", hex_md5(secret)));
    Bytes::from(format!(
        "username=\"{user}\",realm=\"{realm}\",nonce=\"{nonce}\",cnonce=\"{cnonce}\",nc=00000001,qop=auth,\
         digest-uri=\"{uri}\",response={response},charset=utf-8"
    ))
}

fn token(client: &mut Raw, token: Bytes) -> Result<Option<Bytes>, ErrorCode> {
    match client.call(Request::Sasl { token: Some(token) }) {
        Ok(Response::Sasl { token }) => Ok(token),
        Ok(other) => panic!("not the answer to sasl: {other:?}"),
        Err(code) => Err(code),
    }
}

fn log_in(client: &mut Raw, user: &str, password: &str) -> Result<Option<Bytes>, ErrorCode> {
    let challenge = token(client, Bytes::new())?.unwrap();
    token(client, respond(&challenge, user, password))
}

fn private(path: &str, scheme: &str, id: &str) -> Request {
    let acl = vec![Acl { perms: perms::ALL, id: Id::new(scheme, id) }];
    Request::Create { path: path.to_owned(), data: None, acl, flags: 0, with_stat: false }
}

#[test]
fn who_knows_a_password_is_that_user() {
    let (server, _, _dir) = start(&[]);
    let (mut user, _) = Raw::connect(server.address);
    user.send(1, &Request::Sasl { token: Some(Bytes::new()) });
    let (header, challenge) = user.reply(OpCode::Sasl);
    assert_eq!((header.xid, header.zxid, header.err), (1, Zxid(0), None));
    let Response::Sasl { token: Some(challenge) } = challenge else { panic!("no challenge") };
    let answer = token(&mut user, respond(&challenge, "jaasuser", "jaas_password")).unwrap().unwrap();
    assert!(answer.starts_with(b"rspauth="));
    assert!(raw::who_am_i(&mut user).contains(&("sasl".to_owned(), "jaasuser".to_owned())));
    assert_eq!(user.call(private("/own", "sasl", "jaasuser")), raw::created("/own"));
    assert_eq!(user.call(private("/auth", "auth", "")), raw::created("/auth"));
    assert!(user.call(raw::set("/own", "x")).is_ok() && user.call(raw::set("/auth", "x")).is_ok());

    let (mut stranger, _) = Raw::connect(server.address);
    assert_eq!(stranger.call(raw::get("/own")), Err(ErrorCode::NoAuth));
    // A connection authenticates once, and a nonce is good for one response.
    assert_eq!(
        token(&mut user, respond(&challenge, "jaasuser", "jaas_password")),
        Err(ErrorCode::AuthFailed)
    );
    assert!(user.hung_up());
}

#[test]
fn wrong_passwords_and_unknown_users_end_the_connection() {
    let (server, _, _dir) = start(&[]);
    for (user, password) in [("jaasuser", "wrong"), ("nobody", ""), ("jaasuser", "")] {
        let (mut client, _) = Raw::connect(server.address);
        assert_eq!(log_in(&mut client, user, password), Err(ErrorCode::AuthFailed), "{user}");
        assert!(client.hung_up());
    }
    // Two connections get two nonces.
    let challenges: Vec<_> =
        (0..2).map(|_| token(&mut Raw::connect(server.address).0, Bytes::new()).unwrap()).collect();
    assert_ne!(challenges[0], challenges[1]);
    // The response to one is none to the other.
    let (mut client, _) = Raw::connect(server.address);
    token(&mut client, Bytes::new()).unwrap();
    let stale = respond(challenges[0].as_ref().unwrap(), "jaasuser", "jaas_password");
    assert_eq!(token(&mut client, stale), Err(ErrorCode::AuthFailed));
}

#[test]
fn super_users_are_named_by_properties() {
    let (server, jaas, _dir) =
        start(&[("zookeeper.superUser", "admin"), ("zookeeper.superUser.2", "jaasuser")]);
    let is_super = |server: &Server, user: &str, password: &str| {
        let (mut client, _) = Raw::connect(server.address);
        log_in(&mut client, user, password).unwrap();
        raw::who_am_i(&mut client).contains(&("super".to_owned(), String::new()))
    };
    assert!(is_super(&server, "jaasuser", "jaas_password"));
    // By its name a user is super to entries of its scheme only, as in ZooKeeper.
    assert!(!is_super(&server, "super", "super_secret"));

    // Users change with the file, for those who come after.
    fs::write(&jaas, JAAS.replace("jaasuser=\"jaas_password", "admin=\"other")).unwrap();
    server.clients.access.reload();
    assert!(is_super(&server, "admin", "other"));
    let (mut gone, _) = Raw::connect(server.address);
    assert_eq!(log_in(&mut gone, "jaasuser", "jaas_password"), Err(ErrorCode::AuthFailed));
}

#[test]
fn a_server_without_users_says_nothing() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    assert_eq!(token(&mut client, Bytes::new()), Ok(None));
    assert_eq!(raw::who_am_i(&mut client).len(), 1);
}

#[test]
fn a_failed_client_may_stay_if_the_configuration_says_so() {
    let (server, _, _dir) = start(&[("zookeeper.allowSaslFailedClients", "true")]);
    let (mut client, _) = Raw::connect(server.address);
    assert_eq!(log_in(&mut client, "jaasuser", "wrong"), Ok(None));
    assert_eq!(raw::who_am_i(&mut client), [("ip".to_owned(), "127.0.0.1".to_owned())]);
}

#[test]
fn who_has_to_authenticate_gets_nothing_before() {
    for property in ["zookeeper.sessionRequireClientSASLAuth", "enforce.auth.enabled"] {
        let schemes = ("zookeeper.enforce.auth.schemes", "sasl,digest");
        let (server, _, _dir) = start(&[(property, "true"), schemes, ("zookeeper.maxClientCnxns", "0")]);
        for &op in OpCode::ALL.iter().filter(|op| !matches!(op, OpCode::Auth | OpCode::Sasl)) {
            let (mut client, _) = Raw::connect(server.address);
            let mut frame = 8_u32.to_be_bytes().to_vec();
            frame.extend_from_slice(&7_i32.to_be_bytes());
            frame.extend_from_slice(&op.number().to_be_bytes());
            client.write(&frame);
            let (header, _) = client.reply(op);
            let refused = Some(ErrorCode::SessionClosedRequireSaslAuth);
            assert_eq!((header.xid, header.zxid, header.err), (7, Zxid(0), refused), "{op:?}");
            assert!(client.hung_up(), "{op:?}");
        }
        let (mut client, _) = Raw::connect(server.address);
        log_in(&mut client, "jaasuser", "jaas_password").unwrap();
        assert!(client.call(raw::get("/")).is_ok());
        let (mut failed, _) = Raw::connect(server.address);
        let refused = log_in(&mut failed, "jaasuser", "wrong");
        assert_eq!(refused, Err(ErrorCode::SessionClosedRequireSaslAuth));
        let (mut other, _) = Raw::connect(server.address);
        other.call(raw::auth("digest", "a:b")).unwrap();
        assert_eq!(other.call(raw::get("/")).is_ok(), property == "enforce.auth.enabled");
    }
}
