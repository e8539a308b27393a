//! Every key of ZooKeeper 3.9.5's configuration, and what becomes of it here.
//!
//! One table: warnings at the start, `zkd check` and the names of environment variables come from it, and
//! docs/zoo-cfg.md says the same in prose. A key that is honoured is taken by `zoo_cfg` or `managed`; the table only
//! has to know it. What nobody takes has no effect, and then the table says why.

/// What this server does about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// As in ZooKeeper.
    Honoured,
    /// It counts, with a difference that its user ought to know.
    Differs(&'static str),
    /// This server has no such part, or always does what the key asks for. Nothing is missed.
    NotNeeded(&'static str),
    /// It would matter, and is not served.
    NotServed(&'static str),
}

use Effect::{Differs, Honoured, NotNeeded, NotServed};

const JAVA: &str = "it tunes ZooKeeper's Java threads and buffers";
const ZAB: &str = "it tunes ZooKeeper's own election and replication; members here agree by Raft";
const PURGE: &str = "old snapshots and logs are removed by themselves";
const LOG: &str = "the log and the snapshots have formats of their own";
const DIGEST: &str = "members always compare digests of their own";
const WATCHES: &str = "watches have one table, which needs no cleaning";
const CACHE: &str = "answers are encoded from memory and not cached";
const VERSIONS: &str = "1.2 and 1.3 are spoken, nothing older";
const UNCHECKED: &str = "this is not checked here: a file that asks for it is refused";
const KERBEROS: &str = "Kerberos is not served";
const THROTTLE: &str = "too many requests are answered with back-pressure to the socket";
const PLUGIN: &str = "classes of Java cannot be loaded";

/// Keys that end with a dot stand for all that begin so. In ZooKeeper's own spelling, without `zookeeper.` in front.
pub(super) const KEYS: &[(&str, Effect)] = &[
    // The file.
    ("dataDir", Honoured),
    ("dataLogDir", Honoured),
    ("clientPort", Honoured),
    ("clientPortAddress", Honoured),
    ("secureClientPort", Honoured),
    ("secureClientPortAddress", Honoured),
    ("tickTime", Honoured),
    ("initLimit", Differs("it is only shown: a member joins as fast as its disk and network let it")),
    ("syncLimit", Differs("it is only shown: a member that lags closes its clients when its lease ends")),
    ("minSessionTimeout", Honoured),
    ("maxSessionTimeout", Honoured),
    ("maxClientCnxns", Honoured),
    ("maxCnxns", Honoured),
    ("clientPortListenBacklog", NotNeeded("4096 connections may wait to be accepted")),
    ("server.", Differs("plain peers on other machines need sslQuorum=false in so many words")),
    ("group.", NotServed("hierarchical quorums are not served: every voter counts alike")),
    ("weight.", NotServed("every voter counts alike")),
    ("version", NotNeeded("the version of the membership is in the replicated log")),
    ("dynamicConfigFile", Differs("it is read once; a change of the membership does not write it")),
    ("standaloneEnabled", Differs("it only says whether reconfig may leave a single voter")),
    ("reconfigEnabled", Honoured),
    ("peerType", NotNeeded("the server line says who is an observer")),
    ("electionAlg", NotNeeded(ZAB)),
    ("electionPortBindRetry", NotNeeded("nothing listens on the election port")),
    ("quorumListenOnAllIPs", NotServed("members listen on the address of their own server line")),
    ("localSessionsEnabled", NotNeeded("every session is global, as clients expect by default")),
    ("localSessionsUpgradingEnabled", NotNeeded("every session is global")),
    ("syncEnabled", NotNeeded("observers always keep their log on disk")),
    ("observer.syncEnabled", NotNeeded("observers always keep their log on disk")),
    ("observerMasterPort", NotNeeded("observers follow the leader")),
    ("observerMaster.sizeLimit", NotNeeded("observers follow the leader")),
    ("oraclePath", NotServed("there is no oracle: two servers need both for a quorum")),
    ("connectToLearnerMasterLimit", NotNeeded(ZAB)),
    ("quorum.cnxn.threads.size", NotNeeded(ZAB)),
    ("autopurge.purgeInterval", NotNeeded(PURGE)),
    ("autopurge.snapRetainCount", NotNeeded("the newest three snapshots are kept")),
    ("admin.", NotServed("this part of the admin server is not served")),
    ("admin.enableServer", Honoured),
    ("admin.serverPort", Honoured),
    ("admin.serverAddress", Honoured),
    ("admin.commandURL", Honoured),
    ("admin.idleTimeout", NotNeeded("answers are short")),
    ("admin.httpVersion", NotNeeded("HTTP/1.1 is spoken")),
    ("admin.snapshot.enabled", NotNeeded("snapshots are asked for by the admin API, with an identity")),
    ("admin.restore.enabled", NotNeeded("restoring is asked for by the admin API, with an identity")),
    ("admin.rateLimiterIntervalInMS", NotNeeded("snapshot and restore are not served over HTTP")),
    ("metricsProvider.className", Differs("whichever it names, metrics are Prometheus'")),
    ("metricsProvider.httpHost", Honoured),
    ("metricsProvider.httpPort", Honoured),
    ("metricsProvider.exportJvmInfo", NotNeeded("there is no JVM")),
    ("metricsProvider.", NotServed("this part of the metrics provider is not served")),
    // Limits.
    ("jute.maxbuffer", Honoured),
    ("globalOutstandingLimit", Differs("unless it is set only each connection is limited, to 1000 requests")),
    ("enforceQuota", Honoured),
    ("4lw.commands.whitelist", Honoured),
    ("nio.sessionlessCnxnTimeout", NotServed("10 seconds, as by default")),
    ("request_throttle_max_requests", NotNeeded(THROTTLE)),
    ("request_throttle_stall_time", NotNeeded(THROTTLE)),
    ("request_throttle_drop_stale", NotNeeded(THROTTLE)),
    ("request_throttler.shutdownTimeout", NotNeeded(THROTTLE)),
    ("request_stale_connection_check", NotNeeded("requests of closed connections are dropped by themselves")),
    ("request_stale_latency_check", NotNeeded("requests of closed connections are dropped by themselves")),
    ("throttled_op_wait_time", NotServed("a request that waits long is answered late and not refused")),
    ("largeRequestMaxBytes", NotNeeded(THROTTLE)),
    ("largeRequestThreshold", NotNeeded(THROTTLE)),
    ("connection_throttle_", NotServed("connections are limited in number and not in rate")),
    ("connection_throttle_tokens", NotServed("connections are limited in number and not in rate")),
    ("intBufferStartingSizeBytes", NotNeeded(JAVA)),
    // Nodes and sessions.
    ("extendedTypesEnabled", Differs("TTL nodes are always served")),
    ("emulate353TTLNodes", NotNeeded("it is about files of ZooKeeper 3.5.3")),
    ("znode.container.checkIntervalMs", Honoured),
    (
        "znode.container.maxPerMinute",
        NotNeeded("as many as are due are removed, in steps that do not stop writes"),
    ),
    ("znode.container.maxNeverUsedIntervalMs", NotServed("a container that never had a child stays")),
    ("closeSessionTxn.enabled", NotNeeded("always so")),
    ("skipACL", NotServed("access is always checked")),
    ("enableEagerACLCheck", NotNeeded("access is checked when a write is applied")),
    (
        "readonlymode.enabled",
        Differs("a member that starts without a quorum serves what its newest snapshot holds, or nobody"),
    ),
    // Who a client is.
    ("DigestAuthenticationProvider.superDigest", Honoured),
    ("DigestAuthenticationProvider.digestAlg", Differs("SHA-1 is the only one")),
    ("DigestAuthenticationProvider.enabled", Honoured),
    ("X509AuthenticationProvider.superUser", Honoured),
    ("IPAuthenticationProvider.usexforwardedfor", NotNeeded("no header ever names a client")),
    ("SASLAuthenticationProvider.superPassword", Honoured),
    ("superUser", Honoured),
    ("superUser.", Honoured),
    ("authProvider.", NotServed(PLUGIN)),
    ("ensembleAuthName", NotServed("the scheme ensemble is not served")),
    ("enforce.auth.enabled", Honoured),
    ("enforce.auth.schemes", Honoured),
    ("sessionRequireClientSASLAuth", Honoured),
    ("allowSaslFailedClients", Honoured),
    ("letAnySaslUserDoX", NotServed("a SASL user is nobody else")),
    ("requireKerberosConfig", NotServed(KERBEROS)),
    ("kerberos.", NotServed(KERBEROS)),
    ("security.auth_to_local", NotServed(KERBEROS)),
    ("sasl.serverconfig", Honoured),
    ("sasl.", NotServed(KERBEROS)),
    ("kinit", NotServed(KERBEROS)),
    ("server.principal", NotServed(KERBEROS)),
    ("server.realm", NotServed(KERBEROS)),
    ("jaasLoginRenew", NotServed(KERBEROS)),
    ("java.security.auth.login.config", Differs("sections of DigestLoginModule are read, others are not")),
    ("quorum.auth.", NotServed("members know each other by certificates, never by SASL")),
    ("client.portUnification", Honoured),
    ("client.certReload", NotNeeded("certificates are read anew when they change")),
    ("client.secure", NotNeeded("it is about clients")),
    ("ssl.keyStore.location", Honoured),
    ("ssl.keyStore.password", Honoured),
    ("ssl.keyStore.passwordPath", Honoured),
    ("ssl.keyStore.type", Honoured),
    ("ssl.trustStore.location", Honoured),
    ("ssl.trustStore.password", Honoured),
    ("ssl.trustStore.passwordPath", Honoured),
    ("ssl.trustStore.type", Honoured),
    ("ssl.clientAuth", Honoured),
    ("ssl.protocol", Differs(VERSIONS)),
    ("ssl.enabledProtocols", Differs(VERSIONS)),
    ("ssl.ciphersuites", Differs("those that are not safe are not there")),
    ("ssl.authProvider", Differs("x509 is the only one")),
    ("ssl.crl", Differs(UNCHECKED)),
    ("ssl.ocsp", Differs(UNCHECKED)),
    ("ssl.clientHostnameVerification", Differs(UNCHECKED)),
    ("ssl.hostnameVerification", NotNeeded("it is about clients, and about members")),
    ("ssl.context.supplier.class", Differs("no class of Java is loaded: a file with it is refused")),
    (
        "ssl.handshakeDetectionTimeoutMillis",
        NotNeeded("a client has one deadline for TLS and its first message"),
    ),
    ("ssl.", NotServed("TLS is rustls', with its own ways")),
    ("netty.server.outstandingHandshake.limit", Honoured),
    ("ssl.quorum.", NotServed("TLS between the servers of a file is not served yet")),
    ("sslQuorum", Differs("false has to be written for plain peers on other machines")),
    ("sslQuorumReloadCertFiles", NotNeeded("certificates are read anew when they change")),
    ("portUnification", NotServed("members speak one of both")),
    ("fips-mode", NotNeeded("one TLS stack, with one way to verify")),
    // Looking at it.
    ("audit.enable", Honoured),
    ("audit.impl.class", NotServed(PLUGIN)),
    ("configuration", NotNeeded("it is shown by the admin command initial_configuration")),
    ("messageTracker.", NotNeeded("it is for debugging ZooKeeper's leader")),
    ("pathStats.", NotServed("requests are not counted by path")),
    ("jmx.", NotNeeded("there is no JMX")),
    ("leader.ackLoggingFrequency", NotNeeded(ZAB)),
    // The disk.
    ("preAllocSize", NotNeeded(LOG)),
    ("snapCount", Honoured),
    ("snapSizeLimitInKb", Honoured),
    ("snapshotSizeFactor", NotNeeded(LOG)),
    ("commitLogCount", NotNeeded("entries are kept for members that lag a little")),
    ("txnLogSizeLimitInKb", NotNeeded(LOG)),
    ("flushDelay", NotNeeded("whatever waits while the disk flushes goes into the next flush")),
    ("maxBatchSize", NotNeeded("whatever waits while the disk flushes goes into the next flush")),
    ("maxWriteQueuePollTime", NotNeeded("whatever waits while the disk flushes goes into the next flush")),
    ("forceSync", Differs("every write is flushed before it is answered, whatever it says")),
    ("fsync.warningthresholdms", NotServed("slow flushes are counted (fsynctime) and not logged")),
    ("snapshot.compression.method", NotNeeded(LOG)),
    ("snapshot.trust.empty", NotNeeded(LOG)),
    ("db.autocreate", NotNeeded("a blank disk joins by its identity, never by a flag")),
    ("datadir.autocreate", NotNeeded("the data directory is made if it is not there")),
    ("serializeLastProcessedZxid.enabled", NotNeeded(LOG)),
    ("digest.enabled", NotNeeded(DIGEST)),
    ("forceSnapshotSync", NotNeeded(ZAB)),
    // Java.
    ("serverCnxnFactory", NotNeeded("there is one implementation, which speaks both")),
    ("nio.", NotNeeded(JAVA)),
    ("netty.", NotNeeded(JAVA)),
    ("commitProcessor.", NotNeeded(JAVA)),
    ("maxResponseCacheSize", NotNeeded(CACHE)),
    ("maxGetChildrenResponseCacheSize", NotNeeded(CACHE)),
    ("bitHashCacheSize", NotNeeded(WATCHES)),
    ("watchManagerName", NotNeeded(WATCHES)),
    ("watcherCleanIntervalInSeconds", NotNeeded(WATCHES)),
    ("watcherCleanThreadsNum", NotNeeded(WATCHES)),
    ("watcherCleanThreshold", NotNeeded(WATCHES)),
    ("maxInProcessingDeadWatchers", NotNeeded(WATCHES)),
    ("clientTcpKeepAlive", NotNeeded("sessions end by their own timeout")),
    ("tcpKeepAlive", NotNeeded("members miss each other's heartbeats")),
    ("cnxTimeout", NotNeeded(ZAB)),
    ("quorumCnxnTimeoutMs", NotNeeded(ZAB)),
    ("fastleader.", NotNeeded(ZAB)),
    ("leader.", NotNeeded(ZAB)),
    ("leaderConnectDelayDuringRetryMs", NotNeeded(ZAB)),
    ("leaderServes", NotServed("the leader serves clients too")),
    ("learner.", NotNeeded(ZAB)),
    ("follower.", NotNeeded(ZAB)),
    ("observer.", NotNeeded(ZAB)),
    ("forward_learner_requests_to_commit_processor_disabled", NotNeeded(JAVA)),
    ("multiAddress.", NotServed("a server has one address")),
    ("java.net.", NotNeeded(JAVA)),
    ("java.awt.headless", NotNeeded(JAVA)),
    ("log4j.", NotNeeded("RUST_LOG chooses what is logged")),
    ("root.logger", NotNeeded("RUST_LOG chooses what is logged")),
    ("log.", NotNeeded("the log goes to standard error")),
    ("console.threshold", NotNeeded("RUST_LOG chooses what is logged")),
    ("com.sun.management.", NotNeeded("there is no JMX")),
    // Our own.
    ("zke.", Honoured),
];

/// What becomes of `key`: the entry of its own, or the longest of those that it begins with.
pub(super) fn effect(key: &str) -> Option<Effect> {
    let whole = KEYS.iter().find(|(name, _)| *name == key);
    let begins = KEYS.iter().filter(|(name, _)| name.ends_with(['.', '_']) && key.starts_with(name));
    whole.or_else(|| begins.max_by_key(|(name, _)| name.len())).map(|(_, effect)| *effect)
}

/// The key that an environment variable names behind `ZKD_`: letters and digits alone count, in either case, since
/// variables have neither dots nor small letters.
pub(super) fn of_variable(name: &str) -> Option<String> {
    if let Some(server) = name.strip_prefix("SERVER_").filter(|id| id.bytes().all(|b| b.is_ascii_digit())) {
        return Some(format!("server.{server}"));
    }
    let bare = bare(name);
    let found = KEYS.iter().find(|(key, _)| !key.ends_with(['.', '_']) && self::bare(key) == bare);
    found.map(|(key, _)| (*key).to_owned())
}

fn bare(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_key_stands_there_once_and_names_one_variable() {
        let keys: BTreeSet<_> = KEYS.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), KEYS.len());
        let whole = || KEYS.iter().filter(|(key, _)| !key.ends_with(['.', '_']));
        let names: BTreeSet<_> = whole().map(|(key, _)| bare(key)).collect();
        assert_eq!(names.len(), whole().count());
    }

    #[test]
    fn the_longest_entry_counts() {
        assert_eq!(effect("admin.serverPort"), Some(Honoured));
        assert!(matches!(effect("admin.forceHttps"), Some(NotServed(_))));
        assert!(matches!(effect("leader.nodelay"), Some(NotNeeded(_))));
        assert!(matches!(effect("connection_throttle_fill_time"), Some(NotServed(_))));
        assert!(
            matches!(effect("ssl.quorum.keyStore.location"), Some(NotServed(text)) if text.contains("servers"))
        );
        assert_eq!(effect("tickTyme"), None);
        // Prefixes are no keys themselves.
        assert_eq!(effect("ssl"), None);
    }

    #[test]
    fn variables_name_keys() {
        for (name, key) in [
            ("TICKTIME", "tickTime"),
            ("TICK_TIME", "tickTime"),
            ("4LW_COMMANDS_WHITELIST", "4lw.commands.whitelist"),
            ("JUTE_MAXBUFFER", "jute.maxbuffer"),
            ("SERVER_3", "server.3"),
        ] {
            assert_eq!(of_variable(name).as_deref(), Some(key), "{name}");
        }
        for name in ["LOG", "SERVICE_HOST", "PORT_2181_TCP", "SERVER_X", ""] {
            assert_eq!(of_variable(name), None, "{name}");
        }
    }
}
