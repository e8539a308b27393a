//! The transport between members: gRPC streams, over mutual TLS or, on loopback, plain.
//!
//! An address is resolved and certificates are read at every dial: pods change addresses, and certificates are
//! renewed under a running process. A channel that failed is dropped, so the next stream dials anew.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use openraft_rt_tokio::TokioRuntime;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use zke_admin::incoming::tls_incoming;
use zke_admin::tls::{self, ClientIdentity, PeerInfo, TlsError};

use crate::ensemble::Ensemble;
use crate::member::Refusal;
use crate::peer::{FrameStream, Hello, StreamKind, Transport};
use crate::types::PeerNode;

#[allow(clippy::all, unused_qualifications, rust_2018_idioms)]
mod v1 {
    tonic::include_proto!("zkensemble.peer.v1");
}

use v1::Frame;
use v1::peer_client::PeerClient;
use v1::peer_server::{Peer, PeerServer};

/// Where the hello of a stream travels.
const HELLO: &str = "zke-hello-bin";
/// The largest frame: a replication request is cut at 1 MiB unless one entry alone is larger, and an entry holds at
/// most one command above 512 KiB, of jute.maxbuffer plus its header.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// PEM files of this member, read anew each time they are needed.
pub struct PemFiles {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

/// How members prove who they are.
#[derive(Clone)]
pub enum Security {
    /// No proof: for members on loopback, or where the user wrote out that he wants it.
    Plain,
    Tls(Arc<Credentials>),
}

/// The certificates of one member of one ensemble.
pub struct Credentials {
    /// `zkensemble://<namespace>/<ensemble>/`; a pod's name behind it is its identity.
    pub uri_prefix: String,
    pub load: Box<dyn Fn() -> io::Result<PemFiles> + Send + Sync>,
}

impl Credentials {
    fn client(&self) -> io::Result<ClientIdentity> {
        let files = (self.load)()?;
        ClientIdentity::load(&files.ca, &files.certificate, &files.key).map_err(io::Error::other)
    }

    /// The accepting side, with the files as they are now.
    pub fn server(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let files = (self.load)().map_err(TlsError::Accept)?;
        tls::server_config(&files.ca, &files.certificate, &files.key)
    }
}

/// Streams over gRPC.
pub struct GrpcTransport {
    security: Security,
    channels: Mutex<HashMap<(PeerNode, Lane), Channel>>,
}

/// A connection of its own for what must not wait behind something long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lane {
    Control,
    Replication,
    Snapshot,
}

impl Lane {
    fn of(kind: StreamKind) -> Lane {
        match kind {
            StreamKind::Append => Lane::Replication,
            StreamKind::Snapshot => Lane::Snapshot,
            StreamKind::Vote
            | StreamKind::PreVote
            | StreamKind::TransferLeader
            | StreamKind::Link
            | StreamKind::Probe => Lane::Control,
        }
    }
}

impl GrpcTransport {
    pub fn new(security: Security) -> Arc<GrpcTransport> {
        Arc::new(GrpcTransport { security, channels: Mutex::new(HashMap::new()) })
    }

    fn known(&self, to: &(PeerNode, Lane)) -> Option<Channel> {
        self.channels.lock().get(to).cloned()
    }

    async fn dial(&self, to: &PeerNode) -> io::Result<Channel> {
        match &self.security {
            Security::Plain => {
                let endpoint =
                    Endpoint::from_shared(format!("http://{}", to.address)).map_err(io::Error::other)?;
                endpoint
                    .tcp_nodelay(true)
                    .initial_stream_window_size(4 << 20)
                    .initial_connection_window_size(8 << 20)
                    .connect()
                    .await
                    .map_err(io::Error::other)
            }
            Security::Tls(credentials) => {
                let expected = format!("{}{}", credentials.uri_prefix, to.pod);
                tls::connect(&to.address, &expected, &credentials.client()?).await.map_err(io::Error::other)
            }
        }
    }

    async fn open_on(&self, channel: Channel, hello: &Hello) -> io::Result<FrameStream> {
        let (near, far) = FrameStream::pair();
        let FrameStream { outgoing: received, incoming: sending } = far;
        let frames = ReceiverStream::new(sending).map(|data| Frame { data });
        let mut request = Request::new(frames);
        request.metadata_mut().insert_bin(HELLO, MetadataValue::from_bytes(&hello.encode()));
        let mut client = PeerClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
        let answers = client.open(request).await.map_err(from_status)?.into_inner();
        tokio::spawn(pump(answers, received));
        Ok(near)
    }
}

