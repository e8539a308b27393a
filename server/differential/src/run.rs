//! Runs a program on one server and writes down what each of its clients sees.
//!
//! After each batch of steps every client pings: a server has by then queued, in front of that answer, every event
//! that the batch brought about. So which events a client sees between which of its replies is the server's doing and
//! not the machine's.

use std::net::SocketAddr;

use anyhow::Result;
use bytes::{BufMut as _, Bytes, BytesMut};
use zke_wire::{Acl, ConnectRequest, ConnectResponse, OpCode, Request, SessionId, Zxid, xid};

use crate::connection::{Connection, Next};
use crate::control::{Control, new_session};
use crate::program::{Action, AsWho, Program, Step};
use crate::show::{Asked, Message, Names};

/// Noted when a session was taken up again and the connection that spoke for it before was not hung up.
pub const LEFT_OPEN: &str = "the connection before goes on";

/// Below what servers grant, so the shortest that there is.
const SHORTEST_MS: i32 = 1;

/// One server, used for all programs.
pub struct Server {
    address: SocketAddr,
    control: Control,
}

/// What was seen: the same on both servers, or there is a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The number of the last step of the batch; `None` for what was left at the end.
    pub step: Option<usize>,
    pub client: usize,
    pub text: String,
}

impl Server {
    pub fn connect(address: SocketAddr) -> Result<Server> {
        Ok(Server { address, control: Control::connect(address)? })
    }

    /// # Errors
    /// If the server cannot be worked with at all. What it answers wrongly is part of what is seen.
    pub fn run(&mut self, program: &Program) -> Result<Vec<Seen>> {
        let base = self.control.begin(&program.root)?;
        let clients = (0..program.clients()).map(|_| Client::default()).collect();
        let names = Names::since(base);
        let mut run = Run { server: self, root: &program.root, names, clients, seen: Vec::new() };
        for batch in program.batches() {
            run.batch(batch)?;
        }
        run.close_sessions()?;
        run.dump()?;
        let seen = run.seen;
        self.control.clear(&program.root)?;
        Ok(seen)
    }
}

struct Run<'a> {
    server: &'a mut Server,
    root: &'a str,
    names: Names,
    clients: Vec<Client>,
    seen: Vec<Seen>,
}

#[derive(Default)]
struct Client {
    /// As it was granted, until it is known to be over.
    session: Option<ConnectResponse>,
    connection: Option<Connection>,
    xid: i32,
    asked: Asked,
    messages: Vec<Message>,
}

