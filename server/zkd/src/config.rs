//! What a server is told before it starts: the command line, and a ZooKeeper `zoo.cfg` or the one our operator renders.
//!
//! A [`Config`] that exists is valid: ports are ports, bounds are in order, the own server is in the list, and what
//! this server cannot do has been refused with the line that asks for it. A key that nobody here knows is a warning,
//! since ZooKeeper's files hold many; it is never an error.
//!
//! Reads the named files and `myid`, once. Binds, resolves and creates nothing.

mod arguments;
mod check;
mod keys;
mod managed;
mod properties;
mod secret;
mod security;
mod settings;
mod zoo_cfg;

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::{env, fs};

pub use arguments::{Arguments, CommandLine};
pub use check::{Report, check};
pub use managed::{Managed, PeerTls};
pub use secret::Secret;
pub(crate) use security::is_digest;
pub use security::{ClientAuth, Password, Sasl, Security, Store, StoreKind, Switch, Tls, Versions};
pub use settings::Origin;
pub use zke_wire::{Address, Host, Listen, Role, Server, ServerId};

use crate::four_letter::Whitelist;
use settings::Settings;

/// Everything that is set once and for all when the process starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Holds snapshots and identity.
    pub data_dir: PathBuf,
    /// Holds the log; the same as `data_dir` unless `dataLogDir` says otherwise.
    pub log_dir: PathBuf,
    /// Where clients are waited for, in plain text; `None` where TLS alone is spoken.
    pub clients: Option<Listen>,
    /// The unit of ZooKeeper's timeouts, above 0.
    pub tick_ms: i32,
    /// In ticks, above 0. Shown to whoever asks for the configuration.
    pub init_limit_ticks: i32,
    /// As `init_limit_ticks`.
    pub sync_limit_ticks: i32,
    pub session_timeout: SessionTimeoutBounds,
    /// `znode.container.checkIntervalMs`, above 0: how often a leader looks for containers and TTL nodes to remove.
    pub container_check_interval_ms: i32,
    /// `snapCount`, above 0: a snapshot is taken after so many entries of the log.
    pub snap_count: i32,
    /// `snapSizeLimitInKb`, in bytes: a snapshot is taken after so many of the log, too.
    pub snap_size_limit: u64,
    /// Connections from one source address; `None` is without limit.
    pub max_client_cnxns: Option<NonZeroU32>,
    /// Connections from everywhere; `None` leaves it to the limit on open files.
    pub max_cnxns: Option<NonZeroU32>,
    /// `globalOutstandingLimit`: with this many requests of all connections waiting for an answer, each may have one.
    pub outstanding_max: Option<NonZeroU32>,
    /// `readonlymode.enabled`: without a quorum, clients that ask for it are let in to read.
    pub read_only_mode: bool,
    /// `jute.maxbuffer`: the longest message a client may send, in bytes.
    pub max_message_len: usize,
    /// `enforceQuota`: whether hard quotas refuse writes while this server leads.
    pub enforce_quota: bool,
    /// `reconfigEnabled`: whether clients may change the ensemble while this server leads.
    pub reconfig_enabled: bool,
    /// `standaloneEnabled`: whether reconfig refuses to leave a single voter.
    pub standalone_enabled: bool,
    /// `audit.enable`.
    pub audit: bool,
    pub four_letter_words: Whitelist,
    pub security: Security,
    /// Admin commands, probes and metrics; `None` when switched off.
    pub admin_http: Option<Listen>,
    /// `admin.commandURL`: the path below which the admin commands are.
    pub admin_url: String,
    /// The file as it was read, for the admin command that shows it: without the values of secrets.
    pub shown_file: Option<String>,
    /// A second place for metrics alone, where ZooKeeper's Prometheus provider has them.
    pub metrics_http: Option<Listen>,
    pub ensemble: Ensemble,
}

/// What a client's wish for a session timeout is clamped to: 0 < `min_ms` <= `max_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimeoutBounds {
    pub min_ms: i32,
    pub max_ms: i32,
}

impl Config {
    /// What this server stamps on entries while it leads. Under the operator nobody else changes the ensemble.
    pub fn replicated(&self) -> zke_tree::Settings {
        zke_tree::Settings {
            enforce_quota: self.enforce_quota,
            reconfig_enabled: self.reconfig_enabled && !matches!(self.ensemble, Ensemble::Managed(_)),
            single_voter_allowed: !self.standalone_enabled,
        }
    }
}

/// With whom this server serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ensemble {
    /// Alone: no `server.N` line, or just the one.
    Standalone,
    /// The servers of a `zoo.cfg`, two or more, sorted by id; `my_id` is one of them.
    ZooCfg { my_id: ServerId, servers: Vec<Server> },
    /// Whatever our operator says over the admin port.
    Managed(Managed),
}

/// A configuration and what in it has no effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// One sentence each, with file and line, to be logged once logging is set up.
    pub warnings: Vec<String>,
}

/// Why the server does not start. Every message names the place and says what to do there.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot read {}: write into it the N of this server's own server.N line", path.display())]
    ReadMyId { path: PathBuf, source: std::io::Error },
    /// A line of a file or a property of the command line.
    #[error("{origin}: {problem}")]
    Refused { origin: Origin, problem: String },
    #[error("{}: {key} is missing: {advice}", file.display())]
    Missing { file: PathBuf, key: &'static str, advice: &'static str },
}

impl Config {
    /// Reads what the command line names.
    ///
    /// # Errors
    /// [`ConfigError`] if a file cannot be read, or if what stands in it cannot be served as it is meant.
    pub fn load(arguments: &Arguments) -> Result<Loaded, ConfigError> {
        let mut settings = Settings::new(&arguments.properties);
        let environment = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let config = match (&arguments.config, &arguments.data_dir) {
            (Some(file), _) => {
                let text = fs::read_to_string(file);
                let text = text.map_err(|source| ConfigError::Read { path: file.clone(), source })?;
                settings.add_file(file, &text);
                read_dynamic_file(&mut settings)?;
                settings.add_environment(environment);
                zoo_cfg::config(&mut settings, file, arguments.pod_name.as_deref(), read_myid)?
            }
            (None, Some(data_dir)) => {
                settings.add_environment(environment);
                zoo_cfg::standalone(&mut settings, data_dir)?
            }
            (None, None) => unreachable!("the command line requires one of them"),
        };
        Ok(Loaded { config, warnings: settings.into_warnings() })
    }
}

/// What a file with this text means, without another look at any file.
#[cfg(any(test, fuzzing))]
pub(crate) fn of_text(file: &Path, text: &str) -> Result<Loaded, ConfigError> {
    let mut settings = Settings::new(&[]);
    settings.add_file(file, text);
    let config = zoo_cfg::config(&mut settings, file, Some("pod-0"), |_| Ok("1".to_owned()))?;
    Ok(Loaded { config, warnings: settings.into_warnings() })
}

/// The second file, if the first names one. As in ZooKeeper it holds the servers, and then the first holds none.
fn read_dynamic_file(settings: &mut Settings) -> Result<(), ConfigError> {
    let Some(setting) = settings.take("dynamicConfigFile") else { return Ok(()) };
    if let Some(server) = settings.prefixed("server.").next() {
        return Err(
            server.refused("dynamicConfigFile names another file for the servers: write them all there")
        );
    }
    let path = setting.path()?;
    let text =
        fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
    settings.add_file(&path, &text);
    Ok(())
}

fn read_myid(data_dir: &Path) -> Result<String, ConfigError> {
    let path = data_dir.join("myid");
    fs::read_to_string(&path).map_err(|source| ConfigError::ReadMyId { path, source })
}
