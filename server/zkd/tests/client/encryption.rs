//! TLS for clients: who gets in, as whom, and what a renewal of certificates changes.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedProtocolVersion, version,
};
use tempfile::TempDir;
use zke_wire::{Acl, ErrorCode, Id, Request, perms};

use crate::raw::{self, Raw};
use crate::server::Server;

/// A CA, and what it has signed, as PEM.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key of `name`.
    fn leaf(&self, name: &str) -> String {
        self.leaf_of(name, |_| {})
    }

    fn leaf_of(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "zke");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.0).unwrap().pem() + &key.serialize_pem()
    }
}

/// A server's files, and the server.
struct Secure {
    authority: Authority,
    dir: TempDir,
    server: Server,
}

impl Secure {
    fn start(properties: &[(&str, &str)]) -> Secure {
        let authority = Authority::new();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("server.pem"), authority.leaf("localhost")).unwrap();
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        let server = start(&dir.path().join("server.pem"), &dir.path().join("ca.pem"), properties);
        Secure { authority, dir, server }
    }

    fn secure(&self) -> SocketAddr {
        self.server.secure.unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }
}

fn start(key_store: &Path, trust_store: &Path, properties: &[(&str, &str)]) -> Server {
    let (key_store, trust_store) = (key_store.display().to_string(), trust_store.display().to_string());
    let mut all = vec![
        ("secureClientPort", "2281"),
        ("zookeeper.ssl.keyStore.location", key_store.as_str()),
        ("zookeeper.ssl.trustStore.location", trust_store.as_str()),
        ("zookeeper.maxClientCnxns", "0"),
    ];
    all.extend(properties);
    Server::start_with(&all)
}

/// Takes any certificate and keeps it, as clients of ZooKeeper often do.
#[derive(Debug)]
struct TakesAny;

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // The certificate may be of version 1, which rustls does not parse; here it is about who the client is.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// The client's side of a handshake; `identity` is certificate and key as PEM.
fn client(identity: Option<&str>, version: &'static SupportedProtocolVersion) -> ClientConnection {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAny));
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
            let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).unwrap();
            let certified = rustls::sign::CertifiedKey::new(chain, key);
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
        }
    };
    ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
}

