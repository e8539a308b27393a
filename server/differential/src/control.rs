//! The runner's own session on a server: prepares a place for a program, looks at what it left and cleans up.
//!
//! It is the super user, so no access control list that a program makes stands in its way.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use zke_wire::{
    Acl, ConnectRequest, ConnectResponse, ErrorCode, ReplyHeader, Request, Response, SessionId, Zxid,
};

use crate::connection::{Connection, Next};

/// Long beyond the time between two programs: it is asked nothing meanwhile.
const TIMEOUT_MS: i32 = 60_000;
/// For a session to end that nobody keeps alive, on a busy machine: some ten times what it takes.
const EXPIRY: Duration = Duration::from_secs(40);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Below it are the quotas.
const QUOTA: &str = "/zookeeper/quota";

/// The super user of both servers; they are started with its digest.
pub const SUPER: &str = "super:secret";

pub struct Control {
    connection: Connection,
    xid: i32,
}

impl Control {
    pub fn connect(server: SocketAddr) -> Result<Control> {
        let mut connection = Connection::dial(server)?;
        let mut out = BytesMut::new();
        new_session(TIMEOUT_MS, Some(false)).encode(&mut out);
        connection.send(&out);
        let Next::Frame(frame) = connection.next() else { bail!("{server} gave no session") };
        let granted = ConnectResponse::decode(frame).context("read what the server granted")?;
        if granted.session_id == SessionId::NONE {
            bail!("{server} granted no session");
        }
        let mut control = Control { connection, xid: 0 };
        let credentials =
            Request::Auth { scheme: "digest".to_owned(), auth: Bytes::from_static(SUPER.as_bytes()) };
        control.ask(&credentials)?.1.context("become the super user")?;
        Ok(control)
    }

    /// Makes the place for a program; returns the zxid of that.
    pub fn begin(&mut self, root: &str) -> Result<Zxid> {
        let create = Request::Create {
            path: root.to_owned(),
            data: None,
            acl: vec![Acl::open()],
            flags: 0,
            with_stat: false,
        };
        let (header, created) = self.ask(&create)?;
        created.with_context(|| format!("create {root}"))?;
        Ok(header.zxid)
    }

    /// Waits for the end of the session that made this ephemeral.
    pub fn wait_gone(&mut self, ephemeral: &str) -> Result<()> {
        let begun = Instant::now();
        let exists = Request::Exists { path: ephemeral.to_owned(), watch: false };
        while self.ask(&exists)?.1 != Err(ErrorCode::NoNode) {
            if begun.elapsed() > EXPIRY {
                bail!(
                    "{ephemeral} was still there after {} s, so its session has not expired",
                    EXPIRY.as_secs()
                );
            }
            sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Everything below `root`, and the quotas of it: the replies to a getData and a getACL for each node.
    pub fn dump(&mut self, root: &str) -> Result<Vec<Reply>> {
        let mut replies = Vec::new();
        for path in [self.tree(root)?, self.tree(&format!("{QUOTA}{root}"))?].concat() {
            replies.push(self.reply(&Request::GetData { path: path.clone(), watch: false })?);
            replies.push(self.reply(&Request::GetAcl { path })?);
        }
        Ok(replies)
    }

    pub fn clear(&mut self, root: &str) -> Result<()> {
        for path in [self.tree(&format!("{QUOTA}{root}"))?, self.tree(root)?].concat().into_iter().rev() {
            let delete = Request::Delete { path: path.clone(), version: -1 };
            self.ask(&delete)?.1.with_context(|| format!("delete {path}"))?;
        }
        Ok(())
    }

    /// The paths from `root` down, parents first, siblings in order. None if there is no root.
    fn tree(&mut self, root: &str) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        let mut waiting = vec![root.to_owned()];
        while let Some(path) = waiting.pop() {
            let ask = Request::GetChildren { path: path.clone(), watch: false, with_stat: false };
            let Ok(Response::Children { mut children }) = self.ask(&ask)?.1 else { continue };
            children.sort_unstable();
            waiting.extend(children.iter().rev().map(|name| format!("{path}/{name}")));
            paths.push(path);
        }
        Ok(paths)
    }

    fn ask(&mut self, request: &Request) -> Result<(ReplyHeader, Result<Response, ErrorCode>)> {
        let Reply { frame, .. } = self.reply(request)?;
        let (header, response) = Response::decode(request.op(), frame).context("read a reply")?;
        Ok((header, header.err.map_or(Ok(response), Err)))
    }

    fn reply(&mut self, request: &Request) -> Result<Reply> {
        self.xid += 1;
        let mut out = BytesMut::new();
        request.encode(self.xid, &mut out);
        self.connection.send(&out);
        match self.connection.next() {
            Next::Frame(frame) => Ok(Reply { xid: self.xid, request: request.clone(), frame }),
            next => bail!("{request:?} was not answered: {next:?}"),
        }
    }
}

/// What a server answered.
pub struct Reply {
    pub xid: i32,
    pub request: Request,
    pub frame: Bytes,
}

pub fn new_session(timeout_ms: i32, read_only: Option<bool>) -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(0),
        timeout_ms,
        session_id: SessionId::NONE,
        password: Bytes::from_static(&[0; 16]),
        read_only,
    }
}
