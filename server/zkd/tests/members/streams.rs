//! What members say to each other, seen from a caller.

use bytes::Bytes;
use zke_consensus::grpc::{GrpcTransport, Security, SharedTransport};
use zke_consensus::peer::{Hello, StreamKind, Transport as _};
use zke_tree::MemberId;

use crate::members::Members;

/// Enough that an answer which a reset overtakes now and then is noticed.
const CALLS: u32 = 500;

#[test]
fn no_answer_of_a_stream_with_one_request_is_lost() {
    let members = Members::start();
    let hello = Hello {
        kind: StreamKind::Probe,
        ensemble: None,
        from: MemberId(77),
        from_pod: "server.9".to_owned(),
        from_incarnation: 1,
        newest_apply_level: 1,
        to: None,
    };
    let transport = SharedTransport(GrpcTransport::new(Security::Plain));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut lost = 0;
        for _ in 0..CALLS {
            let stream = transport.open(members.peer(1), hello.clone()).await.unwrap();
            lost += u32::from(stream.call(Bytes::new()).await.is_err());
        }
        assert_eq!(lost, 0, "answers of {CALLS} were lost");
    });
}
