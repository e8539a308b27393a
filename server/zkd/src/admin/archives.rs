//! The two streams of the admin API: the state of this ensemble out, an archive for a blank disk in.
//!
//! Both are a bounded queue between a thread that reads or writes and the connection. A caller who stops reading or
//! sending is given up after a while, lest it keep others from their turn.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use zke_admin::v1 as api;
use zke_admin::v1::restore_chunk::Part as RestorePart;
use zke_admin::v1::snapshot_chunk::Part as SnapshotPart;
use zke_consensus::{AdminError, Capture, Ensemble, Restoration};
use zke_tree::MemberId;

use super::{ensemble_id, refused};

/// Bytes of one message; far below what gRPC takes by default.
const CHUNK_BYTES: usize = 256 << 10;
/// Messages between thread and connection: enough to keep both busy.
const CHUNKS_WAITING_MAX: usize = 4;
/// How long a caller may take for one message, in either direction. A volume that hangs for longer is lost.
const CHUNK_DEADLINE: Duration = Duration::from_secs(60);
/// What a capture leaves free: two segments of the log and then some, since a log that cannot grow ends the process.
const SPARE_BYTES: u64 = 256 << 20;
/// What a node takes in a snapshot besides its path and data, generously.
const NODE_BYTES: u64 = 128;

pub(super) type Snapshot = ReceiverStream<Result<api::SnapshotChunk, Status>>;

/// Takes the state as it is now and begins to send it.
pub(super) async fn snapshot(ensemble: &Ensemble, data_dir: &Path) -> Result<Snapshot, Status> {
    expect_room(ensemble, data_dir)?;
    let capture = ensemble.capture().await.map_err(refused)?;
    tracing::info!(index = %capture.index, zxid = %capture.zxid, bytes = capture.content_bytes, "sending the state");
    let (chunks, stream) = mpsc::channel(CHUNKS_WAITING_MAX);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let send =
            |chunk| matches!(runtime.block_on(timeout(CHUNK_DEADLINE, chunks.send(chunk))), Ok(Ok(())));
        if let Err(error) = send_all(capture, &send) {
            tracing::error!(%error, "cannot read back the state that was to be sent");
            // Whether anybody hears of it or not.
            let _ = send(Err(Status::data_loss(format!("cannot read back the state: {error}"))));
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// Sends until the end, or until nobody listens any more.
fn send_all(
    mut capture: Capture,
    send: &dyn Fn(Result<api::SnapshotChunk, Status>) -> bool,
) -> io::Result<()> {
    let header = api::SnapshotHeader {
        ensemble_id: capture.ensemble.to_string(),
        member_id: capture.member.0,
        index: capture.index.0,
        term: capture.term.0,
        zxid: u64::try_from(capture.zxid.0).unwrap_or(0),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        content_bytes: capture.content_bytes,
    };
    let mut part = SnapshotPart::Header(header);
    loop {
        if !send(Ok(api::SnapshotChunk { part: Some(part) })) {
            tracing::warn!("the one who asked for the state is gone, or does not read");
            return Ok(());
        }
        let mut data = Vec::with_capacity(CHUNK_BYTES);
        Read::by_ref(&mut capture).take(CHUNK_BYTES as u64).read_to_end(&mut data)?;
        if data.is_empty() {
            return Ok(());
        }
        part = SnapshotPart::Data(data);
    }
}

/// The state is written to this member's disk before it is sent, and must not take what the log needs.
fn expect_room(ensemble: &Ensemble, data_dir: &Path) -> Result<(), Status> {
    let state_bytes = {
        let state = ensemble.state().read();
        state.approximate_data_size() + state.node_count() as u64 * NODE_BYTES
    };
    let volume = rustix::fs::statvfs(data_dir);
    let volume = volume.map_err(|error| Status::internal(format!("cannot look at the volume: {error}")))?;
    let free_bytes = volume.f_bavail.saturating_mul(volume.f_frsize);
    let needed_bytes = state_bytes.saturating_add(SPARE_BYTES);
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(Status::resource_exhausted(format!(
        "this member's volume has {free_bytes} bytes left and a snapshot needs {needed_bytes}: make the volume larger"
    )))
}

/// Takes an archive in and makes this blank disk its.
pub(super) async fn restore(
    ensemble: &Ensemble,
    mut stream: Streaming<api::RestoreChunk>,
) -> Result<(), Status> {
    let first = timeout(CHUNK_DEADLINE, stream.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no request came"))??;
    let Some(RestorePart::Request(asked)) = first.and_then(|chunk| chunk.part) else {
        return Err(Status::invalid_argument("the first message has to be the request"));
    };
    let own_pod = ensemble.status().pod;
    if asked.pod != own_pod {
        return Err(Status::failed_precondition(format!("this is pod {own_pod}")));
    }
    let restoration = Restoration {
        ensemble: ensemble_id(&asked.ensemble_id)?,
        address: asked.peer_address,
        epoch_above: asked.epoch_above,
    };
    let (chunks, incoming) = mpsc::channel(CHUNKS_WAITING_MAX);
    let archive = Incoming { chunks: incoming, rest: Bytes::new() };
    let restoring = ensemble.restore(MemberId(asked.expect_member_id), restoration, archive);
    tokio::pin!(restoring);
    let restored = tokio::select! {
        restored = &mut restoring => restored,
        () = feed(stream, chunks) => restoring.await,
    };
    if let Err(error @ AdminError::Archive(_)) = &restored {
        tracing::warn!(error = error as &dyn std::error::Error, "refused an archive");
    }
    restored.map_err(refused)
}

/// Ends with the stream, or when nobody takes its bytes any more.
async fn feed(mut stream: Streaming<api::RestoreChunk>, chunks: mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let chunk = match timeout(CHUNK_DEADLINE, stream.message()).await {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(api::RestoreChunk { part: Some(RestorePart::Data(data)) }))) => Ok(Bytes::from(data)),
            Ok(Ok(Some(_))) => Err(io::Error::other("a message without data came")),
            Ok(Err(status)) => Err(io::Error::other(format!("the stream broke: {}", status.message()))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing more came")),
        };
        let last = chunk.is_err();
        if chunks.send(chunk).await.is_err() || last {
            return;
        }
    }
}

/// What a stream brought, for a thread that reads it.
struct Incoming {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.rest = chunk?,
                None => return Ok(0),
            }
        }
        let taken = self.rest.split_to(buf.len().min(self.rest.len()));
        buf[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
