//! From the settings of a `zoo.cfg` to a [`Config`].

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use zke_wire::{FrameDecoder, Host, Listen, Role, Server, ServerId};

use super::managed::Managed;
use super::security::Security;
use super::settings::{Setting, Settings};
use super::{Config, ConfigError, Ensemble, SessionTimeoutBounds};
use crate::four_letter::Whitelist;

/// In bytes. ZooKeeper's is four times as large; ours is read back at each start.
const SNAP_SIZE_LIMIT: u64 = 1 << 30;

/// What `--data-dir` alone means: for a laptop, so reachable from there only.
pub(super) fn standalone(settings: &mut Settings, data_dir: &Path) -> Result<Config, ConfigError> {
    let here = Host::parse("127.0.0.1");
    let clients = Some(Listen { host: here.clone(), port: 2181 });
    let directories = Directories { data: data_dir.to_owned(), log: data_dir.to_owned() };
    let mut security = Security::take(settings, None)?;
    if let Some(secure) = &mut security.secure_clients {
        secure.host = secure.host.take().or_else(|| here.clone());
    }
    finish(settings, directories, Ports { clients, http_host: here }, security, Ensemble::Standalone)
}

/// Reads the settings of `file`. `read_myid` gets the data directory; `pod` is this pod's name, if there is one.
pub(super) fn config(
    settings: &mut Settings,
    file: &Path,
    pod: Option<&str>,
    read_myid: impl FnOnce(&Path) -> Result<String, ConfigError>,
) -> Result<Config, ConfigError> {
    let directories = Directories::take(settings, file)?;
    let is_managed = settings.take_as("zke.mode", |mode| match mode.value.as_str() {
        "managed" => Ok(()),
        _ => Err(mode.refused("managed is the only mode; leave it out to serve by the server.N lines")),
    })?;
    let servers = settings.take_prefixed("server.");
    let (ensemble, own_clients) = match (is_managed, servers.first()) {
        (Some(()), Some(server)) => {
            return Err(server.refused("under the operator the ensemble is not in the file: leave it out"));
        }
        (Some(()), None) => (Ensemble::Managed(Managed::take(settings, file, pod)?), None),
        (None, _) => described_ensemble(settings, &servers, || read_myid(&directories.data))?,
    };
    let security = Security::take(settings, Some(file))?;
    let clients = take_clients(settings, file, own_clients, security.secure_clients.is_some())?;
    finish(settings, directories, Ports { clients, http_host: None }, security, ensemble)
}

struct Directories {
    data: PathBuf,
    log: PathBuf,
}

impl Directories {
    fn take(settings: &mut Settings, file: &Path) -> Result<Self, ConfigError> {
        let advice = "name the directory for snapshots and identity";
        let data = settings.take_as("dataDir", Setting::path)?;
        let data = data.ok_or(ConfigError::Missing { file: file.to_owned(), key: "dataDir", advice })?;
        let log = settings.take_as("dataLogDir", Setting::path)?.unwrap_or_else(|| data.clone());
        Ok(Self { data, log })
    }
}

/// As in ZooKeeper, where session ids hold it in one byte.
const SERVER_ID_MAX: ServerId = ServerId(255);

/// The ensemble that `server.N` lines describe, and where the own line says that clients are served.
fn described_ensemble(
    settings: &mut Settings,
    lines: &[Setting],
    read_myid: impl FnOnce() -> Result<String, ConfigError>,
) -> Result<(Ensemble, Option<Listen>), ConfigError> {
    let mut servers: Vec<Server> = Vec::with_capacity(lines.len());
    for line in lines {
        let server = Server::parse(&line.key, &line.value).map_err(|error| line.refused(error))?;
        if server.id > SERVER_ID_MAX {
            return Err(line.refused(format!("the N of server.N is a number from 0 to {SERVER_ID_MAX}")));
        }
        if let Some(other) = servers.iter().find(|other| other.id == server.id || other.peer == server.peer) {
            return Err(line.refused(format!("server.{} has that id or address: each has its own", other.id)));
        }
        servers.push(server);
    }
    let last = match lines {
        [] => return Ok((Ensemble::Standalone, None)),
        [_] => return Ok((Ensemble::Standalone, servers.pop().and_then(|server| server.clients))),
        [.., last] => last,
    };
    if !take_plain_peers(settings)? {
        refuse_distant_peers(lines, &servers)?;
    }
    if servers.iter().all(|server| server.role == Role::Observer) {
        return Err(last.refused("no server has a vote: make at least one of them a participant"));
    }
    let myid = read_myid()?;
    let own = ServerId::parse(myid.trim()).and_then(|id| servers.iter().find(|server| server.id == id));
    let own = own.ok_or_else(|| {
        let myid = myid.trim();
        last.refused(format!(
            "this is the last server, and none has the N {myid:?} of the file myid: make them agree"
        ))
    })?;
    let (my_id, clients) = (own.id, own.clients.clone());
    servers.sort_by_key(|server| server.id);
    Ok((Ensemble::ZooCfg { my_id, servers }, clients))
}