impl Run<'_> {
    fn batch(&mut self, batch: &[(usize, Step)]) -> Result<()> {
        let Some((number, step)) = batch.last() else { return Ok(()) };
        let client = step.client;
        let server = self.server.address;
        match &step.action {
            Action::Connect { timeout_ms, read_only } => {
                if self.clients[client].session.is_none() {
                    let request = new_session(*timeout_ms, *read_only);
                    self.clients[client].connect(server, &request, &mut self.names)?;
                }
            }
            Action::Reconnect { timeout_ms, as_who } => {
                self.clients[client].reconnect(server, *timeout_ms, *as_who, &mut self.names)?;
            }
            Action::Disconnect => self.clients[client].connection = None,
            Action::Expire => self.expire(client)?,
            Action::Ask(_) | Action::Malformed { .. } | Action::Bytes(_) => {
                self.clients[client].ask(batch.iter().map(|(_, step)| &step.action), &mut self.names);
            }
        }
        for client in &mut self.clients {
            client.settle(&mut self.names);
        }
        let unordered = batch.iter().any(|(_, step)| step.action.ends_a_session());
        self.write_down(Some(*number), unordered);
        Ok(())
    }

    /// Comes back with the shortest timeout, makes something to be seen by, and goes away.
    fn expire(&mut self, client: usize) -> Result<()> {
        let server = self.server.address;
        let own = &mut self.clients[client];
        if own.session.is_none() {
            return Ok(());
        }
        own.connection = None;
        own.reconnect(server, SHORTEST_MS, AsWho::Itself, &mut self.names)?;
        let path = format!("{}-expires", self.root);
        let create = Request::Create {
            path: path.clone(),
            data: None,
            acl: vec![Acl::open()],
            flags: 1,
            with_stat: false,
        };
        own.ask([&Action::Ask(create)].into_iter(), &mut self.names);
        own.settle(&mut self.names);
        own.connection = None;
        self.server.control.wait_gone(&path)
    }

    /// Sessions that a program leaves would end in the middle of a later one.
    fn close_sessions(&mut self) -> Result<()> {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if client.session.is_some() && client.connection.is_none() {
                client.reconnect(self.server.address, 30_000, AsWho::Itself, &mut self.names)?;
            }
            if client.connection.is_some() {
                client.ask([&Action::Ask(Request::Close)].into_iter(), &mut self.names);
            }
            for client in &mut self.clients {
                client.settle(&mut self.names);
            }
            self.write_down(None, true);
        }
        Ok(())
    }

    fn dump(&mut self) -> Result<()> {
        for reply in self.server.control.dump(self.root)? {
            let mut asked = Asked::from([(reply.xid, reply.request.op())]);
            let message = self.names.message(&reply.frame, &mut asked);
            // The runner's own xids differ when one server needed more looks at something.
            let text = message.text.replacen(&format!("xid {} ", reply.xid), "", 1);
            let text = format!("{:?}: {text}", reply.request);
            self.seen.push(Seen { step: None, client: self.clients.len(), text });
        }
        Ok(())
    }

    fn write_down(&mut self, step: Option<usize>, unordered: bool) {
        for (number, client) in self.clients.iter_mut().enumerate() {
            if unordered {
                sort_events_of_one_zxid(&mut client.messages);
            }
            let messages = client.messages.drain(..);
            self.seen.extend(messages.map(|Message { text, .. }| Seen { step, client: number, text }));
        }
    }
}

impl Client {
    fn connect(&mut self, server: SocketAddr, request: &ConnectRequest, names: &mut Names) -> Result<()> {
        let mut connection = Connection::dial(server)?;
        let mut out = BytesMut::new();
        request.encode(&mut out);
        connection.send(&out);
        let frame = match connection.next() {
            Next::Frame(frame) => frame,
            next => {
                self.note(format!("no session: {next:?}"));
                return Ok(());
            }
        };
        let length = frame.len();
        let Ok(granted) = ConnectResponse::decode(frame.clone()) else {
            self.note(format!("a grant that cannot be read: {frame:x}"));
            return Ok(());
        };
        let (timeout_ms, read_only) = (granted.timeout_ms, granted.read_only);
        if granted.session_id == SessionId::NONE {
            let zeros = granted.password == [0; 16];
            self.note(format!(
                "no such session, {length} bytes, {timeout_ms} ms, {read_only:?}, zeros {zeros}"
            ));
            if connection.next() != Next::HungUp {
                self.note("not hung up behind that");
            }
            return Ok(());
        }
        if request.session_id == SessionId::NONE {
            names.sessions.push(granted.session_id);
        }
        let number = names.sessions.iter().position(|session| *session == granted.session_id);
        self.note(format!("session {number:?}, {length} bytes, {timeout_ms} ms, {read_only:?}"));
        self.session = Some(granted);
        self.connection = Some(connection);
        self.asked.clear();
        Ok(())
    }

