//! From a configuration to a running process, and back: what runs where, and in which order it ends.
//!
//! Raft and the streams between members have a runtime of their own, so that no burst of clients delays a heartbeat.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zke_consensus::clock::SystemClock;
use zke_consensus::grpc::{self, Credentials, GrpcTransport, PemFiles, Security, SharedTransport};
use zke_consensus::{Configured, Drivers, Ensemble, Options, PeerNode, Setup, StartError};
use zke_storage::{RealDisk, StorageError};
use zke_tree::{EnsembleId, MemberId, newest_apply_level};

use crate::access::Access;
use crate::admin::{self, Disk};
use crate::audit::Audit;
use crate::clients::Clients;
use crate::config::{Config, Ensemble as Members, Loaded, Managed, PeerTls, Role, Server, ServerId};
use crate::entrance::Entrance;
use crate::hub::Hub;
use crate::stats::Stats;
use crate::workers::{self, Workers};
use crate::{http, listener, shutdown};

/// Heartbeats, votes and the apply of entries need little; two keep one busy thread from delaying the other, and bring
/// three members on two cores a quarter more writes than one does.
const RAFT_THREADS: usize = 2;
/// A server alone has no heartbeats to keep. Tasks that wake each other on one thread need no system call for it: a lone
/// write is answered in 0.14 ms instead of 0.17 (medians of three runs, two cores).
const RAFT_THREADS_ALONE: usize = 1;
/// What accepts clients, and serves probes and people: none of it is much. A panic in it ends what panicked, as on the threads
/// that serve clients.
const FRONT_THREADS: usize = 1;
/// As ZooKeeper preallocates.
pub(crate) const LOG_SEGMENT_BYTES: u64 = 64 << 20;
/// What a server that is alone calls itself.
pub(crate) const ALONE_POD: &str = "server";
/// The admin API where there is no operator: whoever may read the data directory may use it.
const ADMIN_SOCKET: &str = "admin.sock";
/// Leadership moves within a few milliseconds, or not at all; the process is asked to end meanwhile.
const HAND_OVER_DEADLINE: Duration = Duration::from_millis(1_500);
/// Raft waits for its last flush, which a disk that hangs never finishes. Nothing needs what was not acknowledged.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);
/// The longest queue of the audit log is a second of writes.
const AUDIT_DEADLINE: Duration = Duration::from_secs(1);

/// How a server ended that could have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// It has to start anew, on a disk that is another member then, or a member for the first time.
    Restart,
}

/// Runs a server until it is asked to end, or cannot go on.
pub fn run(loaded: Loaded) -> anyhow::Result<Ended> {
    end_with_any_thread_of_raft();
    let Loaded { config, warnings } = loaded;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let alone = matches!(config.ensemble, Members::Standalone);
    let raft = runtime("raft", if alone { RAFT_THREADS_ALONE } else { RAFT_THREADS })?;
    let front = runtime(workers::NAME, FRONT_THREADS)?;
    let outcome = front.block_on(serve(config, &raft));
    // What they still do, such as streams of peers and a read of a mounted file that hangs, ends when the process does.
    raft.shutdown_background();
    front.shutdown_background();
    outcome
}

/// A panic in a client's task ends that client. One in a thread that the log, apply or Raft runs on would leave a
/// process that looks alive and answers nobody, so it ends the process: the others take over at once.
fn end_with_any_thread_of_raft() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if std::thread::current().name() != Some(workers::NAME) {
            std::process::abort();
        }
    }));
}

fn runtime(name: &str, threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name(name).enable_all();
    builder.build().with_context(|| format!("cannot start the {name} runtime"))
}