/// Whether the file says in so many words that peers talk in plain text.
fn take_plain_peers(settings: &mut Settings) -> Result<bool, ConfigError> {
    let plain = settings.take_as("sslQuorum", |setting| match setting.bool()? {
        false => Ok(()),
        true => Err(setting.refused(
            "TLS between the servers of a file is not served yet: \
             write false if the network between them is trusted, or let the operator run them",
        )),
    })?;
    Ok(plain.is_some())
}

fn refuse_distant_peers(lines: &[Setting], servers: &[Server]) -> Result<(), ConfigError> {
    match lines.iter().zip(servers).find(|(_, server)| !server.peer.host.is_loopback()) {
        None => Ok(()),
        Some((line, _)) => Err(line.refused(
            "servers on other machines would be spoken to in plain text and without authentication: \
             if the network between them is trusted, write sslQuorum=false",
        )),
    }
}

/// Where plain text is spoken, which a server with TLS may leave out.
fn take_clients(
    settings: &mut Settings,
    file: &Path,
    own: Option<Listen>,
    is_secure: bool,
) -> Result<Option<Listen>, ConfigError> {
    let host = settings.take_as("clientPortAddress", Setting::host)?;
    let (host, port) = match (settings.take("clientPort"), own) {
        (Some(setting), Some(own)) if setting.port()? != own.port => {
            return Err(
                setting.refused(format!("this server's own line says {}: write it in one place", own.port))
            );
        }
        (_, Some(own)) => (host.or(own.host), own.port),
        (Some(setting), None) => (host, setting.port()?),
        (None, None) if is_secure => return Ok(None),
        (None, None) => {
            let advice = "write clientPort=2181";
            return Err(ConfigError::Missing { file: file.to_owned(), key: "clientPort", advice });
        }
    };
    Ok(Some(Listen { host, port }))
}

/// What this server opens, but for TLS.
struct Ports {
    clients: Option<Listen>,
    http_host: Option<Host>,
}

/// Adds what every kind of server can be told.
fn finish(
    settings: &mut Settings,
    directories: Directories,
    ports: Ports,
    security: Security,
    ensemble: Ensemble,
) -> Result<Config, ConfigError> {
    let Ports { clients, http_host } = ports;
    let tick_ms = take_tick(settings)?;
    let read_only_mode = settings.take_as("readonlymode.enabled", Setting::bool)?.unwrap_or(false);
    let whitelist = settings.take("4lw.commands.whitelist");
    let whitelist = whitelist.map_or_else(Whitelist::default, |setting| Whitelist::parse(&setting.value));
    Ok(Config {
        data_dir: directories.data,
        log_dir: directories.log,
        clients,
        tick_ms,
        init_limit_ticks: settings.take_as("initLimit", Setting::positive)?.unwrap_or(10),
        sync_limit_ticks: settings.take_as("syncLimit", Setting::positive)?.unwrap_or(5),
        session_timeout: take_session_timeout(settings, tick_ms)?,
        container_check_interval_ms: settings
            .take_as("znode.container.checkIntervalMs", Setting::positive)?
            .unwrap_or(60_000),
        snap_count: settings.take_as("snapCount", Setting::positive)?.unwrap_or(100_000),
        snap_size_limit: settings.take_as("snapSizeLimitInKb", read_kib)?.unwrap_or(SNAP_SIZE_LIMIT),
        max_client_cnxns: settings.take_as("maxClientCnxns", read_limit)?.unwrap_or(NonZeroU32::new(60)),
        max_cnxns: settings.take_as("maxCnxns", read_limit)?.flatten(),
        outstanding_max: settings.take_as("globalOutstandingLimit", read_limit)?.flatten(),
        read_only_mode,
        max_message_len: settings
            .take_as("jute.maxbuffer", read_max_buffer)?
            .unwrap_or(FrameDecoder::DEFAULT_MAX_LEN),
        audit: settings.take_as("audit.enable", Setting::bool)?.unwrap_or(false),
        reconfig_enabled: settings.take_as("reconfigEnabled", Setting::bool)?.unwrap_or(false),
        standalone_enabled: settings.take_as("standaloneEnabled", Setting::bool)?.unwrap_or(true),
        enforce_quota: settings.take_as("enforceQuota", Setting::bool)?.unwrap_or(false),
        four_letter_words: if read_only_mode { whitelist.with_isro() } else { whitelist },
        security,
        admin_http: take_admin_http(settings, http_host.clone())?,
        admin_url: settings.take_as("admin.commandURL", read_url)?.unwrap_or_else(|| "/commands".to_owned()),
        shown_file: settings.shown_file(),
        metrics_http: take_metrics_http(settings, http_host)?,
        ensemble,
    })
}

