//! A whole server in this process: everything but the command line.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zkd::clients::Clients;
use zkd::config::{Arguments, Config};
use zkd::hub::Hub;
use zkd::stats::Stats;
use zkd::{http, listener};
use zke_consensus::Serving;

use crate::ensemble;

pub struct Server {
    pub address: SocketAddr,
    pub clients: Arc<Clients>,
    listener: Option<JoinHandle<()>>,
    runtime: Runtime,
    _data_dir: TempDir,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// With these properties, as of the command line.
    pub fn start_with(properties: &[(&str, &str)]) -> Server {
        let data_dir = TempDir::new().unwrap();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let arguments = Arguments {
            config: None,
            data_dir: Some(data_dir.path().to_owned()),
            properties: properties.iter().map(own).collect(),
            pod_name: None,
        };
        let config = Config::load(&arguments).unwrap().config;
        let runtime = Runtime::new().unwrap();
        let (clients, listener, address) = runtime.block_on(async {
            let stats = Arc::new(Stats::default());
            let hub = Arc::new(Hub::new(Arc::clone(&stats)));
            let ensemble = ensemble::standalone(&config, Arc::clone(&hub)).await;
            ensemble.serving().wait_for(|serving| *serving == Serving::Yes).await.unwrap();
            let clients = Clients::new(ensemble, hub, stats, config);
            let aside = Arc::clone(&clients);
            tokio::spawn(async move { aside.run().await });
            while !clients.hub.is_serving() {
                tokio::task::yield_now().await;
            }
            let socket = listener::bind_address(([127, 0, 0, 1], 0).into()).unwrap();
            let address = socket.local_addr().unwrap();
            let listener = tokio::spawn(listener::run(socket, Arc::clone(&clients)));
            (clients, listener, address)
        });
        Server { address, clients, listener: Some(listener), runtime, _data_dir: data_dir }
    }

    /// Serves `router` on a free port for as long as the server is there.
    pub fn serve_http(&self, router: Router) -> SocketAddr {
        self.runtime.block_on(async {
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            tokio::spawn(async move { http::serve_on(socket, router, &CancellationToken::new()).await });
            address
        })
    }

    /// Stops as SIGTERM does: returns when every connection is drained.
    pub fn stop(&mut self) {
        self.clients.stop.cancel();
        if let Some(listener) = self.listener.take() {
            self.runtime.block_on(listener).unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        self.runtime.block_on(self.clients.ensemble.shutdown());
    }
}
