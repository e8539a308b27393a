//! `zkd restore`: a new ensemble with the data of an archive, on a blank disk of a running member or, without an
//! operator, in an empty directory.
//!
//! The archive is read from end to end here before anything is sent, and again by the member before it changes
//! anything.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use zke_admin::v1::admin_client::AdminClient;
use zke_admin::v1::restore_chunk::Part;
use zke_admin::v1::{DiskState, RestoreChunk, RestoreRequest, StatusResponse};
use zke_consensus::{AdminError, Restoration, restore_offline};
use zke_storage::RealDisk;
use zke_tree::{EnsembleId, MemberId};

use super::ReportTo;
use super::file::{Verified, verify};
use super::folder::storage;
use super::member::{Door, chain, runtime, status, within};
use super::report::{Failure, Outcome, Reason, Report};
use crate::start::{ALONE_POD, LOG_SEGMENT_BYTES};

/// Bytes of one message; far below what gRPC takes by default.
const CHUNK_BYTES: usize = 256 << 10;
/// Messages between file and connection.
const CHUNKS_WAITING_MAX: usize = 4;
/// The member reads all of it, builds the state, and writes it down.
const RESTORE_DEADLINE: Duration = Duration::from_secs(3_600);
/// The member starts anew and reads the state back.
const RESTART_DEADLINE: Duration = Duration::from_secs(300);
const RESTART_POLL: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Args)]
pub struct Restore {
    file: PathBuf,
    /// The checksum that the file has to have
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    #[command(flatten)]
    door: Door,
    /// The id that the new ensemble gets
    #[arg(long, value_name = "HEX32", required_unless_present = "data_dir")]
    ensemble_id: Option<EnsembleId>,
    /// The id that the member's blank disk has
    #[arg(long, value_name = "HEX16", required_unless_present = "data_dir")]
    member_id: Option<MemberId>,
    /// The name of the member's pod
    #[arg(long, required_unless_present = "data_dir")]
    pod: Option<String>,
    /// Where other members will reach this one
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "data_dir")]
    peer_address: Option<String>,
    /// The highest epoch or term known from elsewhere
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch_above: u64,
    /// Make this empty directory that of a server that is alone; no server runs meanwhile
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["member", "socket", "ensemble_id", "member_id", "pod", "peer_address"]
    )]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) report: ReportTo,
}

impl Restore {
    pub(super) fn run(&self) -> Outcome<Report> {
        let verified = verify(&self.file, self.sha256.as_deref())?;
        let message = match &self.data_dir {
            Some(data_dir) => self.restore_directory(data_dir),
            None => self.restore_member(),
        };
        let with_artifact = |mut failure: Box<Failure>| {
            failure.artifact.get_or_insert_with(|| verified.artifact());
            failure
        };
        let message = message.map_err(with_artifact)?;
        Ok(Report { reason: Reason::Succeeded, message, artifact: Some(Verified::artifact(&verified)) })
    }

    fn restore_member(&self) -> Outcome<String> {
        let (Some(ensemble), Some(member), Some(pod), Some(peer_address)) =
            (self.ensemble_id, self.member_id, self.pod.clone(), self.peer_address.clone())
        else {
            return Err(Failure::new(
                Reason::InvalidRequest,
                "name the ensemble, the member, its pod and address",
            ));
        };
        let request = RestoreRequest {
            ensemble_id: ensemble.to_string(),
            expect_member_id: member.0,
            pod,
            peer_address,
            epoch_above: self.epoch_above,
        };
        runtime()?.block_on(self.send(request))
    }

    async fn send(&self, request: RestoreRequest) -> Outcome<String> {
        let mut member = self.door.open().await?;
        let before = Found::judge(&status(&mut member).await?, &request)?;
        let ensemble = request.ensemble_id.clone();
        if before == Found::Restored {
            return Ok(format!("was done already: the member holds ensemble {ensemble}"));
        }
        let mut sent = Ok(());
        if before == Found::Blank {
            let (chunks, stream) = mpsc::channel(CHUNKS_WAITING_MAX);
            let file =
                File::open(&self.file).map_err(|error| Failure::io("open the archive again", &error))?;
            let asked = request.clone();
            let feeding = tokio::task::spawn_blocking(move || feed(file, asked, &chunks));
            let answer = member.restore(ReceiverStream::new(stream));
            sent = within(RESTORE_DEADLINE, "whether it took the archive", answer).await.map(drop);
            if let Ok(Err(error)) = feeding.await {
                return Err(Failure::io("read the archive again", &error));
            }
        }
        match sent {
            // Perhaps it restarted before its answer was on the way.
            Err(failure) if failure.reason != Reason::MemberSilent => Err(failure),
            sent => self.wait_restored(&mut member, &request, sent).await,
        }
    }

