//! A snapshot on its way from one member to another: both ends of the stream that carries it.
//!
//! ```text
//! sender                                    receiver
//!   header ──────────────────────────────►    what is here of these very bytes?
//!   ◄──────────────── working …  from offset
//!   bytes from there on ─────────────────►    written, synced now and then
//!   ◄──────────────── working, for each piece
//!   end ─────────────────────────────────►    read back as a whole, given its name, installed
//!   ◄────────────────────── working …  done
//! ```
//!
//! A stream may break anywhere: openraft tries again, and the next one goes on behind what the receiver has on its disk.
//! Files are read and written by a worker, never where Raft runs. Neither end trusts the other with a length: what is
//! announced, sent and asked for has to fit together, and no more than a piece is held at a time.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use openraft::AsyncRuntime;
use tokio::sync::mpsc;

use crate::peer::{self, FrameStream};
use crate::snapshots::{Outgoing, SnapshotHandle, Snapshots};
use crate::transfer_frame::{Answer, Header};
use crate::types::RaftVote;

/// A transfer of which nothing moved for so long is over: neither a piece that was taken nor a word that there is work.
/// Longer than a network needs to find its way again, or a disk to come back from a bad moment, for a new stream costs
/// a look at all that is there; short, since the member behind stays behind while nobody notices.
const STALL_DEADLINE: Duration = Duration::from_secs(10);
/// How often a receiver says that it is at work on what it has: some of these may come late.
const WORKING_INTERVAL: Duration = Duration::from_secs(1);

/// Sends what the other end has not got. Returns its vote: one that is later than the header's says that it refused.
pub(crate) async fn send<R: AsyncRuntime>(
    stream: FrameStream,
    header: Header,
    file: &Outgoing,
) -> io::Result<RaftVote> {
    let FrameStream { outgoing, mut incoming } = stream;
    in_time::<R, _>(outgoing.send(header.encode())).await?.map_err(|_| peer::closed())?;
    let mut offset = loop {
        match hear::<R>(&mut incoming).await? {
            Answer::Working => {}
            Answer::From { offset } if offset <= header.file_bytes => break offset,
            Answer::Done { vote } if vote > header.vote => return Ok(vote),
            answer => return Err(out_of_turn(&answer)),
        }
    };
    while offset < header.file_bytes {
        let piece = in_time::<R, _>(file.piece(offset)).await??;
        if piece.is_empty() {
            return Err(io::Error::other("the file of the snapshot is shorter than it was"));
        }
        offset += piece.len() as u64;
        hand_over::<R>(&outgoing, &mut incoming, piece).await?;
    }
    drop(outgoing);
    loop {
        match hear::<R>(&mut incoming).await? {
            Answer::Working => {}
            Answer::Done { vote } => return Ok(vote),
            answer @ Answer::From { .. } => return Err(out_of_turn(&answer)),
        }
    }
}

/// Waits for room for a piece; what the other end says meanwhile shows that it is there.
async fn hand_over<R: AsyncRuntime>(
    outgoing: &mpsc::Sender<Bytes>,
    incoming: &mut mpsc::Receiver<Bytes>,
    piece: Bytes,
) -> io::Result<()> {
    loop {
        let moved = in_time::<R, _>(async {
            tokio::select! {
                biased;
                frame = incoming.recv() => Some(frame),
                permit = outgoing.reserve() => {
                    if let Ok(permit) = permit {
                        permit.send(piece.clone());
                        return None;
                    }
                    Some(None)
                }
            }
        });
        match moved.await? {
            None => return Ok(()),
            Some(frame) => match answer(frame)? {
                Answer::Working => {}
                answer => return Err(out_of_turn(&answer)),
            },
        }
    }
}

