//! One member as under the operator: certificates for each who calls, a blank disk, and a Job that fills it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use tempfile::TempDir;
use tonic::transport::Channel;
use zke_admin::tls::{ClientIdentity, connect};
use zke_admin::v1::admin_client::AdminClient;
use zke_admin::v1::{DiskState, SetServingRequest, StatusRequest, StatusResponse, TakeControlRequest};
use zke_e2e::ports::free_ports;

use crate::program::{Ended, Server, text, turn, zkd};
use crate::raw::{self, Raw};

const MEMBER: &str = "zkensemble://apps/prod/prod-0";

struct Certificates {
    ca: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Certificates {
    fn new(dir: &Path) -> Certificates {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Certificates { ca, dir: dir.to_owned() }
    }

    /// A folder with the CA and one identity, its files called `leaf`.
    fn folder(&self, name: &str, leaf: &str) -> PathBuf {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).unwrap();
        let mut params = CertificateParams::default();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("zkensemble://apps/prod/{name}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        fs::write(dir.join("ca.crt"), self.ca.pem()).unwrap();
        fs::write(dir.join(format!("{leaf}.crt")), params.signed_by(&key, &self.ca).unwrap().pem()).unwrap();
        fs::write(dir.join(format!("{leaf}.key")), key.serialize_pem()).unwrap();
        dir
    }
}

struct Operator {
    runtime: tokio::runtime::Runtime,
    member: AdminClient<Channel>,
}

impl Operator {
    fn connect(address: &str, tls_dir: &Path) -> Operator {
        let read = |name: &str| fs::read(tls_dir.join(name)).unwrap();
        let identity = ClientIdentity::load(&read("ca.crt"), &read("tls.crt"), &read("tls.key")).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let begun = Instant::now();
        let channel = runtime.block_on(async {
            loop {
                match connect(address, MEMBER, &identity).await {
                    Ok(channel) => return channel,
                    Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Operator { runtime, member: AdminClient::new(channel) }
    }

    fn status(&mut self) -> StatusResponse {
        self.runtime.block_on(self.member.status(StatusRequest {})).unwrap().into_inner()
    }

    fn let_clients_in(&mut self) {
        let take = self.member.take_control(TakeControlRequest { holder: "test".to_owned() });
        let control_epoch = self.runtime.block_on(take).unwrap().into_inner().control_epoch;
        assert_eq!(control_epoch, 1, "the old ensemble's operators mean nothing here");
        let serve = self.member.set_serving(SetServingRequest { control_epoch, serving: true });
        self.runtime.block_on(serve).unwrap();
    }
}

#[test]
fn a_job_fills_a_blank_disk_and_each_identity_does_its_own() {
    let _turn = turn();
    let temp = TempDir::new().unwrap();
    let archives = temp.path().join("archives");
    let source = Server::start(&temp.path().join("source"));
    let (mut client, _) = Raw::connect(source.clients());
    client.call(raw::create("/kept", "data", 0)).unwrap();
    client.call(raw::create("/gone", "data", 1)).unwrap();
    let taken = zkd(&["backup", "--socket", text(&source.socket()), "--name", "n", "--to", text(&archives)]);
    let file = archives.join(taken.succeeded()["path"].as_str().unwrap());

    let certificates = Certificates::new(temp.path());
    let [admin, peer] = free_ports(2).unwrap()[..] else { panic!("two were asked for") };
    let tls_dir = certificates.folder("prod-0", "prod-0");
    let lines = format!(
        "zke.mode=managed\nzke.peerPort={peer}\nzke.adminPort={admin}\nzke.tlsDir={}\n\
         zke.peerAddress={{pod}}.peers.apps.svc:{peer}\nzke.ensemble=apps/prod\n",
        tls_dir.display()
    );
    let server = Server::launch(&temp.path().join("data"), &lines, &["--pod-name", "prod-0"]);
    let address = format!("127.0.0.1:{admin}");
    let mut operator = Operator::connect(&address, &certificates.folder("operator", "tls"));
    let blank = operator.status();
    assert_eq!(blank.disk_state(), DiskState::Blank);

    let (for_backup, for_restore) =
        (certificates.folder("backup", "tls"), certificates.folder("restore", "tls"));
    let backup = |tls_dir: &Path, name: &str| {
        zkd(&[
            "backup",
            "--member",
            MEMBER,
            "--address",
            &address,
            "--tls-dir",
            text(tls_dir),
            "--name",
            name,
            "--to",
            text(&archives),
        ])
    };
    let member_id = format!("{:016x}", blank.member_id);
    let restore = |tls_dir: &Path, ensemble: &str, member_id: &str, pod: &str| -> Ended {
        zkd(&[
            "restore",
            text(&file),
            "--member",
            MEMBER,
            "--address",
            &address,
            "--tls-dir",
            text(tls_dir),
            "--ensemble-id",
            ensemble,
            "--member-id",
            member_id,
            "--pod",
            pod,
            "--peer-address",
            "prod-0.peers.apps.svc:2888",
            "--epoch-above",
            "700",
        ])
    };
    let (ensemble, another) = ("ab".repeat(16), "cd".repeat(16));
    backup(&for_backup, "early").failed("MemberRefused", "no ensemble");
    restore(&for_backup, &ensemble, &member_id, "prod-0").failed("MemberRefused", "may not call Restore");
    restore(&for_restore, &ensemble, &"1".repeat(16), "prod-0").failed("MemberRefused", "its disk is member");
    restore(&for_restore, &ensemble, &member_id, "prod-1").failed("MemberRefused", "this is pod prod-0");
    assert_eq!(operator.status().disk_state(), DiskState::Blank);

    let restored = restore(&for_restore, &ensemble, &member_id, "prod-0");
    restored.succeeded();
    let again = restore(&for_restore, &ensemble, &member_id, "prod-0");
    again.succeeded();
    assert!(again.message().starts_with("was done already"), "{}", again.message());
    restore(&for_restore, &another, &member_id, "prod-0").failed("DiskNotBlank", &ensemble);

    let status = operator.status();
    assert_eq!((status.disk_state(), &status.ensemble_id), (DiskState::Member, &ensemble));
    assert_eq!((status.member_id, status.serving), (blank.member_id, false));
    assert_eq!(status.members[0].peer_address, "prod-0.peers.apps.svc:2888");
    assert!(!server.serves(), "nobody is let in before the operator says so");
    operator.let_clients_in();
    server.wait_serving();
    let (mut client, _) = Raw::connect(server.clients());
    assert_eq!(raw::data_of(client.call(raw::get("/kept"))).0, "data");
    assert!(client.call(raw::exists("/gone")).is_err());
    let created = raw::stat_of(client.call(raw::set("/kept", "new")));
    assert!(created.mzxid.epoch() > 700 + 65_536, "{}", created.mzxid);

    backup(&for_restore, "late").failed("MemberRefused", "may not call Snapshot");
    let artifact = backup(&for_backup, "late").succeeded();
    assert_eq!(artifact["ensembleID"], ensemble.as_str());
    assert_eq!(artifact["memberID"], member_id.as_str());
}
