//! What one connection was last asked and how long it waited: for `cons` and the admin command `connections`.
//!
//! Plain fields, kept under the connection's own lock by whoever answers a request.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zke_tree::{Command, WriteOp};
use zke_wire::Zxid;

/// Since the connection began, but for what [`reset`](Self::reset) sets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// When the connection began, in ms since the Unix epoch.
    pub established_ms: u64,
    /// In ZooKeeper's four letters.
    pub operation: &'static str,
    /// -1 before the first answer, as in ZooKeeper; likewise below.
    pub cxid: i64,
    pub zxid: i64,
    /// Of the last answer, in ms since this process started.
    pub answered_at_ms: u64,
    pub last_latency_ms: u64,
    min_latency_ms: u64,
    pub max_latency_ms: u64,
    answers: u64,
    latency_sum_ms: u64,
}

impl Activity {
    /// Begins now.
    pub fn begin() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { established_ms: millis(now), ..Self::none() }
    }

    fn none() -> Self {
        Self {
            established_ms: 0,
            operation: "NA",
            cxid: -1,
            zxid: -1,
            answered_at_ms: 0,
            last_latency_ms: 0,
            min_latency_ms: u64::MAX,
            max_latency_ms: 0,
            answers: 0,
            latency_sum_ms: 0,
        }
    }

    /// Notes an answer that was queued `uptime` after the process started.
    pub fn answered(
        &mut self,
        operation: &'static str,
        cxid: i32,
        zxid: Zxid,
        uptime: Duration,
        took: Duration,
    ) {
        let took_ms = millis(took);
        self.operation = operation;
        (self.cxid, self.zxid) = (cxid.into(), zxid.0);
        self.answered_at_ms = millis(uptime);
        self.last_latency_ms = took_ms;
        self.min_latency_ms = self.min_latency_ms.min(took_ms);
        self.max_latency_ms = self.max_latency_ms.max(took_ms);
        self.answers += 1;
        self.latency_sum_ms += took_ms;
    }

    pub fn reset(&mut self) {
        *self = Self { established_ms: self.established_ms, ..Self::none() };
    }

    pub fn min_latency_ms(&self) -> u64 {
        if self.answers == 0 { 0 } else { self.min_latency_ms }
    }

    pub fn avg_latency_ms(&self) -> u64 {
        self.latency_sum_ms.checked_div(self.answers).unwrap_or(0)
    }
}

/// ZooKeeper's four letters for a write.
pub fn operation_of(command: &Command) -> &'static str {
    match command {
        Command::Client { op, .. } => match op {
            WriteOp::Create { .. } | WriteOp::CreateContainer { .. } | WriteOp::CreateTtl { .. } => "CREA",
            WriteOp::Delete { .. } => "DELE",
            WriteOp::SetData { .. } => "SETD",
            WriteOp::SetAcl { .. } => "SETA",
            WriteOp::Check { .. } => "CHEC",
            WriteOp::Multi { .. } => "MULT",
            WriteOp::Reconfig(_) => "RECO",
        },
        Command::CreateSession { .. } | Command::AttachSession { .. } => "SESS",
        Command::CloseSession { .. } => "CLOS",
        _ => "NA",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_summed_up_and_set_back() {
        let mut activity = Activity::begin();
        assert_eq!((activity.min_latency_ms(), activity.avg_latency_ms()), (0, 0));
        let ms = Duration::from_millis;
        activity.answered("GETD", 7, Zxid(9), ms(100), ms(3));
        activity.answered("SETD", 8, Zxid(10), ms(200), ms(6));
        assert_eq!((activity.operation, activity.cxid, activity.zxid), ("SETD", 8, 10));
        assert_eq!((activity.answered_at_ms, activity.last_latency_ms), (200, 6));
        let latencies = (activity.min_latency_ms(), activity.avg_latency_ms(), activity.max_latency_ms);
        assert_eq!(latencies, (3, 4, 6));
        let began = activity.established_ms;
        activity.reset();
        assert_eq!((activity.operation, activity.cxid, activity.max_latency_ms), ("NA", -1, 0));
        assert_eq!(activity.established_ms, began);
    }
}