/// Does the whole handshake.
fn dial_with(
    server: SocketAddr,
    identity: Option<&str>,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut stream = StreamOwned::new(client(identity, version), raw::dial(server));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn dial(server: SocketAddr, identity: Option<&str>) -> std::io::Result<Raw> {
    dial_with(server, identity, &version::TLS13).map(Raw::over)
}

/// A session as this client; `None` if the server does not take it.
fn session(
    server: SocketAddr,
    identity: Option<&str>,
    version: &'static SupportedProtocolVersion,
) -> Option<Raw> {
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    let mut stream = dial_with(server, identity, version).ok()?;
    let mut out = bytes::BytesMut::new();
    raw::new_session().encode(&mut out);
    std::io::Write::write_all(&mut stream, &out).ok()?;
    let mut answer = [0; 4 + 37];
    stream.read_exact(&mut answer).ok()?;
    Some(Raw::over(stream))
}

#[test]
fn a_client_is_who_its_certificate_says() {
    let root = ("zookeeper.X509AuthenticationProvider.superUser", "O=zke,CN=root");
    let secure = Secure::start(&[root]);
    for (n, version) in VERSIONS.into_iter().enumerate() {
        let identity = secure.authority.leaf("client");
        let mut client = session(secure.secure(), Some(&identity), version).unwrap();
        let who = raw::who_am_i(&mut client);
        assert_eq!(who[1..], [("x509".to_owned(), "O=zke,CN=client".to_owned())]);
        client.call(raw::auth("x509", "")).unwrap();
        let path = format!("/own{n}");
        let acl = vec![Acl { perms: perms::ALL, id: Id::new("x509", "O=zke,CN=client") }];
        let create = Request::Create { path: path.clone(), data: None, acl, flags: 0, with_stat: false };
        assert_eq!(client.call(create), raw::created(&path));
        assert!(client.call(raw::set(&path, &"x".repeat(500_000))).is_ok());
        assert_eq!(raw::data_of(client.call(raw::get(&path))).0.len(), 500_000);

        let other = secure.authority.leaf("other");
        let mut other = session(secure.secure(), Some(&other), version).unwrap();
        assert_eq!(other.call(raw::get(&path)), Err(ErrorCode::NoAuth));
        let root = secure.authority.leaf("root");
        let mut root = session(secure.secure(), Some(&root), version).unwrap();
        assert!(raw::who_am_i(&mut root).contains(&("super".to_owned(), "O=zke,CN=root".to_owned())));
        assert!(root.call(raw::get(&path)).is_ok());
    }
}

#[test]
fn the_admin_command_lists_encrypted_connections_apart() {
    let secure = Secure::start(&[]);
    let address = secure.server.serve_http(zkd::http::admin(Arc::clone(&secure.server.clients)));
    let identity = secure.authority.leaf("client");
    let _plain = Raw::connect(secure.server.address);
    let _encrypted = session(secure.secure(), Some(&identity), &version::TLS13).unwrap();
    for command in ["connections", "stats"] {
        let (_, body) = crate::http::get(address, &format!("/commands/{command}"));
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        for list in ["connections", "secure_connections"] {
            assert_eq!(answer[list].as_array().unwrap().len(), 1, "{list} in {body}");
        }
    }
}

#[test]
fn certificates_that_are_not_trusted_get_nobody_in() {
    let stranger = Authority::new();
    let before = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let server_only = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    for (client_auth, without) in [("need", false), ("want", true)] {
        let secure = Secure::start(&[("zookeeper.ssl.clientAuth", client_auth)]);
        let bad = [
            ("of another CA of the same name", stranger.leaf("client")),
            ("expired", secure.authority.leaf_of("client", before)),
            ("for servers only", secure.authority.leaf_of("client", server_only)),
        ];
        for version in VERSIONS {
            for (what, identity) in &bad {
                assert!(session(secure.secure(), Some(identity), version).is_none(), "{what}");
            }
            assert_eq!(session(secure.secure(), None, version).is_some(), without, "{client_auth}");
        }
    }
    let secure = Secure::start(&[("zookeeper.ssl.clientAuth", "none")]);
    // Nobody asked for it.
    let identity = secure.authority.leaf("client");
    let mut client = session(secure.secure(), Some(&identity), &version::TLS13).unwrap();
    assert_eq!(raw::who_am_i(&mut client).len(), 1);
}

#[test]
fn one_port_takes_both_if_it_is_told_to() {
    let words = ("zookeeper.4lw.commands.whitelist", "ruok");
    let secure = Secure::start(&[("zookeeper.client.portUnification", "true"), words]);
    let identity = secure.authority.leaf("client");
    for address in [secure.server.address, secure.secure()] {
        assert!(session(address, Some(&identity), &version::TLS13).is_some());
        let mut word = dial(address, Some(&identity)).unwrap();
        word.write(b"ruok");
        assert_eq!(word.rest(), "imok");
    }
    assert!(Raw::connect(secure.server.address).0.call(raw::get("/")).is_ok());
    let mut word = Raw::dial(secure.server.address);
    word.write(b"ruok");
    assert_eq!(word.rest(), "imok");
}

#[test]
fn who_speaks_the_wrong_way_is_hung_up_on() {
    let secure = Secure::start(&[]);
    let identity = secure.authority.leaf("client");
    assert!(dial(secure.server.address, Some(&identity)).is_err());
    let mut plain = raw::dial(secure.secure());
    let mut out = bytes::BytesMut::new();
    raw::new_session().encode(&mut out);
    std::io::Write::write_all(&mut plain, &out).unwrap();
    let mut told = Vec::new();
    // At most an alert, which is no answer.
    let _ = plain.read_to_end(&mut told);
    assert!(told.len() < 36, "{told:?}");
    assert!(session(secure.secure(), Some(&identity), &version::TLS13).is_some());
}

#[test]
fn a_handshake_has_its_time_and_its_number() {
    let secure = Secure::start(&[("netty.server.outstandingHandshake.limit", "1")]);
    let identity = secure.authority.leaf("client");
    let begun = Instant::now();
    let mut silent = raw::dial(secure.secure());
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();

    // Its answer shows that this one has the only turn, which it keeps for three seconds.
    let mut stalled = raw::dial(secure.secure());
    stalled.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let turn = Instant::now();
    client(None, &version::TLS13).write_tls(&mut stalled).unwrap();
    assert_eq!(stalled.read(&mut [0; 1]).unwrap(), 1);
    assert!(session(secure.secure(), Some(&identity), &version::TLS13).is_some());
    let waited = turn.elapsed();
    assert!(waited > Duration::from_secs(3), "it got in after {waited:?}, before the one that has the turn");
    // The rest of what was sent to it, and the end.
    let _ = stalled.read_to_end(&mut Vec::new());

    // The silent one was there first all the time and held nobody up.
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(8) && took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn renewed_certificates_are_for_new_connections_and_drop_no_session() {
    let secure = Secure::start(&[]);
    let identity = secure.authority.leaf("client");
    let shown = |identity: &str| {
        let stream = dial_with(secure.secure(), Some(identity), &version::TLS13).unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone()
    };
    let first = shown(&identity);
    let mut old = session(secure.secure(), Some(&identity), &version::TLS13).unwrap();

    // Half written: the new certificate is there and its key is not.
    let renewed = secure.authority.leaf("localhost");
    let (certificate, _) = renewed.split_at(renewed.find("-----BEGIN PRIVATE KEY").unwrap());
    secure.write("server.pem", certificate);
    secure.server.clients.access.reload();
    assert_eq!(shown(&identity), first);
    let of_another = secure.authority.leaf("localhost");
    let (_, key) = of_another.split_at(of_another.find("-----BEGIN PRIVATE KEY").unwrap());
    secure.write("server.pem", &format!("{certificate}{key}"));
    secure.server.clients.access.reload();
    assert_eq!(shown(&identity), first);

    secure.write("server.pem", &renewed);
    secure.server.clients.access.reload();
    let second = shown(&identity);
    assert_ne!(second, first);
    assert!(old.call(raw::get("/")).is_ok());

    // Gone, and back.
    fs::remove_file(secure.dir.path().join("server.pem")).unwrap();
    secure.server.clients.access.reload();
    assert_eq!(shown(&identity), second);
    secure.write("server.pem", &renewed);
    secure.server.clients.access.reload();
    assert_eq!(shown(&identity), second);

    // Another CA for clients: those of the first are out, but for who is in.
    let successor = Authority::new();
    secure.write("ca.pem", &successor.pem());
    secure.server.clients.access.reload();
    assert!(session(secure.secure(), Some(&identity), &version::TLS13).is_none());
    assert!(session(secure.secure(), Some(&successor.leaf("client")), &version::TLS13).is_some());
    assert!(old.call(raw::get("/")).is_ok());
}

#[test]
fn versions_are_those_that_the_file_names() {
    for (protocols, taken) in
        [("TLSv1.2", [true, false]), ("TLSv1.3", [false, true]), ("TLSv1.2,TLSv1.3", [true; 2])]
    {
        let secure = Secure::start(&[("zookeeper.ssl.enabledProtocols", protocols)]);
        let identity = secure.authority.leaf("client");
        let got = VERSIONS.map(|version| session(secure.secure(), Some(&identity), version).is_some());
        assert_eq!(got, taken, "{protocols}");
    }
}

/// As the test suite of kazoo makes them: key stores in Java's format, and certificates of X.509 version 1.
#[test]
fn java_s_key_stores_and_old_certificates_are_taken() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client/testdata");
    let passwords = [
        ("zookeeper.ssl.keyStore.password", "apassword"),
        ("zookeeper.ssl.trustStore.password", "apassword"),
    ];
    let server = start(&data.join("keystore.jks"), &data.join("truststore.jks"), &passwords);
    let identity = |name: &str| fs::read_to_string(data.join(name)).unwrap();
    for version in VERSIONS {
        let get_in = |name: &str| session(server.secure.unwrap(), Some(&identity(name)), version);
        let mut client = get_in("client.pem").unwrap();
        assert_eq!(raw::who_am_i(&mut client)[1..], [("x509".to_owned(), "CN=client".to_owned())]);
        // Expired; signed by a certificate that may sign nothing; by another key than the CA's.
        for name in ["expired.pem", "under-client.pem", "forged.pem"] {
            assert!(get_in(name).is_none(), "{name}");
        }
    }
}
