//! What `zkd` itself is told: ZooKeeper's own knobs under Kubernetes-like names.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Quantity};

/// Settings of the servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// ZooKeeper's basic unit of time; session timeouts default to 2 and 20 times this.
    #[serde(default = "tick_time")]
    pub tick_time: Duration,

    /// Bounds of the timeout that a client may ask for.
    #[serde(default)]
    pub session: Session,

    #[serde(default)]
    pub limits: Limits,

    /// ZooKeeper's four letter words that are answered on the client port.
    #[serde(default = "four_letter_words")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 20))]
    pub four_letter_words: Vec<FourLetterWord>,

    #[serde(default)]
    pub logging: Logging,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            tick_time: tick_time(),
            session: Session::default(),
            limits: Limits::default(),
            four_letter_words: four_letter_words(),
            logging: Logging::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Smallest session timeout; 2 ticks when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_timeout: Option<Duration>,
    /// Largest session timeout; 20 ticks when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Connections that one client address may hold to one member; 0 is no limit.
    #[serde(default = "max_client_connections")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_client_connections: u32,

    /// Largest request and largest data of a znode (jute.maxbuffer); ZooKeeper's 1 MiB when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_request_bytes: Option<Quantity>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_client_connections: max_client_connections(), max_request_bytes: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FourLetterWord {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Orst,
    Ruok,
    Srst,
    Srvr,
    Stat,
    Stmk,
    Wchc,
    Wchp,
    Wchs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Logging {
    #[serde(default)]
    pub level: LogLevel,
    #[serde(default)]
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

const fn tick_time() -> Duration {
    Duration::from_ms(2_000)
}

/// ZooKeeper's default.
const fn max_client_connections() -> u32 {
    60
}

fn four_letter_words() -> Vec<FourLetterWord> {
    vec![FourLetterWord::Ruok, FourLetterWord::Srvr, FourLetterWord::Mntr, FourLetterWord::Stat]
}
