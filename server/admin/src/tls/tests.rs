//! A real TLS server and client on loopback, with certificates made for each test.

use std::error::Error;
use std::sync::Mutex;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::v1::admin_client::AdminClient;
use crate::v1::admin_server::{Admin, AdminServer};
use crate::v1::*;

const POD_0: &str = "zkensemble://default/quickstart/quickstart-0";
const POD_1: &str = "zkensemble://default/quickstart/quickstart-1";
const OPERATOR: &str = "zkensemble://default/quickstart/operator";

struct Ca(CertifiedIssuer<'static, KeyPair>);

struct Leaf {
    cert: String,
    key: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    fn leaf(&self, uris: &[&str]) -> Leaf {
        let mut params = CertificateParams::default();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        let key = KeyPair::generate().unwrap();
        Leaf { cert: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }

    fn identity(&self, uri: &str) -> ClientIdentity {
        let leaf = self.leaf(&[uri]);
        ClientIdentity::load(&self.pem(), leaf.cert.as_bytes(), leaf.key.as_bytes()).unwrap()
    }
}

/// Answers Status with the caller's identity in `pod`; every other call is refused.
struct EchoIdentity(Mutex<u64>);

#[tonic::async_trait]
impl Admin for EchoIdentity {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let uri = request.extensions().get::<PeerInfo>().and_then(|peer| peer.uri.clone());
        let mut calls = self.0.lock().unwrap();
        *calls += 1;
        let pod = uri.ok_or_else(|| Status::unauthenticated("no identity"))?;
        Ok(Response::new(StatusResponse { pod, term: *calls, ..Default::default() }))
    }

    async fn leader_status(
        &self,
        _: Request<LeaderStatusRequest>,
    ) -> Result<Response<LeaderStatusResponse>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }

    async fn bootstrap(&self, _: Request<BootstrapRequest>) -> Result<Response<BootstrapResponse>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }

    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }

    async fn take_control(
        &self,
        _: Request<TakeControlRequest>,
    ) -> Result<Response<TakeControlResponse>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }

    async fn add_learner(
        &self,
        _: Request<AddLearnerRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }

    async fn change_voters(
        &self,
        _: Request<ChangeVotersRequest>,
    ) -> Result<Response<MembershipResponse>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }

    async fn transfer_leadership(
        &self,
        _: Request<TransferLeadershipRequest>,
    ) -> Result<Response<TransferLeadershipResponse>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }

    type SnapshotStream = tokio_stream::Empty<Result<SnapshotChunk, Status>>;

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }

    async fn restore(
        &self,
        _: Request<tonic::Streaming<RestoreChunk>>,
    ) -> Result<Response<RestoreResponse>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }

    async fn set_serving(
        &self,
        _: Request<SetServingRequest>,
    ) -> Result<Response<SetServingResponse>, Status> {
        Err(Status::permission_denied("not part of this test"))
    }
}

async fn serve(config: Arc<ServerConfig>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (accepted, incoming) = mpsc::channel::<Result<PeerStream, TlsError>>(1);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(stream) = PeerStream::accept(tcp, config.clone()).await {
                accepted.send(Ok(stream)).await.unwrap();
            }
        }
    });
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(AdminServer::new(EchoIdentity(Mutex::new(0))))
            .serve_with_incoming(ReceiverStream::new(incoming)),
    );
    address
}

async fn serve_as(ca: &Ca, uris: &[&str]) -> String {
    let leaf = ca.leaf(uris);
    serve(server_config(&ca.pem(), leaf.cert.as_bytes(), leaf.key.as_bytes()).unwrap()).await
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let ca = Ca::new();
    let address = serve_as(&ca, &[POD_0]).await;
    let mut client = AdminClient::new(connect(&address, POD_0, &ca.identity(OPERATOR)).await.unwrap());
    for calls in 1..=2 {
        let answer = client.status(StatusRequest {}).await.unwrap().into_inner();
        assert_eq!((answer.pod.as_str(), answer.term), (OPERATOR, calls));
    }
}

#[tokio::test]
async fn another_pod_of_the_same_ensemble_is_refused_by_the_dialler() {
    let ca = Ca::new();
    let address = serve_as(&ca, &[POD_1]).await;
    let error = connect(&address, POD_0, &ca.identity(OPERATOR)).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains(POD_0) && text.contains(&format!("found {POD_1}")), "{text}");
}

#[tokio::test]
async fn two_identities_in_one_certificate_are_none() {
    let ca = Ca::new();
    let address = serve_as(&ca, &[POD_0, POD_1]).await;
    let error = connect(&address, POD_0, &ca.identity(OPERATOR)).await.unwrap_err();
    assert!(chain(&error).contains("no single zkensemble:// identity"));
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let address = serve_as(&theirs, &[POD_0]).await;
    let error = connect(&address, POD_0, &ours.identity(OPERATOR)).await.unwrap_err();
    // Both CAs carry the same name, so it is the signature that tells them apart.
    assert!(chain(&error).contains("BadSignature"), "{}", chain(&error));
}

#[tokio::test]
async fn a_caller_of_another_ca_gets_no_answer() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let address = serve_as(&ours, &[POD_0]).await;
    // The caller trusts our CA but shows a certificate of another one.
    let leaf = theirs.leaf(&[OPERATOR]);
    let identity = ClientIdentity::load(&ours.pem(), leaf.cert.as_bytes(), leaf.key.as_bytes()).unwrap();
    // In TLS 1.3 the refusal reaches the caller after its own handshake is done.
    if let Ok(channel) = connect(&address, POD_0, &identity).await {
        AdminClient::new(channel).status(StatusRequest {}).await.unwrap_err();
    }
}

#[test]
fn a_key_that_does_not_fit_is_refused_at_load() {
    let ca = Ca::new();
    let (one, other) = (ca.leaf(&[POD_0]), ca.leaf(&[POD_0]));
    assert!(ClientIdentity::load(&ca.pem(), one.cert.as_bytes(), other.key.as_bytes()).is_err());
    assert!(server_config(&ca.pem(), one.cert.as_bytes(), other.key.as_bytes()).is_err());
    assert!(matches!(
        ClientIdentity::load(b"", one.cert.as_bytes(), one.key.as_bytes()),
        Err(TlsError::NoCertificate { what: "the CA" })
    ));
}