async fn serve(config: Config, raft: &Runtime) -> anyhow::Result<Ended> {
    let stats = Arc::new(Stats::default());
    let hub = Arc::new(Hub::new(Arc::clone(&stats)));
    // Before anything is touched: what is wrong in these files is for whoever wrote them to mend.
    let access = Access::load(&config.security).context("cannot tell clients apart")?;
    let members = Membership::of(&config);
    // A socket belongs to the runtime that binds it: heartbeats must not wait for that of the clients, nor end with it.
    let own = members.clone();
    let peers =
        raft.spawn(async move { own.bind().await }).await.context("binding the peer port failed")??;
    let setup = match open_disks(&config) {
        Ok((disk, log_disk)) => {
            stats.flushes.get_or_init(|| log_disk.flushes());
            Ok(setup(&config, &members, disk, log_disk, Arc::clone(&hub)))
        }
        Err(error) => Err(StartError::Storage(error)),
    };
    let started = match setup {
        Ok(setup) => {
            let starting = raft.spawn(Ensemble::start(setup));
            starting.await.context("starting the member failed")?
        }
        Err(error) => Err(error),
    };
    let ensemble = match started {
        Ok(ensemble) => ensemble,
        Err(StartError::Storage(error)) if error.damage().is_some() && members.managed().is_some() => {
            return serve_corrupt(&config, &members, error).await.map(|()| Ended::Stopped);
        }
        Err(error) => return Err(error).context("cannot start this server"),
    };
    members.expect_no_ensemble_of_one(&ensemble.members().await)?;
    if let Some(peers) = peers {
        raft.spawn(grpc::serve(peers, members.security(), ensemble.clone()));
    }
    raft.spawn(first_start(ensemble.clone(), members.clone()));
    let stop = CancellationToken::new();
    let administration = admin::serve(Disk::Open(ensemble.clone()), members.clone(), config.data_dir.clone());
    let administration = raft.spawn(administration);
    if config.audit {
        let audit = Audit::start().context("cannot start the thread of the audit log")?;
        audit.server("serverStart");
        hub.audit.get_or_init(|| audit);
    }
    let clients = Clients::new(ensemble.clone(), hub, stats, config, access);
    let entrances = entrances(&clients.config).await?;
    let workers = Arc::new(Workers::start().context("cannot start the threads that serve clients")?);
    let http = tokio::spawn(http::run(Arc::clone(&clients), stop.clone()));
    let mut accepting = JoinSet::new();
    for (socket, entrance) in entrances {
        accepting.spawn(listener::run(socket, entrance, Arc::clone(&clients), Arc::clone(&workers)));
    }
    let followed = Arc::clone(&clients);
    tokio::spawn(async move { followed.run().await });

    let outcome = tokio::select! {
        signal = shutdown::requested() => {
            tracing::info!(signal = signal.context("cannot wait for signals")?, "stopping");
            leave(&ensemble, &clients).await;
            Ok(Ended::Stopped)
        }
        () = ensemble.restart_wanted() => Ok(Ended::Restart),
        reason = ensemble.failed() => Err(anyhow::anyhow!("this server cannot go on: {reason}")),
    };
    clients.stop.cancel();
    while let Some(ended) = accepting.join_next().await {
        ended.context("serving clients failed")?;
    }
    if tokio::time::timeout(SHUTDOWN_DEADLINE, ensemble.shutdown()).await.is_err() {
        tracing::warn!("Raft did not stop in time: it waits for the disk");
    }
    if let Some(audit) = clients.hub.audit.get() {
        audit.server("serverStop");
        if tokio::time::timeout(AUDIT_DEADLINE, audit.written()).await.is_err() {
            tracing::warn!(
                "the last lines of the audit log are lost: the log is slower than this server ends"
            );
        }
    }
    stop.cancel();
    http.await.context("serving HTTP failed")?;
    administration.abort();
    outcome
}

/// Opens the ports for clients.
async fn entrances(config: &Config) -> anyhow::Result<Vec<(TcpListener, Entrance)>> {
    let plain = if config.security.unified { Entrance::Unified } else { Entrance::Plain };
    let wanted = [(&config.clients, plain), (&config.security.secure_clients, Entrance::Tls)];
    let mut entrances = Vec::new();
    for (listen, entrance) in wanted {
        let Some(listen) = listen else { continue };
        let socket = listener::bind(listen).await;
        let socket = socket.with_context(|| format!("cannot listen for clients on {listen}"))?;
        tracing::info!(address = %listen, ?entrance, "waiting for clients");
        entrances.push((socket, entrance));
    }
    Ok(entrances)
}

