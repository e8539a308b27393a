//! The process's log: to standard error, filtered by `RUST_LOG`, as text or, with `ZKD_LOG=json`, as one JSON object a
//! line for machines.

use std::env;
use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// What is logged if `RUST_LOG` says nothing: the libraries below have nothing to tell an operator while all is well. openraft
/// warns of each heartbeat to a member that is away, eighteen lines a second; our own log says once that it is.
const DEFAULT_FILTER: &str = "info,openraft=error,h2=warn,hyper=warn,tonic=warn";

/// To be called once, before anything is logged.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    // Whoever asks for an audit log gets it, whatever else is logged.
    let filter = filter.add_directive("audit=info".parse().expect("a directive"));
    let colours = io::stderr().is_terminal();
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    if env::var("ZKD_LOG").is_ok_and(|format| format == "json") { lines.json().init() } else { lines.init() }
}
