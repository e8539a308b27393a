//! What a client is told of its write, from what applying it has brought.
//!
//! The log knows one create and one kind of success; the client hears of it in the record that it asked for.

use std::cmp::Ordering;

use zke_tree::{Applied, Command, Reply, WriteOp};
use zke_wire::{ErrorCode, MultiResult, Response};

/// The reply to a write. That to a multi that failed is no error: it holds one for each operation.
pub fn of_write(applied: &Applied<'_>) -> Response {
    let op = match applied.command {
        Command::Client { op, .. } => Some(op),
        // Sessions and the operator's commands.
        _ => None,
    };
    match &applied.result {
        Err(code) => Response::Error(*code),
        Ok(Reply::Created { path, stat }) => match op {
            Some(op) if wants_stat(op) => Response::Create2 { path: path.clone(), stat: *stat },
            _ => Response::Create { path: path.clone() },
        },
        Ok(Reply::Stat(stat)) => Response::Stat(*stat),
        Ok(Reply::Multi(replies)) => {
            let results = ops_of(op).iter().zip(replies).map(|(op, reply)| result(op, reply));
            Response::Multi { results: results.collect() }
        }
        Ok(Reply::RolledBack { failed, code }) => {
            let results = (0..ops_of(op).len()).map(|place| match place.cmp(failed) {
                Ordering::Less => MultiResult::RolledBack,
                Ordering::Equal => MultiResult::Error(*code),
                Ordering::Greater => MultiResult::Error(ErrorCode::RuntimeInconsistency),
            });
            Response::Multi { results: results.collect() }
        }
        Ok(Reply::Reconfigured { text, stat }) => Response::Data { data: Some(text.clone()), stat: *stat },
        // Sessions and control epochs are no client's writes.
        Ok(Reply::Done | Reply::Session { .. } | Reply::ControlEpoch(_)) => Response::Empty,
    }
}

/// Of the four creates, only the oldest is answered with the path alone.
fn wants_stat(op: &WriteOp) -> bool {
    matches!(
        op,
        WriteOp::Create { with_stat: true, .. } | WriteOp::CreateContainer { .. } | WriteOp::CreateTtl { .. }
    )
}

fn ops_of(op: Option<&WriteOp>) -> &[WriteOp] {
    match op {
        Some(WriteOp::Multi { ops }) => ops,
        _ => &[],
    }
}

/// Of one operation of a multi that succeeded.
fn result(op: &WriteOp, reply: &Reply) -> MultiResult {
    match (op, reply) {
        (op, Reply::Created { path, stat }) if wants_stat(op) => {
            MultiResult::Create2 { path: path.clone(), stat: *stat }
        }
        (_, Reply::Created { path, .. }) => MultiResult::Create { path: path.clone() },
        (_, Reply::Stat(stat)) => MultiResult::SetData { stat: *stat },
        (WriteOp::Check { .. }, _) => MultiResult::Check,
        // Of those that a multi may hold, the one that has nothing else to say.
        _ => MultiResult::Delete,
    }
}
