//! A whole server in this process: everything but the command line.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zkd::access::Access;
use zkd::clients::Clients;
use zkd::config::{Arguments, Config};
use zkd::entrance::Entrance;
use zkd::hub::Hub;
use zkd::stats::Stats;
use zkd::workers::Workers;
use zkd::{http, listener};
use zke_consensus::Serving;

use crate::ensemble;

pub struct Server {
    pub address: SocketAddr,
    /// Where TLS alone is spoken, if `secureClientPort` is set; whichever port that names.
    pub secure: Option<SocketAddr>,
    pub clients: Arc<Clients>,
    listeners: JoinSet<()>,
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
        let (clients, listeners, address, secure) = runtime.block_on(async {
            let stats = Arc::new(Stats::default());
            let hub = Arc::new(Hub::new(Arc::clone(&stats)));
            let ensemble = ensemble::standalone(&config, Arc::clone(&hub)).await;
            ensemble.serving().wait_for(|serving| *serving == Serving::Yes).await.unwrap();
            let access = Access::load(&config.security).unwrap();
            let plain = if config.security.unified { Entrance::Unified } else { Entrance::Plain };
            let has_tls = config.security.secure_clients.is_some();
            let clients = Clients::new(ensemble, hub, stats, config, access);
            let aside = Arc::clone(&clients);
            tokio::spawn(async move { aside.run().await });
            while !clients.hub.is_serving() {
                tokio::task::yield_now().await;
            }
            let workers = Arc::new(Workers::start().unwrap());
            let mut listeners = JoinSet::new();
            let mut listen = |entrance| {
                let socket = listener::bind_address(([127, 0, 0, 1], 0).into()).unwrap();
                let address = socket.local_addr().unwrap();
                listeners.spawn(listener::run(socket, entrance, Arc::clone(&clients), Arc::clone(&workers)));
                address
            };
            let address = listen(plain);
            let secure = has_tls.then(|| listen(Entrance::Tls));
            (clients, listeners, address, secure)
        });
        Server { address, secure, clients, listeners, runtime, _data_dir: data_dir }
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
        self.runtime.block_on(async {
            while let Some(ended) = self.listeners.join_next().await {
                ended.unwrap();
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        self.runtime.block_on(self.clients.ensemble.shutdown());
    }
}
