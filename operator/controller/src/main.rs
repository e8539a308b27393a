//! `zke-operator`: runs ZkEnsembles on Kubernetes.

mod act;
mod admin;
mod apply;
mod args;
mod backup;
mod build;
mod certificates;
mod ensemble;
mod error;
mod events;
mod http;
mod job;
mod lease;
mod malformed;
mod metrics;
mod names;
mod observe;
mod pod_state;
mod reconcile;
mod restore;
mod run;
mod schedule;
mod secrets;
mod status;
mod template;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    let args = args::Args::parse();
    args.start_logging();
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run::run(args))
}
