//! multi and multiRead: several operations in one request, and what became of each.
//!
//! Both ways it is a list without a count: an element is a header and a record, and a header that says "done" ends it.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::header::read_error;
use crate::jute::{DecodeError, Reader, Record, Writer};
use crate::opcode::OpCode;
use crate::request::Request;
use crate::stat::Stat;

/// What a multi may hold.
pub(crate) const WRITES: &[OpCode] = &[
    OpCode::Create,
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::Delete,
    OpCode::SetData,
    OpCode::Check,
];

/// What a multiRead may hold.
pub(crate) const READS: &[OpCode] = &[OpCode::GetChildren, OpCode::GetData];

/// The header type of a failed element, and of the end.
const NO_OP: i32 = -1;

/// What became of one operation of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiResult {
    Create {
        path: String,
    },
    /// Of a create2, a container or a TTL node.
    Create2 {
        path: String,
        stat: Stat,
    },
    Delete,
    SetData {
        stat: Stat,
    },
    Check,
    Children {
        children: Vec<String>,
    },
    Data {
        data: Option<Bytes>,
        stat: Stat,
    },
    /// This one failed; behind it in a multi, all are [`ErrorCode::RuntimeInconsistency`].
    Error(ErrorCode),
    /// Would have worked, had not a later one failed: an error result whose code is 0.
    RolledBack,
}

/// Reads operations up to the end mark.
pub(crate) fn read_ops(from: &mut Reader, allowed: &[OpCode]) -> Result<Vec<Request>, DecodeError> {
    let mut ops = Vec::new();
    while let Header { number, done: false, .. } = Header::read(from)? {
        let op = OpCode::from_i32(number).filter(|op| allowed.contains(op));
        let op =
            op.ok_or(DecodeError::UnknownValue { field: "type of an operation in a multi", value: number })?;
        ops.push(Request::read(op, from)?);
    }
    Ok(ops)
}

pub(crate) fn write_ops(to: &mut Writer<'_>, ops: &[Request]) {
    for op in ops {
        // In requests the header's error means nothing; clients send -1.
        Header { number: op.op().number(), done: false, err: -1 }.write(to);
        op.write(to);
    }
    Header::END.write(to);
}

/// Reads results up to the end mark.
pub(crate) fn read_results(from: &mut Reader) -> Result<Vec<MultiResult>, DecodeError> {
    let mut results = Vec::new();
    while let Header { number, done: false, .. } = Header::read(from)? {
        results.push(MultiResult::read(number, from)?);
    }
    Ok(results)
}

pub(crate) fn write_results(to: &mut Writer<'_>, results: &[MultiResult]) {
    for result in results {
        result.write(to);
    }
    Header::END.write(to);
}

impl MultiResult {
    fn read(number: i32, from: &mut Reader) -> Result<Self, DecodeError> {
        if number == NO_OP {
            return Ok(read_error(from.int("error of an operation")?)?.map_or(Self::RolledBack, Self::Error));
        }
        Ok(match OpCode::from_i32(number) {
            Some(OpCode::Create) => Self::Create { path: from.string("path")? },
            Some(OpCode::Create2) => Self::Create2 { path: from.string("path")?, stat: Stat::read(from)? },
            Some(OpCode::Delete) => Self::Delete,
            Some(OpCode::SetData) => Self::SetData { stat: Stat::read(from)? },
            Some(OpCode::Check) => Self::Check,
            Some(OpCode::GetChildren) => Self::Children { children: from.vec("children")? },
            Some(OpCode::GetData) => Self::Data { data: from.buffer("data")?, stat: Stat::read(from)? },
            _ => {
                return Err(DecodeError::UnknownValue {
                    field: "type of a result in a multi",
                    value: number,
                });
            }
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        let (number, err) = match self {
            Self::Create { .. } => (OpCode::Create.number(), 0),
            Self::Create2 { .. } => (OpCode::Create2.number(), 0),
            Self::Delete => (OpCode::Delete.number(), 0),
            Self::SetData { .. } => (OpCode::SetData.number(), 0),
            Self::Check => (OpCode::Check.number(), 0),
            Self::Children { .. } => (OpCode::GetChildren.number(), 0),
            Self::Data { .. } => (OpCode::GetData.number(), 0),
            Self::Error(code) => (NO_OP, code.code()),
            Self::RolledBack => (NO_OP, 0),
        };
        Header { number, done: false, err }.write(to);
        match self {
            Self::Create { path } => to.string(path),
            Self::Create2 { path, stat } => {
                to.string(path);
                stat.write(to);
            }
            Self::Delete | Self::Check => {}
            Self::SetData { stat } => stat.write(to),
            Self::Children { children } => to.vec(children),
            Self::Data { data, stat } => {
                to.buffer(data.as_deref());
                stat.write(to);
            }
            Self::Error(_) | Self::RolledBack => to.int(err),
        }
    }
}

/// Stands before each element.
struct Header {
    number: i32,
    done: bool,
    err: i32,
}

impl Header {
    const END: Header = Header { number: NO_OP, done: true, err: -1 };
}

impl Record for Header {
    const MIN_LEN: usize = 9;

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            number: from.int("type in a multi")?,
            done: from.bool("end mark of a multi")?,
            err: from.int("error in a multi")?,
        })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.int(self.number);
        to.bool(self.done);
        to.int(self.err);
    }
}
