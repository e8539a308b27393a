//! Replies and events as lines of text in which two right servers agree, whatever their zxids, sessions and clocks.
//!
//! A zxid is told by its distance from the beginning of the program, a session by its number in it, a time only by
//! whether it is there. What ZooKeeper promises no order for (names of children, ephemerals, identities) is sorted.
//! Everything else, the xid and each byte of a body included, must be equal.

use std::collections::VecDeque;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use zke_wire::{
    Acl, ErrorCode, MultiResult, OpCode, ReplyHeader, Response, SessionId, Stat, WatcherEvent, Zxid, xid,
};

/// What numbers mean in one program on one server.
#[derive(Debug, Default)]
pub struct Names {
    /// The zxid at which the program began.
    pub base: Zxid,
    /// In the order in which they began.
    pub sessions: Vec<SessionId>,
    /// The highest zxid seen.
    last: i64,
    /// Those of requests that could not be read: ZooKeeper gives some of them one, as docs/differences.md says.
    of_nothing: Vec<i64>,
}

/// One message of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Of a watch event.
    pub event_zxid: Option<i64>,
    pub text: String,
}

impl Message {
    pub fn note(text: impl Into<String>) -> Message {
        Message { event_zxid: None, text: text.into() }
    }
}

/// Requests of one connection that were not answered yet, oldest first.
pub type Asked = VecDeque<(i32, OpCode)>;

impl Names {
    pub fn since(base: Zxid) -> Names {
        Names { base, last: base.0, ..Names::default() }
    }

    /// The zxid that this program counts as its `number`th.
    pub fn nth_zxid(&self, number: Zxid) -> Zxid {
        let count = |zxid, other: &i64| if *other <= zxid { zxid + 1 } else { zxid };
        Zxid(self.of_nothing.iter().fold(self.base.0 + number.0, count))
    }

    /// Shows a frame; takes the request that it answers out of `asked`.
    pub fn message(&mut self, frame: &Bytes, asked: &mut Asked) -> Message {
        let Some(xid) = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)) else {
            return Message::note(format!("a frame without a header: {frame:x}"));
        };
        if xid == xid::NOTIFICATION {
            return self.event(frame);
        }
        let place = asked.iter().position(|(of, op)| *of == xid || (*op == OpCode::Ping && xid == xid::PING));
        let Some((_, op)) = place.and_then(|place| asked.remove(place)) else {
            return Message::note(format!("an answer that nobody asked for: {frame:x}"));
        };
        Message::note(self.reply(op, frame))
    }

    fn event(&self, frame: &Bytes) -> Message {
        let header = zke_wire::Reader::new(frame.clone());
        let decode = || -> Result<(ReplyHeader, WatcherEvent), zke_wire::DecodeError> {
            use zke_wire::Record as _;
            let mut from = header;
            let header = ReplyHeader::read(&mut from)?;
            Ok((header, WatcherEvent::decode(from.into_rest())?))
        };
        match decode() {
            Ok((header, event)) => {
                let mut again = BytesMut::new();
                zke_wire::encode_event(header.zxid, &event, &mut again);
                let rest = unlike(frame, &again);
                let text =
                    format!("event zxid {} {:?} {:?}{rest}", self.zxid(header.zxid), event.kind, event.path);
                Message { event_zxid: Some(header.zxid.0), text }
            }
            Err(error) => Message::note(format!("an event that cannot be read, {error}: {frame:x}")),
        }
    }

    fn reply(&mut self, op: OpCode, frame: &Bytes) -> String {
        let (header, response) = match Response::decode(op, frame.clone()) {
            Ok(reply) => reply,
            Err(error) => return format!("a reply to {op:?} that cannot be read, {error}: {frame:x}"),
        };
        if header.err == Some(ErrorCode::MarshallingError) && header.zxid.0 > self.last {
            self.of_nothing.push(header.zxid.0);
        }
        self.last = self.last.max(header.zxid.0);
        let mut again = BytesMut::new();
        response.encode(header.xid, header.zxid, &mut again);
        let rest = unlike(frame, &again);
        format!("{op:?} xid {} zxid {} {}{rest}", header.xid, self.zxid(header.zxid), self.body(response))
    }

    fn body(&self, response: Response) -> String {
        match response {
            Response::Error(code) => format!("error {code}"),
            Response::Create { path } | Response::Sync { path } => format!("{path:?}"),
            Response::Create2 { path, stat } => format!("{path:?} {}", self.stat(&stat)),
            Response::Stat(stat) => self.stat(&stat),
            Response::Data { data, stat } => format!("{data:?} {}", self.stat(&stat)),
            Response::Acl { acl, stat } => format!("{} {}", list(&acl), self.stat(&stat)),
            Response::Children { children } => format!("{:?}", sorted(children)),
            Response::Children2 { children, stat } => format!("{:?} {}", sorted(children), self.stat(&stat)),
            Response::ChildrenNumber(number) => number.to_string(),
            Response::Ephemerals { paths } => format!("{:?}", sorted(paths)),
            Response::Multi { results } => {
                let results: Vec<String> = results.into_iter().map(|result| self.result(result)).collect();
                format!("[{}]", results.join("; "))
            }
            Response::Sasl { token } => format!("{token:?}"),
            Response::WhoAmI { clients } => {
                let names =
                    clients.into_iter().map(|client| format!("{}:{}", client.auth_scheme, client.user));
                format!("{:?}", sorted(names.collect()))
            }
            Response::AddWatch => "added".to_owned(),
            Response::Empty => "ok".to_owned(),
        }
    }

    fn result(&self, result: MultiResult) -> String {
        match result {
            MultiResult::Create { path } => format!("created {path:?}"),
            MultiResult::Create2 { path, stat } => format!("created {path:?} {}", self.stat(&stat)),
            MultiResult::Delete => "deleted".to_owned(),
            MultiResult::SetData { stat } => format!("set {}", self.stat(&stat)),
            MultiResult::Check => "checked".to_owned(),
            MultiResult::Children { children } => format!("{:?}", sorted(children)),
            MultiResult::Data { data, stat } => format!("{data:?} {}", self.stat(&stat)),
            MultiResult::Error(code) => error(code),
            MultiResult::RolledBack => "rolled back".to_owned(),
        }
    }

    fn stat(&self, stat: &Stat) -> String {
        let mut text = format!(
            "{{czxid {} mzxid {} pzxid {} version {} cversion {} aversion {} length {} children {}",
            self.zxid(stat.czxid),
            self.zxid(stat.mzxid),
            self.zxid(stat.pzxid),
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.data_length,
            stat.num_children,
        );
        if stat.ephemeral_owner != 0 {
            let _ = write!(text, " owner {}", self.session(SessionId(stat.ephemeral_owner)));
        }
        for (name, time_ms) in [("ctime", stat.ctime_ms), ("mtime", stat.mtime_ms)] {
            if time_ms == 0 {
                let _ = write!(text, " no {name}");
            }
        }
        text + "}"
    }

    fn session(&self, id: SessionId) -> String {
        match self.sessions.iter().position(|session| *session == id) {
            Some(number) => format!("session {number}"),
            None => "somebody else".to_owned(),
        }
    }

    fn zxid(&self, zxid: Zxid) -> String {
        match zxid {
            Zxid(0) | Zxid::UNKNOWN => zxid.0.to_string(),
            Zxid(number) if number >= self.base.0 => {
                let of_nothing = self.of_nothing.iter().filter(|other| **other <= number).count();
                format!("+{}", number - self.base.0 - of_nothing as i64)
            }
            Zxid(_) => "earlier".to_owned(),
        }
    }
}