    fn reconnect(
        &mut self,
        server: SocketAddr,
        timeout_ms: i32,
        as_who: AsWho,
        names: &mut Names,
    ) -> Result<()> {
        let Some(granted) = &self.session else { return Ok(()) };
        let mut password = granted.password;
        let mut last_zxid_seen = names.base;
        match as_who {
            AsWho::Itself => {}
            AsWho::Impostor => password[0] ^= 1,
            AsWho::FromTheFuture => last_zxid_seen = Zxid(i64::MAX),
        }
        let request = ConnectRequest {
            session_id: granted.session_id,
            password: Bytes::copy_from_slice(&password),
            last_zxid_seen,
            ..new_session(timeout_ms, Some(false))
        };
        let before = self.connection.take();
        self.connect(server, &request, names)?;
        if let Some(mut before) = before {
            // Whoever was let in for this session, the other connection may have heard something before.
            if self.connection.is_none() && as_who == AsWho::FromTheFuture {
                self.connection = Some(before);
            } else {
                loop {
                    match before.next() {
                        Next::Frame(frame) => {
                            let message = names.message(&frame, &mut self.asked);
                            self.messages.push(message);
                        }
                        Next::HungUp => break,
                        Next::Silent => {
                            self.note(LEFT_OPEN);
                            break;
                        }
                    }
                }
            }
        }
        if self.connection.is_none() && as_who == AsWho::Itself {
            self.session = None;
        }
        Ok(())
    }

    /// Sends what these actions say at once, and reads until each is answered or the server hangs up.
    fn ask<'a>(&mut self, actions: impl Iterator<Item = &'a Action>, names: &mut Names) {
        let Some(connection) = &mut self.connection else { return };
        let mut out = BytesMut::new();
        let (mut closes, mut hangs_up) = (false, false);
        for action in actions {
            self.xid += 1;
            hangs_up |= action.hangs_up();
            match action {
                Action::Ask(request) => {
                    with_zxid(request, names).encode(self.xid, &mut out);
                    self.asked.push_back((self.xid, request.op()));
                    closes |= *request == Request::Close;
                }
                Action::Malformed { op, body } => {
                    out.put_i32(8 + body.len() as i32);
                    out.put_i32(self.xid);
                    out.put_i32(*op);
                    out.put_slice(body);
                    self.asked.push_back((self.xid, OpCode::from_i32(*op).unwrap_or(OpCode::Check)));
                }
                Action::Bytes(bytes) => out.put_slice(bytes),
                _ => {}
            }
        }
        connection.send(&out);
        while !self.asked.is_empty() && self.read(names) {}
        if closes {
            self.session = None;
        }
        // ZooKeeper may be slower to do so than to answer what comes behind.
        if closes || hangs_up {
            while self.read(names) {}
        }
    }

    /// Reads what has come until now.
    fn settle(&mut self, names: &mut Names) {
        let Some(connection) = &mut self.connection else { return };
        let mut out = BytesMut::new();
        Request::Ping.encode(xid::PING, &mut out);
        connection.send(&out);
        self.asked.push_back((xid::PING, OpCode::Ping));
        while !self.asked.is_empty() && self.read(names) {}
        // The answer to the ping itself says the same everywhere; its zxid is in the next reply too.
    }

    /// Takes the next message; false if there is none.
    fn read(&mut self, names: &mut Names) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let end = match connection.next() {
            Next::Frame(frame) => {
                let message = names.message(&frame, &mut self.asked);
                self.messages.push(message);
                return true;
            }
            Next::HungUp => "hung up",
            Next::Silent => "silent",
        };
        self.note(end);
        self.connection = None;
        self.asked.clear();
        false
    }

    fn note(&mut self, text: impl Into<String>) {
        self.messages.push(Message::note(text));
    }
}

/// Programs count zxids from their beginning.
fn with_zxid(request: &Request, names: &Names) -> Request {
    let mut request = request.clone();
    if let Request::SetWatches { relative_zxid, .. } | Request::SetWatches2 { relative_zxid, .. } =
        &mut request
    {
        *relative_zxid = names.nth_zxid(*relative_zxid);
    }
    request
}

fn sort_events_of_one_zxid(messages: &mut [Message]) {
    for events in messages.chunk_by_mut(|first, second| first.event_zxid == second.event_zxid) {
        if events.first().is_some_and(|event| event.event_zxid.is_some()) {
            events.sort_unstable();
        }
    }
}