/// Before the sockets close: leadership moves on while this member still takes part.
async fn leave(ensemble: &Ensemble, clients: &Clients) {
    match tokio::time::timeout(HAND_OVER_DEADLINE, ensemble.hand_over()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "leaving without handing leadership over"),
        Err(_) => tracing::warn!("leaving without handing leadership over: it took too long"),
    }
    clients.stop.cancel();
}

/// Under an operator a corrupt disk must not be restarted again and again: the process says what is wrong and serves
/// nothing else, until it is replaced.
async fn serve_corrupt(config: &Config, members: &Membership, error: StorageError) -> anyhow::Result<()> {
    tracing::error!(%error, "the disk is corrupt: only the admin API is up");
    let disk = Disk::Corrupt(error.to_string());
    tokio::select! {
        signal = shutdown::requested() => signal.map(|_| ()).context("cannot wait for signals"),
        served = admin::serve(disk, members.clone(), config.data_dir.clone()) => served,
        () = http::serve_corrupt(config.admin_http.as_ref(), error.to_string()) => bail!("cannot serve probes"),
    }
}

fn open_disks(config: &Config) -> Result<(RealDisk, RealDisk), StorageError> {
    let disk = RealDisk::open(&config.data_dir)?;
    let log_disk =
        if config.log_dir == config.data_dir { disk.clone() } else { RealDisk::open(&config.log_dir)? };
    Ok((disk, log_disk))
}

fn setup(
    config: &Config,
    members: &Membership,
    disk: RealDisk,
    log_disk: RealDisk,
    hub: Arc<Hub>,
) -> Setup<RealDisk> {
    let managed = members.managed().is_some();
    let session_timeout_ms_min = u64::try_from(config.session_timeout.min_ms).expect("bounds are positive");
    let container_check_interval_ms =
        u64::try_from(config.container_check_interval_ms).expect("a positive setting");
    let snapshot_entries = u64::try_from(config.snap_count).expect("a positive setting");
    Setup {
        disk,
        log_disk,
        segment_bytes: LOG_SEGMENT_BYTES,
        pod: members.own_pod(),
        joins_by_itself: !managed,
        fresh_member_id: rand::random::<u64>().max(1),
        options: Options {
            session_timeout_ms_min,
            container_check_interval_ms,
            snapshot_entries,
            // A fifth, as with the defaults of both.
            keep_entries: (snapshot_entries / 5).max(1),
            snapshot_log_bytes: config.snap_size_limit,
            serve_at_once: !managed,
            settings: config.replicated(),
            configured: members.configured(config),
            newest_apply_level: newest_apply_level(),
        },
        drivers: Drivers::Threads,
        transport: Arc::new(SharedTransport(GrpcTransport::new(members.security()))),
        clock: Arc::new(SystemClock),
        observer: hub,
    }
}

/// Without an operator, brings a blank disk into its ensemble.
async fn first_start(ensemble: Ensemble, members: Membership) {
    let (own, others, lowest) = match &members {
        Membership::Managed(_) => return,
        Membership::Alone => (String::new(), Vec::new(), true),
        Membership::Servers { my_id, servers } => {
            let own = own_server(*my_id, servers).peer.to_string();
            let voters = || servers.iter().filter(|server| server.role == Role::Participant);
            let others = voters().filter(|server| server.id != *my_id).map(PeerNode::of).collect();
            (own, others, voters().map(|server| server.id).min() == Some(*my_id))
        }
    };
    let fresh = EnsembleId(rand::random::<u128>().max(1).to_be_bytes());
    if let Err(error) = ensemble.first_start(fresh, own, others, lowest).await {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot bring this disk into its ensemble");
    }
}

fn own_server(my_id: ServerId, servers: &[Server]) -> &Server {
    servers.iter().find(|server| server.id == my_id).expect("a configuration names its own server")
}

