//! The ensemble of one that the server under test is: real consensus, on a real disk.

use std::sync::Arc;

use zkd::config::Config;
use zkd::hub::Hub;
use zke_consensus::clock::SystemClock;
use zke_consensus::grpc::{GrpcTransport, Security, SharedTransport};
use zke_consensus::{Drivers, Ensemble, Options, Setup};
use zke_storage::RealDisk;
use zke_tree::EnsembleId;

/// Small, since every test has a log of its own.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Starts a member on a blank disk and brings it up alone.
pub async fn standalone(config: &Config, hub: Arc<Hub>) -> Ensemble {
    let session_timeout_ms_min = u64::try_from(config.session_timeout.min_ms).unwrap();
    let disk = RealDisk::open(&config.data_dir).unwrap();
    let setup = Setup {
        log_disk: disk.clone(),
        disk,
        segment_bytes: SEGMENT_BYTES,
        pod: "server.1".to_owned(),
        joins_by_itself: false,
        fresh_member_id: 1,
        options: Options {
            session_timeout_ms_min,
            container_check_interval_ms: u64::try_from(config.container_check_interval_ms).unwrap(),
            serve_at_once: true,
            settings: config.replicated(),
            ..Options::default()
        },
        drivers: Drivers::Threads,
        transport: Arc::new(SharedTransport(GrpcTransport::new(Security::Plain))),
        clock: Arc::new(SystemClock),
        observer: hub,
    };
    let ensemble = Ensemble::start(setup).await.unwrap();
    ensemble.first_start(EnsembleId([7; 16]), "127.0.0.1:2888".to_owned(), Vec::new(), true).await.unwrap();
    ensemble
}