/// ZooKeeper's own default for `maxSessionTimeout`, the largest multiple of a tick that anything here computes.
const MAX_SESSION_TIMEOUT_TICKS: i32 = 20;

fn take_tick(settings: &mut Settings) -> Result<i32, ConfigError> {
    let tick_ms = settings.take_as("tickTime", |setting| {
        let tick_ms = setting.positive()?;
        let fits = tick_ms.checked_mul(MAX_SESSION_TIMEOUT_TICKS).is_some();
        if fits {
            Ok(tick_ms)
        } else {
            Err(setting.refused("it is in milliseconds: write 2000 for two seconds"))
        }
    })?;
    Ok(tick_ms.unwrap_or(3000))
}

fn take_session_timeout(settings: &mut Settings, tick_ms: i32) -> Result<SessionTimeoutBounds, ConfigError> {
    // -1 is ZooKeeper's way to write the default out.
    let mut bound = |key| settings.take(key).filter(|setting| setting.value != "-1");
    let (min, max) = (bound("minSessionTimeout"), bound("maxSessionTimeout"));
    let read = |setting: &Option<Setting>| setting.as_ref().map(Setting::positive).transpose();
    let min_ms = read(&min)?.unwrap_or(2 * tick_ms);
    let max_ms = read(&max)?.unwrap_or(MAX_SESSION_TIMEOUT_TICKS * tick_ms);
    match max.or(min) {
        Some(setting) if min_ms > max_ms => Err(setting.refused(format!(
            "the smallest session timeout ({min_ms} ms) is above the largest ({max_ms} ms): \
             set minSessionTimeout and maxSessionTimeout in order"
        ))),
        _ => Ok(SessionTimeoutBounds { min_ms, max_ms }),
    }
}

/// 0 is no limit.
fn read_limit(setting: &Setting) -> Result<Option<NonZeroU32>, ConfigError> {
    let limit: Option<u32> = setting.value.parse().ok();
    limit.map(NonZeroU32::new).ok_or_else(|| setting.refused("write a number, or 0 for no limit"))
}

/// As ZooKeeper, which takes none by size where it is not above 0.
fn read_kib(setting: &Setting) -> Result<u64, ConfigError> {
    let kib: Option<i64> = setting.value.parse().ok();
    let kib = kib.ok_or_else(|| setting.refused("write a number of KiB, or 0 for no limit"))?;
    Ok(u64::try_from(kib).ok().filter(|kib| *kib > 0).map_or(u64::MAX, |kib| kib.saturating_mul(1 << 10)))
}

/// In decimal or, as its users copy it from ZooKeeper's documentation, in hex.
fn read_max_buffer(setting: &Setting) -> Result<usize, ConfigError> {
    let digits = setting.value.to_ascii_lowercase();
    let len = match digits.strip_prefix("0x") {
        Some(hex) => i32::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let len = len.ok().and_then(|len| usize::try_from(len).ok()).filter(|len| *len > 0);
    len.ok_or_else(|| setting.refused("write a number of bytes above 0, such as 4194304 or 0x400000"))
}

fn take_admin_http(settings: &mut Settings, default: Option<Host>) -> Result<Option<Listen>, ConfigError> {
    let enabled = settings.take_as("admin.enableServer", Setting::bool)?.unwrap_or(true);
    let host = settings.take_as("admin.serverAddress", Setting::host)?.or(default);
    let port = settings.take_as("admin.serverPort", Setting::port)?.unwrap_or(8080);
    Ok(enabled.then_some(Listen { host, port }))
}

fn read_url(setting: &Setting) -> Result<String, ConfigError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    let url = setting.value.trim_end_matches('/');
    // Those of our own are taken.
    let free = !["/livez", "/readyz", "/metrics"].contains(&url);
    if url.len() > 1 && url.starts_with('/') && !url.contains("//") && url.chars().all(plain) && free {
        Ok(url.to_owned())
    } else {
        Err(setting.refused("write a path such as /commands, and none of /livez, /readyz, /metrics"))
    }
}

/// There only for those who ask for ZooKeeper's metrics provider, whichever: ours is Prometheus.
fn take_metrics_http(settings: &mut Settings, default: Option<Host>) -> Result<Option<Listen>, ConfigError> {
    let provider = settings.take("metricsProvider.className");
    let host = settings.take_as("metricsProvider.httpHost", Setting::host)?.or(default);
    let port = settings.take_as("metricsProvider.httpPort", Setting::port)?;
    let port = port.or_else(|| provider.map(|_| 7000));
    Ok(port.map(|port| Listen { host, port }))
}
