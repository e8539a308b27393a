//! Requests that are none: bodies cut short, lengths that lie, operations that nobody has.

use bytes::{Buf as _, Bytes, BytesMut};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use zke_wire::OpCode;

use super::Maker;

/// Where ZooKeeper takes a null path for one: sync echoes it, the creates look at their flags first.
const READ_LATE: [OpCode; 5] =
    [OpCode::Sync, OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl];
/// In these a changed byte may be a permission or a flag, and lead to what the generator does not ask for elsewhere.
const HAVE_LISTS: [OpCode; 6] = [
    OpCode::Create,
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::SetAcl,
    OpCode::Multi,
];

/// Requests of these lead a server to other servers, or have answers that docs/differences.md explains.
const NOT_HERE: [OpCode; 4] = [OpCode::Reconfig, OpCode::Sasl, OpCode::Auth, OpCode::CloseSession];

impl Maker<'_> {
    /// An operation and what stands behind the header.
    pub fn malformed(&mut self) -> (i32, Bytes) {
        if self.random.random_ratio(1, 12) {
            let op = *[0, 2_000, 10, 99, 23, 108, -5].choose(&mut self.random).unwrap_or(&0);
            return (op, self.noise());
        }
        let ops: Vec<OpCode> = OpCode::ALL.iter().copied().filter(|op| !NOT_HERE.contains(op)).collect();
        let op = *ops.choose(&mut self.random).unwrap_or(&OpCode::Exists);
        let mut body = self.body(op);
        match self.random.random_range(0..10) {
            0..4 => body.truncate(self.random.random_range(0..body.len().max(1))),
            4..6 if !READ_LATE.contains(&op) => set_length(&mut body, -1),
            6 => set_length(
                &mut body,
                *[-2, i32::MIN, i32::MAX, 1 << 20].choose(&mut self.random).unwrap_or(&-2),
            ),
            7 => {
                let noise = self.noise();
                // The empty path has one child more there, which docs/differences.md explains.
                let explained = op == OpCode::GetAllChildrenNumber && noise.starts_with(&[0; 4]);
                return (op.number(), if explained { Bytes::new() } else { noise });
            }
            8 if !HAVE_LISTS.contains(&op) => self.change_one_byte(&mut body),
            _ => body.extend_from_slice(b"and more"),
        }
        (op.number(), body.freeze())
    }

    /// That of a request as it should be.
    fn body(&mut self, op: OpCode) -> BytesMut {
        let mut frame = BytesMut::new();
        self.of_op(op).encode(0, &mut frame);
        frame.advance(12);
        frame
    }

    fn noise(&mut self) -> Bytes {
        let len = self.random.random_range(0..40);
        (0..len)
            .map(|_| if self.random.random_ratio(1, 2) { 0 } else { self.random.random_range(0..0x80) })
            .collect()
    }

    fn change_one_byte(&mut self, body: &mut BytesMut) {
        if !body.is_empty() {
            let at = self.random.random_range(0..body.len());
            // Bytes that are no text are another thing that is explained there.
            body[at] = self.random.random_range(0..0x80);
        }
    }
}

/// Of the first field, which is nearly always a path.
fn set_length(body: &mut BytesMut, length: i32) {
    if let Some(first) = body.first_chunk_mut() {
        *first = length.to_be_bytes();
    }
}
