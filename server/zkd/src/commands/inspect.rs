//! `zkd inspect`: what is on a member's disk, read from end to end and not changed.
//!
//! For whoever has a disk that a server does not start from, or a copy of one. Says what a start would find and what
//! it would refuse. Prints no data of clients and no passwords: paths and sizes only.

use std::fmt::{self, Display};
use std::io::{self, Read as _, Write};
use std::path::PathBuf;

use clap::Args;
use zke_storage::log::{LogInspection, SegmentFacts};
use zke_storage::{
    Disk as _, Entry, Identity, LogId, Payload, ReadOnlyDisk, SnapshotFingerprint, SnapshotStore,
    StorageError,
};
use zke_tree::{Command, Proposal, SnapshotReader, State, WriteOp};

/// Entries are read from the files in pieces of this size.
const ENTRIES_BYTES: usize = 4 << 20;
const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;

#[derive(Debug, Clone, Args)]
pub struct Inspect {
    /// The data directory of a member that does not run, or a copy of it
    directory: PathBuf,
    /// Where its log is, if not there as well (dataLogDir)
    #[arg(long, value_name = "DIRECTORY")]
    log: Option<PathBuf>,
    /// Print every entry of the log
    #[arg(long)]
    entries: bool,
}

/// Why a look did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(
        "snapshot of entry {last}: its blocks are whole, but they hold no state that this build can read: {problem}"
    )]
    Snapshot { last: u64, problem: String },
    #[error("entry {index} of the log is whole, but no proposal that this build can read: {problem}")]
    Entry { index: u64, problem: String },
    #[error("the log begins behind entry {purged}, and no snapshot goes as far: what lies between is lost")]
    Gap { purged: u64 },
    #[error("cannot list the directory, or print what is there")]
    Io(#[from] io::Error),
}

impl Inspect {
    /// Prints what is there, as far as it can be read.
    ///
    /// # Errors
    /// The first [`Flaw`]; what was read before it is printed.
    pub fn run(&self, out: &mut impl Write) -> Result<(), Flaw> {
        let disk = ReadOnlyDisk::open(&self.directory)?;
        let Some(identity) = Identity::load(&disk)? else {
            let names = disk.list()?;
            if names.iter().any(|name| name.starts_with("log-") || name.starts_with("snapshot-")) {
                return Err(StorageError::Missing { file: "identity".to_owned() }.into());
            }
            return Ok(writeln!(out, "no member's disk: there is no identity, no log and no snapshot")?);
        };
        print_identity(out, &identity)?;
        let newest = print_snapshots(out, &disk)?;
        print_others(out, &disk)?;
        let log_disk = match &self.log {
            Some(directory) => ReadOnlyDisk::open(directory)?,
            None => disk,
        };
        let Some(log) = LogInspection::of(&log_disk, identity.member)? else {
            return match identity.has_log() {
                true => Err(StorageError::Missing { file: "log-*".to_owned() }.into()),
                false => Ok(writeln!(out, "no log yet")?),
            };
        };
        print_log(out, &log)?;
        check_entries(out, &log, self.entries)?;
        match log.recovered.purged {
            Some(purged) if newest.is_none_or(|newest| newest < purged) => {
                Err(Flaw::Gap { purged: purged.index })
            }
            _ => Ok(writeln!(out, "everything is whole")?),
        }
    }
}

fn print_identity(out: &mut impl Write, identity: &Identity) -> io::Result<()> {
    let Identity { ensemble, member, incarnation, state } = identity;
    let ensemble = ensemble.map_or_else(|| "none".to_owned(), |ensemble| ensemble.to_string());
    writeln!(out, "identity: member {member}, ensemble {ensemble}, {state:?}, started {incarnation} times")
}

/// Each is read to its end; returns the last entry of the newest.
fn print_snapshots(out: &mut impl Write, disk: &ReadOnlyDisk) -> Result<Option<LogId>, Flaw> {
    let store = SnapshotStore::look(disk.clone());
    let snapshots = store.list()?;
    for last in &snapshots {
        let bytes = store.source(*last)?.file_bytes();
        let state = read_snapshot(&store, *last)?;
        writeln!(
            out,
            "snapshot: entry {} of term {}, {bytes} bytes: zxid {}, {} nodes, {} sessions, digest {:016x}",
            last.index,
            last.term,
            state.last_zxid(),
            state.node_count(),
            state.session_count(),
            state.digest()
        )?;
    }
    Ok(snapshots.first().copied())
}

fn read_snapshot(store: &SnapshotStore<ReadOnlyDisk>, last: LogId) -> Result<State, Flaw> {
    let flaw = |problem: &dyn Display| Flaw::Snapshot { last: last.index, problem: problem.to_string() };
    let mut content = store.read(last)?;
    let mut state = SnapshotReader::new();
    let mut chunk = vec![0; SNAPSHOT_CHUNK_BYTES];
    loop {
        let read = content.read(&mut chunk).map_err(|error| {
            // The reader wraps what storage says.
            let storage = error.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>());
            storage.map_or_else(|| flaw(&error), |storage| Flaw::Storage(storage.clone()))
        })?;
        if read == 0 {
            return state.finish().map_err(|error| flaw(&error));
        }
        state.feed(&chunk[..read]).map_err(|error| flaw(&error))?;
    }
}