/// Stores what the other end sends. Returns it once all of it is here and good, under its name.
pub(crate) async fn receive<R: AsyncRuntime>(
    snapshots: &Snapshots,
    stream: &mut FrameStream,
    header: &Header,
) -> io::Result<SnapshotHandle> {
    let FrameStream { outgoing, incoming } = stream;
    let mut file = working::<R, _>(outgoing, snapshots.receive(header)).await?;
    let last = header.meta.last_log_id;
    tracing::info!(?last, from = file.offset(), bytes = header.file_bytes, "receives a snapshot");
    say::<R>(outgoing, &Answer::From { offset: file.offset() }).await?;
    while file.offset() < header.file_bytes {
        let piece = in_time::<R, _>(incoming.recv()).await?.ok_or_else(peer::closed)?;
        if piece.is_empty() {
            return Err(io::Error::other("a piece of a snapshot has no bytes"));
        }
        file = file.write(piece).await?;
        say::<R>(outgoing, &Answer::Working).await?;
    }
    if in_time::<R, _>(incoming.recv()).await?.is_some() {
        return Err(io::Error::other("there are more bytes of a snapshot than were announced"));
    }
    working::<R, _>(outgoing, file.finish(&header.meta)).await
}

/// Waits for what may take long, and says all the while that there is work.
pub(crate) async fn working<R: AsyncRuntime, T>(
    outgoing: &mpsc::Sender<Bytes>,
    work: impl Future<Output = T> + Send,
) -> T {
    let mut work = pin!(work);
    loop {
        if let Ok(done) = R::timeout(WORKING_INTERVAL, work.as_mut()).await {
            return done;
        }
        // Whoever does not listen any more is told nothing; the work is not in vain.
        let _ = outgoing.try_send(Answer::Working.encode());
    }
}

/// Waits for something that has to move.
pub(crate) async fn in_time<R: AsyncRuntime, T>(moves: impl Future<Output = T> + Send) -> io::Result<T> {
    let moved = R::timeout(STALL_DEADLINE, moves).await;
    moved.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nothing moves of a snapshot's transfer"))
}

async fn say<R: AsyncRuntime>(outgoing: &mpsc::Sender<Bytes>, answer: &Answer) -> io::Result<()> {
    in_time::<R, _>(outgoing.send(answer.encode())).await?.map_err(|_| peer::closed())
}

async fn hear<R: AsyncRuntime>(incoming: &mut mpsc::Receiver<Bytes>) -> io::Result<Answer> {
    answer(in_time::<R, _>(incoming.recv()).await?)
}

fn answer(frame: Option<Bytes>) -> io::Result<Answer> {
    Answer::decode(frame.ok_or_else(peer::closed)?).map_err(io::Error::other)
}

