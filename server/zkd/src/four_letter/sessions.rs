//! `cons` and `dump`: every connection, every session and its ephemerals.

use std::fmt::{self, Write as _};

use crate::view::lists::{Listed, Sessions};
use crate::view::{ClientView, SessionView};

const WRITTEN: &str = "writing to a string cannot fail";

pub fn cons(clients: &[ClientView]) -> String {
    let mut text = String::new();
    clients.iter().try_for_each(|client| write_client(&mut text, client)).expect(WRITTEN);
    text.push('\n');
    text
}

fn write_client(text: &mut String, client: &ClientView) -> fmt::Result {
    let ClientView { address, queued, received, sent, session, .. } = client;
    write!(text, " /{address}[1](queued={queued},recved={received},sent={sent}")?;
    if let Some(SessionView { id, timeout_ms, activity }) = session {
        write!(text, ",sid=0x{id:x},lop={}", activity.operation)?;
        write!(text, ",est={},to={timeout_ms}", activity.established_ms)?;
        write!(text, ",lcxid=0x{:x},lzxid=0x{:x}", activity.cxid, activity.zxid)?;
        write!(text, ",lresp={},llat={}", activity.answered_at_ms, activity.last_latency_ms)?;
        write!(text, ",minlat={},avglat={}", activity.min_latency_ms(), activity.avg_latency_ms())?;
        write!(text, ",maxlat={}", activity.max_latency_ms)?;
    }
    writeln!(text, ")")
}

/// As a follower has it, which knows no deadlines of sessions: those are the leader's, and kept by it alone.
pub fn dump(sessions: &Sessions, clients: &[ClientView]) -> String {
    let mut text = String::new();
    write_dump(&mut text, sessions, clients).expect(WRITTEN);
    text
}

fn write_dump(text: &mut String, sessions: &Sessions, clients: &[ClientView]) -> fmt::Result {
    writeln!(text, "SessionTracker dump:")?;
    writeln!(text, "Global Sessions({}):", sessions.timeouts.total)?;
    for (session, timeout_ms) in &sessions.timeouts.entries {
        writeln!(text, "0x{session:x}\t{timeout_ms}ms")?;
    }
    write_cut(text, &sessions.timeouts)?;
    writeln!(text, "ephemeral nodes dump:")?;
    writeln!(text, "Sessions with Ephemerals ({}):", sessions.ephemerals.entries.len())?;
    for (session, paths) in &sessions.ephemerals.entries {
        writeln!(text, "0x{session:x}:")?;
        paths.iter().try_for_each(|path| writeln!(text, "\t{path}"))?;
    }
    write_cut(text, &sessions.ephemerals)?;
    writeln!(text, "Connections dump:")?;
    writeln!(text, "Connections ({}):", clients.len())?;
    for ClientView { address, session, .. } in clients {
        let id = session.as_ref().map_or(0, |session| session.id);
        writeln!(text, "\tip: /{address} sessionId: 0x{id:x}")?;
    }
    Ok(())
}

fn write_cut<T>(text: &mut String, listed: &Listed<T>) -> fmt::Result {
    listed.cut().map_or(Ok(()), |cut| writeln!(text, "{cut}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use zke_wire::Zxid;

    use super::*;
    use crate::activity::Activity;

    fn client(session: Option<SessionView>) -> ClientView {
        let address = ([127, 0, 0, 1], 5000).into();
        ClientView { address, encrypted: false, queued: 0, received: 12, sent: 13, session }
    }

    #[test]
    fn cons_is_as_in_java() {
        let mut activity = Activity::begin();
        activity.established_ms = 1_795_674_912_369;
        let ms = Duration::from_millis;
        activity.answered("SESS", 0, Zxid(0x1_0000_0001), ms(3), ms(0));
        activity.answered("GETD", 11, Zxid(0x1_0000_0005), ms(338), ms(3));
        let session = SessionView { id: 0x300_0033_6020_0000, timeout_ms: 10_000, activity };
        let expected = " /127.0.0.1:5000[1](queued=0,recved=12,sent=13,sid=0x300003360200000,lop=GETD,\
                        est=1795674912369,to=10000,lcxid=0xb,lzxid=0x100000005,lresp=338,llat=3,minlat=0,\
                        avglat=1,maxlat=3)\n /127.0.0.1:5000[1](queued=0,recved=12,sent=13)\n\n";
        assert_eq!(cons(&[client(Some(session)), client(None)]), expected);
    }

    #[test]
    fn what_was_never_asked_is_minus_one_as_in_java() {
        let session = SessionView { id: 1, timeout_ms: 1, activity: Activity::begin() };
        let text = cons(&[client(Some(session))]);
        assert!(text.contains("lop=NA,"), "{text}");
        assert!(text.contains("lcxid=0xffffffffffffffff,lzxid=0xffffffffffffffff,"), "{text}");
    }

    #[test]
    fn dump_is_as_a_follower_s() {
        let sessions = Sessions {
            timeouts: Listed { entries: vec![(0x1000_0335, 10_000)], total: 1 },
            ephemerals: Listed { entries: BTreeMap::from([(0x1000_0335, vec!["/e".to_owned()])]), total: 1 },
        };
        let expected = "SessionTracker dump:
Global Sessions(1):
0x10000335\t10000ms
ephemeral nodes dump:
Sessions with Ephemerals (1):
0x10000335:
\t/e
Connections dump:
Connections (1):
\tip: /127.0.0.1:5000 sessionId: 0x0
";
        assert_eq!(dump(&sessions, &[client(None)]), expected);
    }
}
