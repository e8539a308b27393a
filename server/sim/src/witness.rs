//! What a member tells of itself while it runs.

use std::sync::Arc;

use parking_lot::Mutex;
use zkd::hub::Hub;
use zke_check::event::Event;
use zke_consensus::Observer;
use zke_tree::{Applied, LogIndex, State};
use zke_wire::SessionId;

use crate::chronicle::Chronicle;

/// Writes down what a member applies, and hands it on to the clients of that member.
pub struct Witness {
    pub member: usize,
    pub chronicle: Arc<Chronicle>,
    pub hub: Arc<Hub>,
    /// Sessions heard from, besides those of connections.
    pub touched: Mutex<Vec<SessionId>>,
}

impl Observer for Witness {
    fn applied(&self, state: &State, applied: &Applied<'_>, own: bool) {
        let who = if own { "its own" } else { "another's" };
        let (member, sequence, zxid) = (self.member, applied.sequence, applied.zxid);
        self.chronicle
            .note(format!("member {member} applied {who} {sequence} at {zxid}: {:?}", applied.command));
        self.hub.applied(state, applied, own);
    }

    fn entry_done(&self, state: &State, index: LogIndex) {
        self.hub.entry_done(state, index);
        self.chronicle.saw(Event::Member {
            at_us: self.chronicle.now_us(),
            member: format!("m{}", self.member),
            zxid: state.last_zxid().0,
            index: Some(index.0),
            digest: format!("{:016x}", state.digest()),
        });
    }

    fn replaced(&self, state: &State) {
        self.chronicle.note(format!("member {} installed a snapshot", self.member));
        self.hub.replaced(state);
    }

    fn drain_touched(&self, out: &mut Vec<SessionId>) {
        out.append(&mut self.touched.lock());
        self.hub.drain_touched(out);
    }
}