/// With whom this process forms an ensemble, and how they know each other.
#[derive(Clone)]
pub(crate) enum Membership {
    Alone,
    Servers { my_id: ServerId, servers: Vec<Server> },
    Managed(Arc<Managed>),
}

impl Membership {
    fn of(config: &Config) -> Membership {
        match &config.ensemble {
            Members::Standalone => Membership::Alone,
            Members::Managed(managed) => Membership::Managed(Arc::new(managed.clone())),
            Members::ZooCfg { my_id, servers } => {
                Membership::Servers { my_id: *my_id, servers: servers.clone() }
            }
        }
    }

    /// What clients are shown of it.
    fn configured(&self, config: &Config) -> Configured {
        match self {
            Membership::Alone => Configured::Nowhere,
            Membership::Servers { servers, .. } => Configured::ByClients { first: servers.clone() },
            Membership::Managed(_) => {
                let listen = config.clients.as_ref().or(config.security.secure_clients.as_ref());
                listen
                    .map_or(Configured::Nowhere, |listen| Configured::ByOperator { client_port: listen.port })
            }
        }
    }

    pub(crate) fn managed(&self) -> Option<&Managed> {
        match self {
            Membership::Managed(managed) => Some(managed),
            Membership::Alone | Membership::Servers { .. } => None,
        }
    }

    fn own_pod(&self) -> String {
        match self {
            Membership::Alone => ALONE_POD.to_owned(),
            Membership::Servers { my_id, servers } => PeerNode::of(own_server(*my_id, servers)).pod,
            Membership::Managed(managed) => managed.pod.clone(),
        }
    }

    /// The disk of a server alone is a quorum of its own: under a server of several it would serve another history beside
    /// theirs.
    fn expect_no_ensemble_of_one(&self, known: &BTreeMap<MemberId, PeerNode>) -> anyhow::Result<()> {
        let Membership::Servers { my_id, servers } = self else { return Ok(()) };
        if servers.len() > 1 && known.values().any(|node| node.pod == ALONE_POD) {
            bail!(
                "the disk of server.{} is that of a server alone, with data of its own, and the configuration names {} \
                 servers; start it without server.N lines, or begin with an empty dataDir and bring the data over by a \
                 client",
                my_id.0,
                servers.len()
            );
        }
        Ok(())
    }

    /// Where other members are waited for; `None` for a server that is alone.
    async fn bind(&self) -> anyhow::Result<Option<TcpListener>> {
        let (host, port) = match self {
            Membership::Alone => return Ok(None),
            Membership::Servers { my_id, servers } => {
                let own = &own_server(*my_id, servers).peer;
                (Some(own.host.clone()), own.port)
            }
            Membership::Managed(managed) => (None, managed.peer_port),
        };
        let listen = crate::config::Listen { host, port };
        let bound = listener::bind(&listen)
            .await
            .with_context(|| format!("cannot listen for members on {listen}"))?;
        Ok(Some(bound))
    }

    fn security(&self) -> Security {
        match self {
            Membership::Alone | Membership::Servers { .. } => Security::Plain,
            Membership::Managed(managed) => Security::Tls(Arc::new(credentials(managed))),
        }
    }
}

/// The certificates of a pod, read from their files each time they are needed.
pub(crate) fn credentials(managed: &Managed) -> Credentials {
    let files = managed.tls.clone();
    Credentials {
        uri_prefix: format!("zkensemble://{}/{}/", managed.namespace, managed.ensemble),
        load: Box::new(move || load(&files)),
    }
}

fn load(files: &PeerTls) -> io::Result<PemFiles> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    Ok(PemFiles { ca: read(&files.ca)?, certificate: read(&files.certificate)?, key: read(&files.key)? })
}

/// The socket of the admin API in a data directory. One that a killed process left behind is in the way; the
/// directory's lock says that no other process uses it.
pub(crate) fn admin_socket(data_dir: &Path) -> io::Result<UnixListener> {
    let path = data_dir.join(ADMIN_SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(&path)
}