fn out_of_turn(answer: &Answer) -> io::Error {
    io::Error::other(format!("the other end of a snapshot's transfer said {answer:?}, which does not fit"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write as _;
    use std::time::Instant;

    use openraft::Snapshot;
    use openraft_rt_tokio::TokioRuntime as Tokio;
    use zke_storage::{LogId, SimDisk, SnapshotMeta, SnapshotStore};

    use super::*;
    use crate::codec;
    use crate::snapshots::RaftSnapshot;
    use crate::types::{PeerNode, RaftMembership, RaftSnapshotMeta, RaftStoredMembership};
    use crate::worker::Worker;

    const LAST: LogId = LogId { term: 3, index: 9 };
    const CONTENT_BYTES: usize = 700_000;
    /// Behind the first block.
    const PART_BYTES: usize = 300_000;

    fn vote(term: u64) -> RaftVote {
        RaftVote::new_committed(term, 1)
    }

    fn on(disk: &SimDisk) -> (Snapshots, SnapshotStore<SimDisk>) {
        let store = SnapshotStore::open(disk.clone(), 3).expect("a simulated disk opens");
        (Snapshots::new(store.clone(), Worker::Inline, Worker::Inline), store)
    }

    /// A member's snapshot, and the bytes of its file.
    async fn sender() -> (Header, Outgoing, Vec<u8>) {
        let (snapshots, store) = on(&SimDisk::new(1));
        let membership = codec::encode_membership(&RaftMembership::default());
        let mut writer =
            store.create(&SnapshotMeta { last: LAST, membership_id: None, membership }).expect("a name");
        writer.write_all(&[7; CONTENT_BYTES]).expect("room");
        writer.finish().expect("room");
        let Snapshot { meta, snapshot }: RaftSnapshot =
            snapshots.current().expect("good").expect("there is one");
        let file = snapshot.outgoing().await.expect("it is there");
        let bytes = store.source(LAST).and_then(|source| source.chunk(0, usize::MAX)).expect("it is there");
        (Header::of(vote(3), meta, file.fingerprint()), file, bytes)
    }

    /// Receives what comes in these frames, and what the other end was told.
    async fn receive_frames(
        disk: &SimDisk,
        header: &Header,
        frames: &[&[u8]],
    ) -> (io::Result<()>, Vec<Answer>) {
        let (mut near, far) = FrameStream::pair();
        let FrameStream { outgoing, mut incoming } = far;
        for frame in frames {
            outgoing.send(Bytes::copy_from_slice(frame)).await.expect("there is room");
        }
        drop(outgoing);
        let received = receive::<Tokio>(&on(disk).0, &mut near, header).await;
        drop(near);
        let mut answers = Vec::new();
        while let Some(frame) = incoming.recv().await {
            answers.push(Answer::decode(frame).expect("own encoding"));
        }
        (received.map(|_| ()), answers)
    }

    /// Sends to somebody who answers with these frames, whatever comes.
    async fn send_to(frames: &[Bytes]) -> io::Result<RaftVote> {
        let (header, file, _) = sender().await;
        let (near, mut far) = FrameStream::pair();
        for frame in frames {
            far.outgoing.send(frame.clone()).await.expect("there is room");
        }
        let listens = async {
            while far.incoming.recv().await.is_some() {}
            drop(far.outgoing);
        };
        let (sent, ()) = tokio::join!(send::<Tokio>(near, header, &file), listens);
        sent
    }

    #[tokio::test]
    async fn a_broken_transfer_is_gone_on_with_and_ends_with_the_file() {
        let (header, file, bytes) = sender().await;
        let disk = SimDisk::new(2);
        let (cut_short, answers) = receive_frames(&disk, &header, &[&bytes[..PART_BYTES]]).await;
        assert_eq!(cut_short.expect_err("it is not all").kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(answers, [Answer::From { offset: 0 }, Answer::Working]);
        assert_eq!(on(&disk).1.list().expect("it is read"), []);

        let (_, answers) = receive_frames(&disk, &header, &[]).await;
        assert!(
            matches!(answers[..], [Answer::From { offset }] if (262_144..PART_BYTES as u64).contains(&offset)),
            "{answers:?}"
        );

        let (near, mut far) = FrameStream::pair();
        let (snapshots, store) = on(&disk);
        let receives = async {
            let header = far.incoming.recv().await.expect("it begins with a header");
            let header = Header::decode(header).expect("own encoding");
            let received = receive::<Tokio>(&snapshots, &mut far, &header).await;
            say::<Tokio>(&far.outgoing, &Answer::Done { vote: vote(3) })
                .await
                .expect("somebody waits for it");
            received
        };
        let (received, sent) = tokio::join!(receives, send::<Tokio>(near, header.clone(), &file));
        received.expect("all of it came");
        assert_eq!(sent.expect("it was told"), vote(3));
        assert_eq!(store.verify(LAST).expect("it is whole").last, LAST);
        // The answer got lost: nothing is sent again.
        let (again, answers) = receive_frames(&disk, &header, &[]).await;
        again.expect("it is there");
        assert_eq!(answers, [Answer::From { offset: bytes.len() as u64 }]);
    }

    #[tokio::test]
    async fn bytes_that_are_not_what_was_announced_are_an_error_and_nothing_is_kept_of_them() {
        let (header, _, bytes) = sender().await;
        let longer = [&bytes[..], b"x"].concat();
        let mut flipped = bytes.clone();
        flipped[PART_BYTES] ^= 1;
        let other_members = {
            let nodes = BTreeMap::from([(1, PeerNode::default())]);
            let membership = RaftMembership::new(vec![[1].into()], nodes).expect("one voter");
            let last_membership = RaftStoredMembership::new(None, membership);
            Header { meta: RaftSnapshotMeta { last_membership, ..header.meta.clone() }, ..header.clone() }
        };
        let of_nothing =
            Header { meta: RaftSnapshotMeta { last_log_id: None, ..header.meta.clone() }, ..header.clone() };
        for (header, frames, complaint) in [
            (&header, &[&longer[..]][..], "above the limit"),
            (&header, &[&bytes, b"x"], "more bytes of a snapshot than were announced"),
            (&header, &[&bytes, b""], "more bytes of a snapshot than were announced"),
            (&header, &[b"", &bytes], "has no bytes"),
            (&header, &[&bytes[..1000], &bytes], "above the limit"),
            (&header, &[&flipped], "is corrupt"),
            (&Header { crc: header.crc ^ 1, ..header.clone() }, &[&bytes], "is corrupt"),
            (&Header { file_bytes: 3, ..header.clone() }, &[b"abc"], "is corrupt"),
            (&Header { file_bytes: 0, ..header.clone() }, &[], "is corrupt"),
            (&Header { file_bytes: u64::MAX, ..header.clone() }, &[&bytes], "closed the stream"),
            (&other_members, &[&bytes], "another snapshot than it announced"),
            (&of_nothing, &[&bytes], "of nothing"),
        ] {
            let disk = SimDisk::new(2);
            let (received, _) = receive_frames(&disk, header, frames).await;
            let error = received.expect_err("it is not what was announced").to_string();
            assert!(error.contains(complaint), "{complaint}: {error}");
            assert_eq!(on(&disk).1.list().expect("it is read"), [], "{complaint}");
        }
    }

    #[tokio::test]
    async fn answers_that_do_not_fit_end_the_transfer() {
        let (len, from) = (sender().await.2.len() as u64, |offset| Answer::From { offset }.encode());
        let (working, done) = (Answer::Working.encode(), |term| Answer::Done { vote: vote(term) }.encode());
        for (frames, complaint) in [
            (&[from(len + 1)][..], "does not fit"),
            (&[from(u64::MAX)], "does not fit"),
            (&[working.clone(), from(0), from(0)], "does not fit"),
            (&[done(3)], "does not fit"),
            (&[from(len), from(len)], "does not fit"),
            (&[Bytes::from_static(b"\x09")], "cannot decode"),
            (&[Bytes::new()], "cannot decode"),
            (&[from(0), working.clone()], "closed the stream"),
            (&[from(len)], "closed the stream"),
        ] {
            let error = send_to(frames).await.expect_err(complaint).to_string();
            assert!(error.contains(complaint), "{complaint}: {error}");
        }
        assert_eq!(send_to(&[working.clone(), done(4)]).await.expect("a refusal"), vote(4));
        assert_eq!(send_to(&[from(len), working, done(3)]).await.expect("it is there"), vote(3));
    }

    #[tokio::test]
    async fn a_transfer_in_which_nothing_moves_ends() {
        let begun = Instant::now();
        let (header, file, _) = sender().await;
        let (near, _held) = FrameStream::pair();
        let (mut silent, _held_too) = FrameStream::pair();
        let snapshots = on(&SimDisk::new(2)).0;
        let (sent, received) = tokio::join!(
            send::<Tokio>(near, header.clone(), &file),
            receive::<Tokio>(&snapshots, &mut silent, &header)
        );
        assert_eq!(sent.expect_err("nobody answers").kind(), io::ErrorKind::TimedOut);
        assert_eq!(received.map(|_| ()).expect_err("nothing comes").kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < STALL_DEADLINE * 2);
    }
}
