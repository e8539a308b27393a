//! Files and conversations that no honest person writes.
//!
//! Built for tests and for `fuzz/` alone, so that what runs for seconds in every test run is what a fuzzer runs for
//! hours. A function that returns has found nothing wrong.

use std::path::Path;

use bytes::BytesMut;
use sha1::{Digest as _, Sha1};
use zke_tree::{Applied, Command, LogIndex, MemberId, Origin, Proposal, Settings, State, Term};
use zke_wire::{FrameDecoder, Id, SessionId};

use crate::connection::{ConnectionId, Watches};
use crate::reads::{self, Asker};
use crate::requests::{self, Action};
use crate::tls::jks;
use crate::{config, jaas, replies};

/// A `zoo.cfg`. Of a data directory with `myid` 1, on no machine: names are not looked up and no file is read.
pub fn zoo_cfg(text: &str) {
    let outcome = config::of_text(Path::new("zoo.cfg"), text);
    // Warnings and refusals are made of what stands in the file, too.
    let _ = outcome.map_err(|error| error.to_string());
}

pub fn jaas(text: &str) {
    let _ = jaas::users(text, "Server").map_err(|error| error.to_string());
}

/// A key store of Java's, as it is and with the checksum that its bytes should have.
pub fn jks(bytes: &[u8]) {
    const PASSWORD: &str = "apassword";
    let _ = jks::read(bytes, None);
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let sum = Sha1::new().chain_update(password).chain_update("Mighty Aphrodite").chain_update(bytes);
    let _ = jks::read(&[bytes, &sum.finalize()].concat(), Some(PASSWORD));
}

/// What a client with a session sends, one frame behind the other, against a tree: decoded, applied or read, and
/// answered. Whatever it was, a snapshot brings the tree back as it is.
///
/// # Panics
/// If it does not.
pub fn conversation(bytes: &[u8]) {
    let mut server = Server::new();
    let mut stream = BytesMut::from(bytes);
    let decoder = FrameDecoder::new(FrameDecoder::DEFAULT_MAX_LEN);
    while let Ok(Some(frame)) = decoder.next(&mut stream) {
        if !server.is_asked(frame) {
            break;
        }
    }
    server.end();
}

/// A tree with one session of one connection.
struct Server {
    state: State,
    watches: Watches,
    identities: Vec<Id>,
    applied: u64,
    out: BytesMut,
}

const SESSION: SessionId = SessionId(1);
const CONNECTION: ConnectionId = ConnectionId(1);

impl Server {
    fn new() -> Self {
        let mut server = Self {
            state: State::new(),
            watches: Watches::default(),
            identities: vec![Id::new("ip", "127.0.0.1"), Id::new("digest", "a:b")],
            applied: 0,
            out: BytesMut::new(),
        };
        server.apply(Command::CreateSession { session: SESSION, password: [1; 16], timeout_ms: 4_000 });
        server
    }

    /// Whether the connection goes on.
    fn is_asked(&mut self, frame: bytes::Bytes) -> bool {
        self.out.clear();
        let Ok((xid, action)) = requests::decode(frame) else { return false };
        match action {
            Action::Write(op) => {
                let identities = self.identities.clone();
                self.apply(Command::Client { session: SESSION, attach_epoch: 0, identities, op });
            }
            Action::Close => {
                self.apply(Command::CloseSession { session: SESSION, attach_epoch: 0 });
                return false;
            }
            Action::Read(read) => {
                let asker = Asker {
                    connection: CONNECTION,
                    session: SESSION,
                    identities: &self.identities,
                    watches: &self.watches,
                };
                reads::answer(read, xid, &self.state, &asker, &mut self.out);
            }
            Action::Sync { .. } | Action::Auth { .. } | Action::Sasl { .. } => {}
            Action::Foreign => return false,
        }
        true
    }