/// How a refusal travels: that an id is retired has a code of its own, since its member has to hear of it.
fn to_status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Retired => Status::failed_precondition(refusal.to_string()),
        _ => Status::permission_denied(refusal.to_string()),
    }
}

fn from_status(status: Status) -> io::Error {
    match status.code() {
        Code::FailedPrecondition => Refusal::Retired.into(),
        Code::PermissionDenied => io::Error::new(io::ErrorKind::PermissionDenied, status),
        _ => io::Error::other(status),
    }
}

/// Moves frames from the wire into a bounded queue, until either side ends.
async fn pump(mut from: Streaming<Frame>, to: mpsc::Sender<Bytes>) {
    loop {
        tokio::select! {
            // The reader is gone: dropping the stream tells the other member.
            () = to.closed() => return,
            frame = from.message() => match frame {
                Ok(Some(frame)) => {
                    if to.send(frame.data).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(%status, "a stream between members broke");
                    return;
                }
            },
        }
    }
}

/// [`GrpcTransport`] as the consensus sees it.
pub struct SharedTransport(pub Arc<GrpcTransport>);

impl Transport for SharedTransport {
    fn open(&self, to: PeerNode, hello: Hello) -> BoxFuture<'static, io::Result<FrameStream>> {
        let transport = self.0.clone();
        Box::pin(async move {
            let key = (to, Lane::of(hello.kind));
            let channel = match transport.known(&key) {
                Some(channel) => channel,
                None => {
                    let channel = transport.dial(&key.0).await?;
                    transport.channels.lock().insert(key.clone(), channel.clone());
                    channel
                }
            };
            let opened = transport.open_on(channel, &hello).await;
            // A member that refuses us is there; only a channel that failed is worth nothing.
            if opened.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::PermissionDenied) {
                transport.channels.lock().remove(&key);
            }
            opened
        })
    }
}

/// Serves other members on `listener` until the future is dropped.
pub async fn serve(
    listener: TcpListener,
    security: Security,
    ensemble: Ensemble<TokioRuntime>,
) -> Result<(), tonic::transport::Error> {
    let uri_prefix = match &security {
        Security::Plain => None,
        Security::Tls(credentials) => Some(credentials.uri_prefix.clone()),
    };
    let service =
        PeerServer::new(Service { ensemble, uri_prefix }).max_decoding_message_size(FRAME_BYTES_MAX);
    let server = Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .add_service(service);
    match security {
        Security::Plain => {
            // A server that is handed its connections does not set this itself; without it, an answer waits for the
            // acknowledgement of the one before: 40 ms on every fourth write, measured.
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            server.serve_with_incoming(incoming).await
        }
        Security::Tls(credentials) => {
            let incoming = tls_incoming(listener, move || credentials.server());
            server.serve_with_incoming(ReceiverStream::new(incoming)).await
        }
    }
}

struct Service {
    ensemble: Ensemble<TokioRuntime>,
    uri_prefix: Option<String>,
}

impl Service {
    /// The pod that the caller's certificate names; `None` where there are no certificates.
    fn certified_pod(&self, request: &Request<Streaming<Frame>>) -> Result<Option<String>, Status> {
        let Some(prefix) = &self.uri_prefix else { return Ok(None) };
        let uri = request.extensions().get::<PeerInfo>().and_then(|info| info.uri.as_deref());
        let pod = uri.and_then(|uri| uri.strip_prefix(prefix.as_str()));
        let pod =
            pod.ok_or_else(|| Status::permission_denied("the certificate names no member of this ensemble"))?;
        Ok(Some(pod.to_owned()))
    }
}

#[tonic::async_trait]
impl Peer for Service {
    type OpenStream = BoxStream<'static, Result<Frame, Status>>;

    async fn open(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::OpenStream>, Status> {
        let pod = self.certified_pod(&request)?;
        let hello = request.metadata().get_bin(HELLO).and_then(|value| value.to_bytes().ok());
        let hello = hello.ok_or_else(|| Status::invalid_argument("the stream has no hello"))?;
        let hello = Hello::decode(hello).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (near, far) = FrameStream::pair();
        let serving = self.ensemble.accept(hello, pod.as_deref(), near);
        let serving = serving.map_err(|refusal| to_status(&refusal))?;
        let FrameStream { outgoing: received, incoming: sending } = far;
        tokio::spawn(pump(request.into_inner(), received));
        tokio::spawn(serving);
        Ok(Response::new(ReceiverStream::new(sending).map(|data| Ok(Frame { data })).boxed()))
    }
}