/// Bytes that decoding and encoding again would not bring back.
fn unlike(frame: &Bytes, again: &BytesMut) -> String {
    match again.get(4..) {
        Some(again) if again == frame => String::new(),
        _ => format!(" in other bytes: {frame:x}"),
    }
}

fn error(code: ErrorCode) -> String {
    format!("error {code}")
}

fn list(acl: &[Acl]) -> String {
    let entries: Vec<String> =
        acl.iter().map(|entry| format!("{}:{}:{}", entry.perms, entry.id.scheme, entry.id.id)).collect();
    format!("{entries:?}")
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(response: &Response, xid: i32, zxid: i64) -> Bytes {
        let mut out = BytesMut::new();
        response.encode(xid, Zxid(zxid), &mut out);
        out.freeze().slice(4..)
    }

    fn names(base: i64, session: i64) -> Names {
        Names { sessions: vec![SessionId(session)], ..Names::since(Zxid(base)) }
    }

    #[test]
    fn what_servers_number_as_they_like_is_shown_alike_and_nothing_else_is() {
        let shown = |base: i64, session: i64, version: i32| {
            let stat = Stat {
                czxid: Zxid(base + 2),
                mzxid: Zxid(base + 3),
                version,
                ephemeral_owner: session,
                ..Stat::default()
            };
            let mut asked = Asked::from([(7, OpCode::Exists)]);
            names(base, session).message(&frame(&Response::Stat(stat), 7, base + 4), &mut asked).text
        };
        assert_eq!(shown(100, 5, 1), shown(1 << 32, -9, 1));
        assert_ne!(shown(100, 5, 1), shown(100, 5, 2));
        assert!(shown(100, 5, 1).starts_with("Exists xid 7 zxid +4 {czxid +2 mzxid +3 pzxid 0"));
    }

    #[test]
    fn bytes_that_mean_the_same_are_a_difference_all_the_same() {
        let plain = frame(&Response::Empty, 1, 9);
        let longer = Bytes::from([&plain[..], b"!"].concat());
        let text = |frame: &Bytes| names(9, 1).message(frame, &mut Asked::from([(1, OpCode::Delete)])).text;
        assert_eq!(text(&plain), "Delete xid 1 zxid +0 ok");
        assert!(text(&longer).contains("in other bytes"), "{}", text(&longer));
    }

    #[test]
    fn the_zxid_of_what_could_not_be_read_is_not_counted() {
        let mut names = names(100, 1);
        let unreadable = frame(&Response::Error(ErrorCode::MarshallingError), 1, 101);
        names.message(&unreadable, &mut Asked::from([(1, OpCode::Multi)]));
        assert_eq!((names.zxid(Zxid(100)), names.zxid(Zxid(102))), ("+0".to_owned(), "+1".to_owned()));
        assert_eq!((names.nth_zxid(Zxid(0)), names.nth_zxid(Zxid(1))), (Zxid(100), Zxid(102)));
    }
}
