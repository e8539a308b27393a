//! The command line.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::lease::LeaseTimes;

/// Runs ZkEnsembles on Kubernetes.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Watch this namespace only; repeat for more. All namespaces when absent.
    #[arg(long = "watch-namespace", env = "WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// Serve /metrics, /livez and /readyz here.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,

    /// Who this process is among its replicas, and in events.
    #[arg(long, env = "POD_NAME", default_value = "zke-operator")]
    pub identity: String,

    /// Namespace of the Lease by which replicas choose the one that acts.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,

    #[arg(long, default_value = "zke-operator")]
    pub lease_name: String,

    /// After this long without renewal another replica may take over.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(3..=300))]
    pub lease_duration_seconds: u32,

    /// After this long without a successful renewal this process stops acting and ends. Below the duration.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=299))]
    pub renew_deadline_seconds: u32,

    /// How often to renew, or to try to take over.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub retry_period_seconds: u32,

    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Json,
    Text,
}

impl Args {
    pub fn lease_times(&self) -> LeaseTimes {
        LeaseTimes::from_seconds(
            self.lease_duration_seconds,
            self.renew_deadline_seconds,
            self.retry_period_seconds,
        )
    }

    /// Logs to standard error; `RUST_LOG` chooses what, `info` when unset.
    pub fn start_logging(&self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            LogFormat::Json => builder.json().init(),
            LogFormat::Text => builder.init(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