    /// The command, its reply, and the events that it triggers.
    fn apply(&mut self, command: Command) {
        self.applied += 1;
        let proposal = Proposal {
            time_ms: self.applied as i64,
            settings: Settings { enforce_quota: true, reconfig_enabled: true, single_voter_allowed: false },
            origin: Origin { member: MemberId(1), incarnation: 1 },
            first_sequence: self.applied,
            commands: vec![command],
        };
        let proposal = Proposal::decode(proposal.encode()).expect("what was encoded here");
        self.state.begin_entry(LogIndex(self.applied), Term(1));
        let (watches, out) = (&self.watches, &mut self.out);
        self.state.apply(&proposal, &mut |state, applied: Applied<'_>| {
            for event in applied.events {
                // There is nobody to tell.
                let _ = watches.lock().trigger(event);
            }
            replies::of_write(&applied).encode(1, state.last_zxid(), out);
        });
    }

    fn end(mut self) {
        let mut snapshot = self.state.snapshot_begin();
        let mut bytes = Vec::new();
        while !self.state.snapshot_next(&mut snapshot, &mut bytes, usize::MAX) {}
        let restored = State::restore([bytes]).expect("a snapshot of a state");
        assert_eq!(restored.digest(), self.state.digest());
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use zke_wire::{Acl, Request};

    use super::*;

    /// What a client may well ask, of few nodes.
    fn request() -> impl Strategy<Value = Request> {
        let path = || {
            prop::sample::select(vec!["/", "/a", "/a/b", "/zookeeper/quota", "/a/", ""])
                .prop_map(str::to_owned)
        };
        let op = prop_oneof![
            (path(), 0..6i32).prop_map(|(path, flags)| Request::Create {
                path,
                data: None,
                acl: vec![Acl::open()],
                flags,
                with_stat: true
            }),
            path().prop_map(|path| Request::Delete { path, version: -1 }),
            (path(), -1..3i32).prop_map(|(path, version)| Request::SetData { path, data: None, version }),
        ];
        prop_oneof![
            4 => op.clone(),
            2 => vec(op, 0..4).prop_map(|ops| Request::Multi { ops }),
            1 => path().prop_map(|path| Request::GetData { path, watch: true }),
            1 => (path(), 0..2i32).prop_map(|(path, mode)| Request::AddWatch { path, mode }),
            1 => path().prop_map(|path| Request::GetEphemerals { prefix: Some(path) }),
        ]
    }

    fn lines() -> impl Strategy<Value = String> {
        let key = prop::sample::select(vec![
            "dataDir",
            "clientPort",
            "server.1",
            "server.2",
            "tickTime",
            "ssl.keyStore.location",
            "secureClientPort",
            "4lw.commands.whitelist",
            "admin.serverAddress",
            "maxSessionTimeout",
            "sslQuorum",
            "zke.mode",
            "\\",
            "#",
        ]);
        let value = prop_oneof![
            any::<String>(),
            "[0-9.:;-]{0,12}",
            Just("localhost:1:2:observer;[::1]:3".to_owned()),
            Just("true".to_owned()),
        ];
        vec((key, value), 0..12)
            .prop_map(|lines| lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect())
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in vec(any::<u8>(), 0..300)) {
            jks(&bytes);
            jks(&[&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2], bytes.as_slice()].concat());
            conversation(&bytes);
        }

        #[test]
        fn any_text(text: String) {
            zoo_cfg(&text);
            jaas(&text);
            jaas(&format!("Server {{ {text}"));
        }

        #[test]
        fn believable_configurations(text in lines()) {
            zoo_cfg(&text);
        }

        #[test]
        fn believable_logins(text in "([{};=\"a-z/*\\\\\n ]|Server|DigestLoginModule|required){0,40}") {
            jaas(&text);
        }

        /// Honest requests, some with a byte changed.
        #[test]
        fn believable_conversations(
            requests in vec(request(), 0..20),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = BytesMut::new();
            for request in &requests {
                request.encode(1, &mut bytes);
            }
            for (place, byte) in damage {
                if !bytes.is_empty() {
                    let place = place.index(bytes.len());
                    bytes[place] = byte;
                }
            }
            conversation(&bytes);
        }
    }
}