    async fn wait_restored(
        &self,
        member: &mut AdminClient<Channel>,
        request: &RestoreRequest,
        sent: Outcome<()>,
    ) -> Outcome<String> {
        let begun = Instant::now();
        loop {
            match status(member).await.and_then(|status| Found::judge(&status, request)) {
                Ok(Found::Restored) => {
                    return Ok(format!("the member holds ensemble {}, alone in it", request.ensemble_id));
                }
                // The stream broke, and not because it was done.
                Ok(Found::Blank) if sent.is_err() => return sent.map(|()| String::new()),
                Err(failure) if failure.reason != Reason::MemberSilent => return Err(failure),
                Ok(_) | Err(_) => {}
            }
            if begun.elapsed() > RESTART_DEADLINE {
                let message = "the member took the archive and did not come back with it in time";
                return Err(Failure::new(Reason::MemberSilent, message));
            }
            sleep(RESTART_POLL).await;
        }
    }

    fn restore_directory(&self, data_dir: &Path) -> Outcome<String> {
        expect_empty(data_dir)?;
        let disk = RealDisk::open(data_dir).map_err(|error| storage(&error))?;
        let ensemble = EnsembleId(rand::random::<u128>().max(1).to_be_bytes());
        let asked = Restoration { ensemble, address: String::new(), epoch_above: self.epoch_above };
        let archive =
            File::open(&self.file).map_err(|error| Failure::io("open the archive again", &error))?;
        let archive = io::BufReader::with_capacity(1 << 20, archive);
        let fresh = rand::random::<u64>().max(1);
        restore_offline(&disk, LOG_SEGMENT_BYTES, ALONE_POD, fresh, asked, archive)
            .map_err(|error| because(&error))?;
        Ok(format!("start the server with: zkd --data-dir {}", data_dir.display()))
    }
}

/// What the member's disk is, as far as this matters.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Blank,
    /// It took the archive and starts anew.
    Underway,
    Restored,
}

impl Found {
    fn judge(status: &StatusResponse, asked: &RestoreRequest) -> Outcome<Found> {
        if status.disk_state() == DiskState::Corrupt {
            return Err(Failure::new(
                Reason::MemberRefused,
                format!("its disk is corrupt: {}", status.disk_detail),
            ));
        }
        if status.member_id != asked.expect_member_id {
            let (found, asked) = (MemberId(status.member_id), MemberId(asked.expect_member_id));
            return Err(Failure::new(
                Reason::MemberRefused,
                format!("its disk is member {found}, not {asked}"),
            ));
        }
        let same = status.ensemble_id == asked.ensemble_id;
        match status.disk_state() {
            DiskState::Blank => Ok(Found::Blank),
            DiskState::Member if same => Ok(Found::Restored),
            DiskState::Joining if same => Ok(Found::Underway),
            _ => {
                let message =
                    format!("its disk belongs to ensemble {}; restore into a new one", status.ensemble_id);
                Err(Failure::new(Reason::DiskNotBlank, message))
            }
        }
    }
}

/// Ends with the file, or when nobody takes its bytes any more.
fn feed(mut file: File, request: RestoreRequest, chunks: &mpsc::Sender<RestoreChunk>) -> io::Result<()> {
    let mut part = Part::Request(request);
    loop {
        if chunks.blocking_send(RestoreChunk { part: Some(part) }).is_err() {
            return Ok(());
        }
        let mut data = Vec::with_capacity(CHUNK_BYTES);
        Read::by_ref(&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut data)?;
        if data.is_empty() {
            return Ok(());
        }
        part = Part::Data(data);
    }
}

/// A directory that is not there is as good as an empty one.
fn expect_empty(data_dir: &Path) -> Outcome<()> {
    let read = |error: &io::Error| Failure::io(format_args!("read {}", data_dir.display()), error);
    let entries = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| read(&error))?,
    };
    for entry in entries {
        let name = entry.map_err(|error| read(&error))?.file_name();
        // What a file system and an earlier, refused attempt leave.
        if name != "lost+found" && name != "lock" {
            let message = format!("{} is not empty: it holds {}", data_dir.display(), name.display());
            return Err(Failure::new(Reason::DiskNotBlank, message));
        }
    }
    Ok(())
}

fn because(error: &AdminError) -> Box<Failure> {
    if matches!(error, AdminError::Archive(_)) {
        return Failure::new(Reason::Corrupt, chain(error));
    }
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(source) = cause {
        if let Some(io) = source.downcast_ref::<io::Error>()
            && io.kind() != io::ErrorKind::Other
        {
            return Failure::io("write the data directory", io);
        }
        cause = source.source();
    }
    Failure::new(Reason::IoFailed, chain(error))
}