/// Files that mean nothing, or not yet.
fn print_others(out: &mut impl Write, disk: &ReadOnlyDisk) -> Result<(), Flaw> {
    for name in disk.list()? {
        if name.ends_with(".tmp") {
            writeln!(out, "{name}: was being written when a process ended; means nothing")?;
        } else if name.starts_with("staged-") {
            writeln!(out, "{name}: an archive that the next start takes, if the identity says Restoring")?;
        }
    }
    if let Some(SnapshotFingerprint { last, file_bytes, .. }) = SnapshotStore::look(disk.clone()).partial()? {
        writeln!(
            out,
            "partial: of the snapshot of entry {} of term {}, {file_bytes} bytes, that another member was sending; a \
             transfer of the same goes on with it",
            last.index, last.term
        )?;
    }
    Ok(())
}

fn print_log(out: &mut impl Write, log: &LogInspection<ReadOnlyDisk>) -> io::Result<()> {
    for SegmentFacts { file, bytes, first_record, last_index } in &log.segments {
        let entries =
            last_index.map_or_else(|| "no entry".to_owned(), |last| format!("entries up to {last}"));
        writeln!(out, "{file}: {bytes} bytes, records from {first_record}, {entries}")?;
    }
    let recovered = &log.recovered;
    let id = |id: Option<LogId>| {
        id.map_or_else(|| "none".to_owned(), |id| format!("{} of term {}", id.index, id.term))
    };
    writeln!(
        out,
        "log: {} records, last entry {}, purged up to {}",
        log.last_record,
        id(recovered.last),
        id(recovered.purged)
    )?;
    match recovered.vote {
        None => writeln!(out, "vote: none")?,
        Some(vote) => {
            let member = vote.member.map_or_else(|| "nobody".to_owned(), |member| format!("{member:016x}"));
            let elected = if vote.committed { ", who leads that term" } else { "" };
            writeln!(out, "vote: term {} for {member}{elected}", vote.term)?;
        }
    }
    if let Some(torn) = &recovered.torn {
        writeln!(
            out,
            "{}: from byte {} on stands a flush that never finished; a start cuts it off, nobody was told of it",
            torn.file, torn.offset
        )?;
    }
    Ok(())
}

/// Reads every entry that is left, and decodes it.
fn check_entries(out: &mut impl Write, log: &LogInspection<ReadOnlyDisk>, print: bool) -> Result<(), Flaw> {
    let Some(last) = log.recovered.last else { return Ok(()) };
    let mut next = log.recovered.purged.map_or(0, |purged| purged.index + 1);
    while next <= last.index {
        let entries = log.reader.entries(next..last.index + 1, ENTRIES_BYTES)?;
        let Some(end) = entries.last().map(|entry| entry.id.index + 1) else { break };
        for entry in entries {
            let index = entry.id.index;
            let shown = Shown::of(entry).map_err(|problem| Flaw::Entry { index, problem })?;
            if print {
                writeln!(out, "{shown}")?;
            }
        }
        next = end;
    }
    Ok(())
}

/// One entry on one line.
struct Shown {
    id: LogId,
    content: Content,
}

enum Content {
    Blank,
    Membership { bytes: usize },
    Proposal(Box<Proposal>),
}

impl Shown {
    fn of(entry: Entry) -> Result<Shown, String> {
        let content = match entry.payload {
            Payload::Blank => Content::Blank,
            Payload::Membership(bytes) => Content::Membership { bytes: bytes.len() },
            Payload::Proposal(bytes) => {
                Content::Proposal(Box::new(Proposal::decode(bytes).map_err(|error| error.to_string())?))
            }
        };
        Ok(Shown { id: entry.id, content })
    }
}

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of term {}: ", self.id.index, self.id.term)?;
        match &self.content {
            Content::Blank => f.write_str("a new leader"),
            Content::Membership { bytes } => write!(f, "membership, {bytes} bytes"),
            Content::Proposal(proposal) => {
                let Proposal { time_ms, origin, first_sequence, commands, .. } = &**proposal;
                write!(f, "{time_ms} ms, from {} number {first_sequence}:", origin.member)?;
                commands.iter().try_for_each(|command| write!(f, " {};", Short(command)))
            }
        }
    }
}

/// A command without data and secrets.
struct Short<'a>(&'a Command);

impl Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Command::Client { session, op, .. } => write!(f, "session {session} {}", ShortOp(op)),
            Command::CreateSession { session, timeout_ms, .. } => {
                write!(f, "begin session {session} of {timeout_ms} ms")
            }
            Command::AttachSession { session, .. } => write!(f, "attach session {session}"),
            Command::CloseSession { session, .. } => write!(f, "close session {session}"),
            other => write!(f, "{other:?}"),
        }
    }
}

struct ShortOp<'a>(&'a WriteOp);

impl Display for ShortOp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |data: &Option<bytes::Bytes>| data.as_ref().map_or(0, bytes::Bytes::len);
        match self.0 {
            WriteOp::Create { path, data, .. } => write!(f, "create {path:?} {} bytes", size(data)),
            WriteOp::CreateContainer { path, data, .. } => {
                write!(f, "createContainer {path:?} {} bytes", size(data))
            }
            WriteOp::CreateTtl { path, data, ttl_ms, .. } => {
                write!(f, "createTTL {path:?} {} bytes for {ttl_ms} ms", size(data))
            }
            WriteOp::Delete { path, .. } => write!(f, "delete {path:?}"),
            WriteOp::SetData { path, data, .. } => write!(f, "setData {path:?} {} bytes", size(data)),
            WriteOp::SetAcl { path, .. } => write!(f, "setACL {path:?}"),
            WriteOp::Check { path, .. } => write!(f, "check {path:?}"),
            WriteOp::Reconfig(_) => write!(f, "reconfig"),
            WriteOp::Multi { ops } => {
                f.write_str("multi(")?;
                for (at, op) in ops.iter().enumerate() {
                    write!(f, "{}{}", if at > 0 { ", " } else { "" }, ShortOp(op))?;
                }
                f.write_str(")")
            }
        }
    }
}
