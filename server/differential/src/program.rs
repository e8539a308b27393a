//! What clients do in one run: a list of steps, each of one session.
//!
//! A program is made from a seed and a root path alone, so a seed and the numbers of its steps name any part of it.
//! Nothing here is random and nothing is sent.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use zke_wire::{OpCode, Request};

/// Steps in their order, with the numbers that they had when the program was whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub seed: u64,
    /// All that it touches is below this path, or below the same path under `/zookeeper/quota`.
    pub root: String,
    pub steps: Vec<(usize, Step)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which of the program's clients, counted from 0.
    pub client: usize,
    /// Sent together with the step before it, which is of the same client, without waiting for an answer.
    pub joined: bool,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Begins a session, unless the client has one.
    Connect { timeout_ms: i32, read_only: Option<bool> },
    /// A zxid in it counts from the beginning of the program.
    Ask(Request),
    /// A frame with a header, and a body that need not be what the operation takes.
    Malformed { op: i32, body: Bytes },
    /// Bytes where a frame should begin.
    Bytes(Bytes),
    /// The connection ends and the session stays.
    Disconnect,
    /// Takes the session up again; the connection before, if there is one, is left as it is.
    Reconnect { timeout_ms: i32, as_who: AsWho },
    /// Stays away until the server has ended the session.
    Expire,
}

/// How a client that comes back presents itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsWho {
    Itself,
    /// With another password.
    Impostor,
    /// Having seen what no server has done yet.
    FromTheFuture,
}

impl Program {
    /// Only the steps of these numbers.
    pub fn only(&self, numbers: &BTreeSet<usize>) -> Program {
        let steps = self.steps.iter().filter(|(number, _)| numbers.contains(number)).cloned().collect();
        Program { seed: self.seed, root: self.root.clone(), steps }
    }

    pub fn clients(&self) -> usize {
        self.steps.iter().map(|(_, step)| step.client + 1).max().unwrap_or_default()
    }

    /// Steps that are sent together.
    pub fn batches(&self) -> impl Iterator<Item = &[(usize, Step)]> {
        self.steps.chunk_by(|(_, first), (_, second)| {
            second.joined && first.client == second.client && first.action.may_be_joined()
        })
    }
}

impl Action {
    /// Whether a server hangs up on it, whoever asks.
    pub fn hangs_up(&self) -> bool {
        match self {
            Self::Ask(Request::Check { .. }) => true,
            Self::Malformed { op, .. } => OpCode::from_i32(*op).is_none_or(|op| op == OpCode::Check),
            _ => false,
        }
    }

    /// Whether it may do so, or answers it ahead of what came before.
    pub fn may_hang_up(&self) -> bool {
        self.hangs_up()
            || matches!(self, Self::Ask(Request::Close | Request::Auth { .. } | Request::Sasl { .. }))
    }

    /// Whether something may be sent right behind it.
    pub fn may_be_joined(&self) -> bool {
        matches!(self, Self::Ask(_)) && !self.may_hang_up()
    }

    /// Whether ephemerals may go, all at one zxid and in whatever order.
    pub fn ends_a_session(&self) -> bool {
        matches!(self, Self::Expire | Self::Ask(Request::Close))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = if self.joined { "+" } else { " " };
        write!(f, "{joined}client {}: ", self.client)?;
        match &self.action {
            Action::Ask(request) => write!(f, "{request:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_sent_together_only_where_that_has_one_outcome() {
        let ask = |client, joined, request| Step { client, joined, action: Action::Ask(request) };
        let steps = [
            ask(0, true, Request::Ping),
            ask(0, true, Request::WhoAmI),
            ask(1, true, Request::Ping),
            ask(1, true, Request::Close),
            ask(1, true, Request::Ping),
            ask(1, false, Request::Ping),
        ];
        let program =
            Program { seed: 0, root: String::new(), steps: steps.into_iter().enumerate().collect() };
        let numbers = |program: &Program| -> Vec<Vec<usize>> {
            program.batches().map(|batch| batch.iter().map(|(number, _)| *number).collect()).collect()
        };
        assert_eq!(numbers(&program), [vec![0, 1], vec![2, 3], vec![4], vec![5]]);
        assert_eq!(numbers(&program.only(&BTreeSet::from([1, 4]))), [[1], [4]]);
    }
}
