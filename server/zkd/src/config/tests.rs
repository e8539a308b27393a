//! Whole configurations: what is understood, and what is said about the rest.

use std::error::Error as _;
use std::num::NonZeroU32;

use super::*;

/// What zkd makes of `text` as its file, with `myid` in the data directory and `POD_NAME` in the environment.
fn load(text: &str, properties: &[&str], myid: Option<&str>, pod: Option<&str>) -> Result<Loaded, String> {
    let data_dir = tempfile::tempdir().expect("a temporary directory");
    let file = data_dir.path().join("zoo.cfg");
    fs::write(&file, text.replace("DATA", &data_dir.path().display().to_string())).expect("a file");
    if let Some(myid) = myid {
        fs::write(data_dir.path().join("myid"), myid).expect("a file");
    }
    let arguments = Arguments {
        config: Some(file),
        data_dir: None,
        properties: properties
            .iter()
            .map(|property| property.split_once('=').expect("a property"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        pod_name: pod.map(str::to_owned),
    };
    let here = format!("{}/", data_dir.path().display());
    let shorten = |text: String| text.replace(&here, "");
    Config::load(&arguments)
        .map(|loaded| Loaded { warnings: loaded.warnings.into_iter().map(shorten).collect(), ..loaded })
        .map_err(|error| shorten(error.to_string()))
}

fn config(text: &str) -> Config {
    load(text, &[], Some("1\n"), None).expect("a valid configuration").config
}

/// The refusal of a minimal file with these lines behind its two.
fn refusal(lines: &str) -> String {
    load(&format!("dataDir=DATA\nclientPort=2181\n{lines}"), &[], Some("1"), None).expect_err("a refusal")
}

fn listen(host: &str, port: u16) -> Listen {
    Listen { host: Host::parse(host), port }
}

const THREE: &str = "dataDir=DATA
clientPort=2181
server.1=127.0.0.1:2888:3888
server.2=127.0.0.1:2889:3889:observer;2182
server.3=localhost:2890:3890:participant;[::1]:2183
";

#[test]
fn the_smallest_file_is_a_server_alone_with_zookeeper_s_defaults() {
    let config = load("dataDir=DATA\nclientPort=2181\n", &[], None, None).expect("valid").config;
    assert_eq!(config.log_dir, config.data_dir);
    assert_eq!(config.clients.expect("a port").to_string(), "*:2181");
    assert_eq!((config.tick_ms, config.init_limit_ticks, config.sync_limit_ticks), (3000, 10, 5));
    assert_eq!(config.session_timeout, SessionTimeoutBounds { min_ms: 6000, max_ms: 60_000 });
    assert_eq!((config.container_check_interval_ms, config.snap_count), (60_000, 100_000));
    assert_eq!(config.max_client_cnxns, NonZeroU32::new(60));
    assert_eq!(config.max_message_len, 1_048_575);
    assert_eq!(config.four_letter_words, Whitelist::Words(vec!["srvr".to_owned()]));
    assert_eq!(config.security, Security::default());
    assert_eq!(config.admin_http.expect("on").to_string(), "*:8080");
    assert_eq!(config.metrics_http, None);
    assert_eq!(config.ensemble, Ensemble::Standalone);
}

#[test]
fn every_setting_is_understood() {
    let config = config(
        "dataDir=DATA\ndataLogDir=/log\nclientPort=2199\nclientPortAddress=::1\ntickTime=2000\n\
         initLimit=7\nsyncLimit=3\nminSessionTimeout=-1\nmaxSessionTimeout=90000\nmaxClientCnxns=0\n\
         znode.container.checkIntervalMs=500\nsnapCount=1000\nsnapSizeLimitInKb=262144\n4lw.commands.whitelist=ruok, mntr\nadmin.serverPort=9080\nadmin.serverAddress=127.0.0.1\n\
         metricsProvider.httpPort=7001\nDigestAuthenticationProvider.superDigest=super:abc=\n",
    );
    assert_eq!(config.log_dir, Path::new("/log"));
    assert_eq!(config.clients.expect("a port").to_string(), "[::1]:2199");
    assert_eq!((config.tick_ms, config.init_limit_ticks, config.sync_limit_ticks), (2000, 7, 3));
    assert_eq!(config.session_timeout, SessionTimeoutBounds { min_ms: 4000, max_ms: 90_000 });
    assert_eq!((config.container_check_interval_ms, config.snap_count), (500, 1000));
    assert_eq!(config.snap_size_limit, 256 << 20);
    assert_eq!(config.max_client_cnxns, None);
    assert_eq!(config.four_letter_words, Whitelist::Words(vec!["ruok".to_owned(), "mntr".to_owned()]));
    assert_eq!(config.security.super_digest, Some(Secret::new("super:abc=")));
    assert_eq!(config.admin_http, Some(listen("127.0.0.1", 9080)));
    assert_eq!(config.metrics_http.expect("on").to_string(), "*:7001");
}

#[test]
fn admin_is_switched_off_and_the_metrics_provider_has_its_port() {
    let config = config(
        "dataDir=DATA\nclientPort=2181\nadmin.enableServer=false\n\
         metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n",
    );
    assert_eq!(config.admin_http, None);
    assert_eq!(config.metrics_http.expect("on").port, 7000);
}

#[test]
fn properties_are_settings_that_the_file_goes_before() {
    let properties = [
        "jute.maxbuffer=0x400000",
        "zookeeper.4lw.commands.whitelist=*",
        "zookeeper.admin.serverPort=1",
        "java.net.preferIPv4Stack=true",
    ];
    let text = "dataDir=DATA\nclientPort=2181\nadmin.serverPort=8081\n";
    let loaded = load(text, &properties, None, None).expect("valid");
    assert_eq!(loaded.config.max_message_len, 4 << 20);
    assert_eq!(loaded.config.four_letter_words, Whitelist::All);
    assert_eq!(loaded.config.admin_http.expect("on").port, 8081);
    assert_eq!(
        loaded.warnings,
        [
            "-Djava.net.preferIPv4Stack: java.net.preferIPv4Stack has no effect here: it tunes ZooKeeper's Java threads and buffers"
        ]
    );
}

#[test]
fn what_has_no_effect_is_a_warning_with_its_line_and_the_reason() {
    let text = "dataDir=DATA\n# purge\nautopurge.purgeInterval=1\nclientPort=2181\ntickTyme=5\n";
    let expected = [
        "zoo.cfg:3: autopurge.purgeInterval has no effect here: old snapshots and logs are removed by themselves",
        "zoo.cfg:5: tickTyme has no effect here: it is no key of ZooKeeper 3.9 or of zkd",
    ];
    assert_eq!(load(text, &[], None, None).expect("valid").warnings, expected);
}

/// A table that calls a key honoured, and code that does not take it, would be a setting that nobody misses.
#[test]
fn keys_that_are_called_honoured_are_taken() {
    let value = |key: &str| match key {
        "clientPortAddress"
        | "secureClientPortAddress"
        | "admin.serverAddress"
        | "metricsProvider.httpHost" => "127.0.0.1",
        "dataDir" | "dataLogDir" => "DATA",
        "admin.commandURL" => "/x",
        "admin.enableServer"
        | "enforceQuota"
        | "reconfigEnabled"
        | "readonlymode.enabled"
        | "audit.enable"
        | "client.portUnification"
        | "enforce.auth.enabled"
        | "sessionRequireClientSASLAuth"
        | "allowSaslFailedClients"
        | "DigestAuthenticationProvider.enabled" => "false",
        "ssl.keyStore.type" | "ssl.trustStore.type" => "PEM",
        "ssl.clientAuth" => "need",
        "DigestAuthenticationProvider.superDigest" => "super:abc=",
        "minSessionTimeout" => "7000",
        "maxSessionTimeout" => "8000",
        _ => "2199",
    };
    let honoured =
        keys::KEYS.iter().filter(|(key, effect)| *effect == keys::Effect::Honoured && !key.ends_with('.'));
    let text: String = honoured.map(|(key, _)| format!("{key}={}\n", value(key))).collect();
    assert!(text.lines().count() > 15, "{text}");
    assert_eq!(load(&text, &[], None, None).expect("valid").warnings, [""; 0]);
}

#[test]
fn a_dynamic_file_holds_the_servers() {
    let dynamic = tempfile::NamedTempFile::new().expect("a file");
    let servers = "server.1=127.0.0.1:2888:3888:participant;2181\nserver.2=127.0.0.1:2889:3889;2182\nversion=100000003\n";
    fs::write(dynamic.path(), servers).expect("it is written");
    let text = format!("dataDir=DATA\ndynamicConfigFile={}\n", dynamic.path().display());
    let loaded = load(&text, &[], Some("2"), None).expect("valid");
    let Ensemble::ZooCfg { my_id, servers } = loaded.config.ensemble else { panic!("an ensemble") };
    assert_eq!((my_id, servers.len(), loaded.config.clients.unwrap().port), (ServerId(2), 2, 2182));
    let error =
        load(&format!("{text}server.3=127.0.0.1:1:2\n"), &[], Some("2"), None).expect_err("two places");
    assert!(error.starts_with("zoo.cfg:3: server.3=127.0.0.1:1:2: dynamicConfigFile names"), "{error}");
    let error = load("dataDir=DATA\ndynamicConfigFile=/none\n", &[], None, None).expect_err("no such file");
    assert_eq!(error, "cannot read /none");
}

#[test]
fn the_environment_goes_before_the_file() {
    let mut settings = Settings::new(&[("zookeeper.tickTime".to_owned(), "1000".to_owned())]);
    settings.add_file(Path::new("zoo.cfg"), "tickTime=2000\nmaxClientCnxns=5\n");
    let variables = [
        ("ZKD_TICK_TIME", "4000"),
        ("ZKD_LOG", "json"),
        ("ZKD_SERVICE_HOST", "10.0.0.1"),
        ("ZKD_TICKTYME", "1"),
        ("PATH", "/"),
    ];
    settings.add_environment(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(settings.take("tickTime").map(|setting| setting.value), Some("4000".to_owned()));
    assert_eq!(settings.take("maxClientCnxns").map(|setting| setting.value), Some("5".to_owned()));
    let expected = [
        "ZKD_TICKTYME in the environment: TICKTYME has no effect here: it is no key of ZooKeeper 3.9 or of zkd",
    ];
    assert_eq!(settings.into_warnings(), expected);
}

fn checked(text: &str) -> (bool, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("zoo.cfg");
    fs::write(&file, text).expect("a file");
    let report = check(&file).expect("a file that can be read");
    (report.starts, report.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn a_check_says_what_each_line_means() {
    let (starts, report) = checked(
        "dataDir=/data\nclientPort=2181\n# a comment\nforceSync=no\nautopurge.purgeInterval=1\ntickTyme=\\u001b[2J\n\
         DigestAuthenticationProvider.superDigest=super:c2VjcmV0\nserver.1=127.0.0.1:1:2\nserver.2=127.0.0.1:3:4\n",
    );
    let expected = "zoo.cfg:1: dataDir=/data: as in ZooKeeper
zoo.cfg:2: clientPort=2181: as in ZooKeeper
zoo.cfg:4: forceSync=no: DIFFERS: every write is flushed before it is answered, whatever it says
zoo.cfg:5: autopurge.purgeInterval=1: NO EFFECT: old snapshots and logs are removed by themselves
zoo.cfg:6: tickTyme=u001b[2J: UNKNOWN: no key of ZooKeeper 3.9 or of zkd
zoo.cfg:7: DigestAuthenticationProvider.superDigest=(hidden): as in ZooKeeper
zoo.cfg:8: server.1=127.0.0.1:1:2: DIFFERS: plain peers on other machines need sslQuorum=false in so many words
zoo.cfg:9: server.2=127.0.0.1:3:4: DIFFERS: plain peers on other machines need sslQuorum=false in so many words
a server starts from this file
";
    assert_eq!((starts, report.as_str()), (true, expected));
}

#[test]
fn only_secrets_are_hidden() {
    for (key, secret) in [
        ("DigestAuthenticationProvider.superDigest", true),
        ("SASLAuthenticationProvider.superPassword", true),
        ("ssl.keyStore.password", true),
        ("ssl.keyStore.passwordPath", false),
        ("zke.superDigestFile", false),
        ("DigestAuthenticationProvider.enabled", false),
        ("DigestAuthenticationProvider.digestAlg", false),
        ("tickTime", false),
    ] {
        assert_eq!(settings::is_secret(key), secret, "{key}");
    }
    let error = refusal("DigestAuthenticationProvider.enabled=maybe\n");
    assert!(error.contains("enabled=maybe: write true or false"), "{error}");
}

#[test]
fn a_check_tells_of_the_file_of_the_servers_too() {
    let servers = tempfile::NamedTempFile::new().expect("a file");
    let at = servers.path().display().to_string();
    let text = format!("dataDir=/data\ndynamicConfigFile={at}\n");
    fs::write(&servers, "server.1=127.0.0.1:1:2;2181\nversoin=1\n").expect("written");
    let (starts, report) = checked(&text);
    assert!(
        starts && report.contains(&format!("{at}:1: server.1=127.0.0.1:1:2;2181: DIFFERS: ")),
        "{report}"
    );
    assert!(report.contains(&format!("{at}:2: versoin=1: UNKNOWN: ")), "{report}");
    fs::write(&servers, "server.1=127.0.0.1:1:2;2181\nserver.2=junk\n").expect("written");
    let (starts, report) = checked(&text);
    assert!(!starts && report.contains(&format!("{at}:2: REFUSED: server.2=junk: ")), "{report}");
}

#[test]
fn a_check_says_what_is_refused() {
    let (starts, report) = checked("dataDir=/data\nclientPort=99999\nfoo=\u{1b}[31m\n");
    let expected = "zoo.cfg:1: dataDir=/data: as in ZooKeeper
zoo.cfg:2: REFUSED: clientPort=99999: write a port from 1 to 65535
zoo.cfg:3: foo=\\u{1b}[31m: UNKNOWN: no key of ZooKeeper 3.9 or of zkd
no server starts from this file
";
    assert_eq!((starts, report.as_str()), (false, expected));
    let (starts, report) = checked("dataDir=/data\nclientPort=2181\nzke.colour=red\n");
    assert!(
        starts && report.matches(": NO EFFECT: nothing in this configuration takes it\n").count() == 1,
        "{report}"
    );
    let (starts, report) = checked("clientPort=2181\n");
    assert!(!starts && report.contains("REFUSED: zoo.cfg: dataDir is missing"), "{report}");
}

#[test]
fn a_directory_alone_is_a_server_for_this_machine_only() {
    let arguments = Arguments {
        config: None,
        data_dir: Some("/data".into()),
        properties: vec![("jute.maxbuffer".to_owned(), "2000".to_owned())],
        pod_name: None,
    };
    let Loaded { config, warnings } = Config::load(&arguments).expect("valid");
    assert_eq!(
        (config.data_dir.as_path(), config.log_dir.as_path()),
        (Path::new("/data"), Path::new("/data"))
    );
    assert_eq!(config.clients, Some(listen("127.0.0.1", 2181)));
    assert_eq!(config.admin_http, Some(listen("127.0.0.1", 8080)));
    assert_eq!((config.max_message_len, config.ensemble), (2000, Ensemble::Standalone));
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn server_lines_are_an_ensemble_of_which_myid_names_one() {
    let loaded = load(THREE, &[], Some(" 3\n"), None);
    assert_eq!(
        loaded.expect_err("two ports for clients"),
        "zoo.cfg:2: clientPort=2181: this server's own line says 2183: write it in one place"
    );
    let config =
        load(&THREE.replace("clientPort=2181\n", ""), &[], Some(" 3\n"), None).expect("valid").config;
    assert_eq!(config.clients, Some(listen("::1", 2183)));
    let Ensemble::ZooCfg { my_id, servers } = config.ensemble else { panic!("{:?}", config.ensemble) };
    assert_eq!(my_id, ServerId(3));
    let lines: Vec<String> = servers.iter().map(Server::to_string).collect();
    let expected = [
        "server.1=127.0.0.1:2888:3888:participant",
        "server.2=127.0.0.1:2889:3889:observer;0.0.0.0:2182",
        "server.3=localhost:2890:3890:participant;[::1]:2183",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn servers_are_sorted_by_number_and_ipv6_hosts_stand_in_brackets() {
    let servers = "server.10=[::1]:1:2\nserver.9=127.0.0.1:3:4\nserver.1=127.0.0.1:5:6\n";
    let Ensemble::ZooCfg { servers, .. } =
        config(&format!("dataDir=DATA\nclientPort=2181\n{servers}")).ensemble
    else {
        panic!("an ensemble")
    };
    assert_eq!(servers.iter().map(|server| server.id.0).collect::<Vec<_>>(), [1, 9, 10]);
    assert_eq!(servers[2].peer, Address::parse("[::1]:1").expect("an address"));
}

#[test]
fn one_server_line_is_a_server_alone_that_needs_no_myid() {
    let config =
        load("dataDir=DATA\nserver.1=zk.example:2888:3888;2185\n", &[], None, None).expect("valid").config;
    assert_eq!((config.ensemble, config.clients.expect("a port").port), (Ensemble::Standalone, 2185));
}

#[test]
fn myid_must_be_there_and_name_a_line() {
    let missing = load(THREE, &[], None, None).expect_err("no myid");
    assert_eq!(missing, "cannot read myid: write into it the N of this server's own server.N line");
    for myid in ["4", "", "1 2", "one", "-1", "256"] {
        let error = load(THREE, &[], Some(myid), None).expect_err(myid);
        let expected = format!("none has the N {myid:?} of the file myid: make them agree");
        assert!(error.starts_with("zoo.cfg:5: server.3=") && error.ends_with(&expected), "{error}");
    }
}

#[test]
fn plain_peers_beyond_this_machine_are_written_out() {
    let servers = "server.1=127.0.0.1:2888:3888\nserver.2=zk-2.example:2888:3888\n";
    assert_eq!(
        refusal(servers),
        "zoo.cfg:4: server.2=zk-2.example:2888:3888: servers on other machines would be spoken to in plain text and \
         without authentication: if the network between them is trusted, write sslQuorum=false"
    );
    config(&format!("dataDir=DATA\nclientPort=2181\nsslQuorum=false\n{servers}"));
    let error = refusal(&format!("sslQuorum=true\n{servers}"));
    assert!(error.starts_with("zoo.cfg:3: sslQuorum=true: TLS between the servers of a file"), "{error}");
}

#[test]
fn server_lines_that_make_no_ensemble_are_refused() {
    let form = "write it as host:peerPort:electionPort[:role][;[address:]clientPort]";
    let alone = "server.1=127.0.0.1:2888:3888\n";
    for (line, problem) in [
        ("server.2=127.0.0.1:2888", form),
        ("server.2=127.0.0.1", form),
        ("server.2=:2888:3888", form),
        ("server.2=127.0.0.1:2888:0", form),
        ("server.2=127.0.0.1:2888:3888:observer:x", form),
        ("server.2=127.0.0.1:2888:3888;", form),
        ("server.2=127.0.0.1:2889:3888:leader", "the role is participant or observer"),
        ("server.256=127.0.0.1:2889:3888", "the N of server.N is a number from 0 to 255"),
        ("server.1=127.0.0.1:2889:3888", "server.1 has that id or address: each has its own"),
        ("server.2=127.0.0.1:2888:3889", "server.1 has that id or address: each has its own"),
        (
            "server.2=127.0.0.1:1:2|127.0.0.2:1:2",
            "several addresses for one server are not served yet: write one",
        ),
    ] {
        assert_eq!(refusal(&format!("{alone}{line}\n")), format!("zoo.cfg:4: {line}: {problem}"));
    }
    let observers = "server.1=127.0.0.1:1:2:observer\nserver.2=127.0.0.1:3:4:observer\n";
    assert!(refusal(observers).ends_with("no server has a vote: make at least one of them a participant"));
}

#[test]
fn bad_values_are_refused_with_what_to_do() {
    for (line, problem) in [
        ("tickTime=0", "write a whole number above 0"),
        ("tickTime=2s", "write a whole number above 0"),
        ("tickTime=2000000000", "it is in milliseconds: write 2000 for two seconds"),
        ("initLimit=-1", "write a whole number above 0"),
        ("maxClientCnxns=-1", "write a number, or 0 for no limit"),
        ("clientPortAddress=a b", "write a host name or an IP address"),
        ("admin.serverPort=65536", "write a port from 1 to 65535"),
        ("admin.enableServer=maybe", "write true or false"),
        ("jute.maxbuffer=4M", "write a number of bytes above 0, such as 4194304 or 0x400000"),
        ("dataLogDir=", "name a directory"),
        ("secureClientPortAddress=::1", "secureClientPort is not set: write it, or leave this out"),
        ("enforce.auth.enabled=true", "write enforce.auth.schemes, such as sasl, digest or x509, beside it"),
        (
            "sessionRequireClientSASLAuth=true",
            "no client could ever authenticate: name a JAAS file with its users by \
             -Djava.security.auth.login.config=FILE",
        ),
        (
            "ssl.crl=true",
            "this is not checked here: leave it out, and take certificates back by a CA that is renewed often",
        ),
        (
            "admin.commandURL=/metrics",
            "write a path such as /commands, and none of /livez, /readyz, /metrics",
        ),
        ("zke.mode=auto", "managed is the only mode; leave it out to serve by the server.N lines"),
        (
            "minSessionTimeout=70000",
            "the smallest session timeout (70000 ms) is above the largest (60000 ms): \
             set minSessionTimeout and maxSessionTimeout in order",
        ),
    ] {
        assert_eq!(refusal(line), format!("zoo.cfg:3: {line}: {problem}"));
    }
}

#[test]
fn tls_is_set_up_by_zookeeper_s_keys() {
    let tls = |lines: &str| {
        let text = format!("dataDir=DATA\nsecureClientPort=2281\nssl.keyStore.location=/k.pem\n{lines}");
        load(&text, &[], None, None).map(|loaded| (loaded.config.security.tls.expect("TLS"), loaded.warnings))
    };
    let (plain, warnings) =
        tls("ssl.trustStore.location=/t.jks\nssl.trustStore.password=hush\n").expect("valid");
    assert_eq!(warnings, [""; 0]);
    assert_eq!((plain.client_auth, plain.handshakes_max), (ClientAuth::Need, 512));
    assert_eq!(plain.versions, Versions { tls12: true, tls13: true });
    let store = Store { path: "/k.pem".into(), kind: StoreKind::Pem, password: None };
    assert_eq!(plain.key_store, store);
    let password = Some(Password::Text(Secret::new("hush")));
    assert_eq!(plain.trust_store, Some(Store { path: "/t.jks".into(), kind: StoreKind::Jks, password }));
    let (set, _) =
        tls("ssl.clientAuth=none\nssl.protocol=TLSv1.2\nnetty.server.outstandingHandshake.limit=9\n\
                        ssl.ciphersuites=A,B\nssl.keyStore.passwordPath=/p\nzke.ssl.keyFile=/k.key\n")
        .expect("valid");
    assert_eq!((set.client_auth, set.handshakes_max), (ClientAuth::None, 9));
    assert_eq!(set.versions, Versions { tls12: true, tls13: false });
    assert_eq!(set.cipher_suites, ["A", "B"]);
    assert_eq!(set.key_store.password, Some(Password::File("/p".into())));
    assert_eq!(set.key_file, Some("/k.key".into()));

    let refused = |lines: &str| tls(lines).expect_err("a refusal");
    assert!(refused("").starts_with("zoo.cfg: ssl.trustStore.location is missing: name a PEM file"));
    assert!(refused("ssl.clientAuth=maybe").ends_with("write none, want or need"));
    assert!(refused("ssl.clientAuth=none\nssl.protocol=TLSv1.1").contains("nothing older is spoken here"));
    assert!(refused("ssl.clientAuth=none\nssl.keyStore.type=BCFKS").contains("PEM, PKCS12 and JKS"));
    assert!(refused("ssl.trustStore.location=/t").contains("write ssl.trustStore.type=PEM, PKCS12 or JKS"));
}

#[test]
fn kazoo_s_servers_are_configured_without_a_complaint() {
    let text = "tickTime=2000\ndataDir=DATA\nclientPort=20000\nsecureClientPort=20004\nmaxClientCnxns=0\n\
                admin.serverPort=20003\n\
                serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
                authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n\
                ssl.keyStore.location=/k.jks\nssl.keyStore.password=apassword\n\
                ssl.trustStore.location=/t.jks\nssl.trustStore.password=apassword\n";
    let jaas = ["java.security.auth.login.config=/jaas.conf"];
    let Loaded { config, warnings } = load(text, &jaas, None, None).expect("valid");
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.security.secure_clients.expect("a port").to_string(), "*:20004");
    let sasl = config.security.sasl.expect("SASL");
    assert_eq!((sasl.jaas, sasl.section.as_str()), ("/jaas.conf".into(), "Server"));
    // A plugin of somebody's own is Java.
    let plugin = format!("{text}authProvider.2=my.Provider\n");
    let warnings = load(&plugin, &jaas, None, None).expect("valid").warnings;
    assert_eq!(warnings, ["zoo.cfg:13: authProvider.2 has no effect here: classes of Java cannot be loaded"]);
}

#[test]
fn no_secret_appears_where_a_configuration_is_shown() {
    let text = "dataDir=DATA\nsecureClientPort=2281\nssl.clientAuth=none\nssl.keyStore.location=/k.jks\n\
                ssl.keyStore.password=hunter2\nDigestAuthenticationProvider.superDigest=super:hunter2\n\
                SASLAuthenticationProvider.superPassword=hunter2\n";
    let config =
        load(text, &["java.security.auth.login.config=/jaas.conf"], None, None).expect("valid").config;
    let shown = format!("{config:?}");
    assert!(shown.contains("(hidden)") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_digest_never_appears_in_a_message() {
    let error = refusal("DigestAuthenticationProvider.superDigest=secret");
    assert!(error.contains("(hidden)") && !error.contains("secret"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let missing = |text| load(text, &[], None, None).expect_err("a refusal");
    assert_eq!(
        missing("clientPort=2181\n"),
        "zoo.cfg: dataDir is missing: name the directory for snapshots and identity"
    );
    assert_eq!(missing("dataDir=DATA\n"), "zoo.cfg: clientPort is missing: write clientPort=2181");
    let arguments = Arguments {
        config: Some("/nowhere/zoo.cfg".into()),
        data_dir: None,
        properties: vec![],
        pod_name: None,
    };
    let error = Config::load(&arguments).expect_err("no file");
    assert_eq!(error.to_string(), "cannot read /nowhere/zoo.cfg");
    assert!(error.source().is_some());
}

const MANAGED: &str = "dataDir=/var/lib/zkd
clientPort=2181
zke.mode=managed
zke.peerPort=2888
zke.adminPort=2889
zke.tlsDir=/etc/zkd/tls
zke.peerAddress={pod}.prod-headless.apps.svc.cluster.local:2888
zke.ensemble=apps/prod
zke.configHash=ab12
";

#[test]
fn the_operator_s_file_says_who_the_pod_is() {
    let loaded = load(MANAGED, &[], None, Some("prod-1")).expect("valid");
    let expected = Managed {
        pod: "prod-1".to_owned(),
        namespace: "apps".to_owned(),
        ensemble: "prod".to_owned(),
        peer_port: 2888,
        admin_port: 2889,
        peer_address: Address::parse("prod-1.prod-headless.apps.svc.cluster.local:2888").expect("an address"),
        tls: PeerTls {
            ca: "/etc/zkd/tls/ca.crt".into(),
            certificate: "/etc/zkd/tls/prod-1.crt".into(),
            key: "/etc/zkd/tls/prod-1.key".into(),
        },
        config_hash: "ab12".to_owned(),
    };
    assert_eq!(loaded.config.ensemble, Ensemble::Managed(expected));
    assert_eq!(loaded.warnings, [""; 0]);
}

#[test]
fn an_operator_s_file_that_cannot_be_right_is_refused() {
    let refused = |text: &str, pod| load(text, &[], None, pod).expect_err("a refusal");
    let no_pod = "POD_NAME is missing: set it in the environment to metadata.name of the pod that runs this";
    for pod in [None, Some(""), Some("../etc/passwd"), Some("a/b")] {
        assert_eq!(refused(MANAGED, pod), format!("zoo.cfg: {no_pod}"));
    }
    let pod = Some("prod-1");
    let fixed = MANAGED.replace("{pod}", "prod-0");
    assert!(refused(&fixed, pod).ends_with("write it as {pod}.service.namespace.svc.domain:port"));
    let nameless = MANAGED.replace("apps/prod", "prod");
    assert_eq!(refused(&nameless, pod), "zoo.cfg:8: zke.ensemble=prod: write it as namespace/name");
    let listed = format!("{MANAGED}server.1=127.0.0.1:1:2\n");
    assert!(refused(&listed, pod).ends_with("the ensemble is not in the file: leave it out"));
}
