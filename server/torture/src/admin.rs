//! What the harness itself asks members for: their tree, their digests, another membership.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use zke_check::event::Stat;
use zke_client::{Connection, Message, new_session};
use zke_handle::requests;
use zke_wire::{Acl, ErrorCode, Request, Response, Zxid};

use crate::ensemble::SUPER;

/// For the answer to one request of a member that serves; a change of the membership may wait for others.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const SESSION_TIMEOUT_MS: i32 = 10_000;
/// ZooKeeper's own nodes: no load writes them.
const RESERVED: &str = "/zookeeper";
/// Requests that wait for their answers at a time.
const WINDOW: usize = 64;

/// The whole tree but for ZooKeeper's own nodes, as one member shows it behind a `sync`.
#[derive(Debug, PartialEq)]
pub struct Tree {
    pub nodes: BTreeMap<String, (String, Stat)>,
}

/// A session on one member.
pub struct Admin<'a> {
    runtime: &'a Runtime,
    connection: Connection,
    pub last_zxid: Zxid,
}

impl<'a> Admin<'a> {
    pub fn connect(runtime: &'a Runtime, member: SocketAddr) -> Result<Admin<'a>> {
        let request = new_session(SESSION_TIMEOUT_MS);
        let opening = Connection::open(member, &request, WINDOW);
        let opened = runtime.block_on(async { timeout(ANSWER_LIMIT, opening).await });
        let connection = opened.context("no session was granted in time")?.context("ask for a session")?;
        Ok(Admin { runtime, connection, last_zxid: Zxid(0) })
    }

    /// Also waits until the member has applied all that was acknowledged.
    pub fn tree(&mut self) -> Result<Tree> {
        self.call(&Request::Sync { path: "/".to_owned() })?.ok().context("sync")?;
        let mut nodes = BTreeMap::new();
        let mut paths = vec!["/".to_owned()];
        while let Some(path) = paths.pop() {
            let (data, children) = self.node(&path)?;
            let above = path.trim_end_matches('/').to_owned();
            let below = children.into_iter().map(|name| format!("{above}/{name}"));
            paths.extend(below.filter(|path| path != RESERVED));
            nodes.insert(path, data);
        }
        Ok(Tree { nodes })
    }

    fn node(&mut self, path: &str) -> Result<((String, Stat), Vec<String>)> {
        let read = Request::GetData { path: path.to_owned(), watch: false };
        let Ok(Response::Data { data, stat }) = self.call(&read)? else {
            bail!("{path} went while the tree was read")
        };
        let list = Request::GetChildren { path: path.to_owned(), watch: false, with_stat: true };
        let Ok(Response::Children2 { children, .. }) = self.call(&list)? else {
            bail!("{path} went while the tree was read")
        };
        let text = String::from_utf8_lossy(&data.unwrap_or_default()).into_owned();
        Ok(((text, requests::fields(&stat)), children))
    }

    /// Uses up so many zxids and changes nothing, since a refused write has a zxid too. Many of them are one entry.
    pub fn use_zxids(&mut self, count: usize) -> Result<()> {
        self.delete_nothing(count, WINDOW)
    }

    /// Makes the log so many entries longer, at least, and changes nothing.
    pub fn use_entries(&mut self, count: usize) -> Result<()> {
        self.delete_nothing(count, 1)
    }

    /// Deletes what is not there so many times, as many at a time as said.
    fn delete_nothing(&mut self, count: usize, window: usize) -> Result<()> {
        let delete = Request::Delete { path: "/nobody-has-this".to_owned(), version: -1 };
        for first in (0..count).step_by(window) {
            let batch = window.min(count - first);
            for _ in 0..batch {
                self.connection.send(&delete)?;
            }
            for _ in 0..batch {
                let refused = self.answer("a delete")?;
                ensure!(
                    refused == Err(ErrorCode::NoNode),
                    "deleting what is not there was answered {refused:?}"
                );
            }
        }
        Ok(())
    }

    /// Creates a node that is not there, takes it away again, and says when the ensemble believed that to be: in ms since
    /// the Unix epoch.
    pub fn time_ms(&mut self) -> Result<i64> {
        let (path, acl) = ("/zookeeper/clock".to_owned(), vec![Acl::open()]);
        let create = Request::Create { path: path.clone(), data: None, acl, flags: 0, with_stat: true };
        let Ok(Response::Create2 { stat, .. }) = self.call(&create)? else { bail!("{path} is not created") };
        let left = self.delete(&path)?;
        ensure!(left.is_none(), "a delete was answered {left:?}");
        Ok(stat.ctime_ms)
    }

    /// Creates a node, or says why not.
    pub fn create(&mut self, path: &str) -> Result<Option<ErrorCode>> {
        let (data, acl) = (Some(Bytes::from_static(b"data")), vec![Acl::open()]);
        Ok(self
            .call(&Request::Create { path: path.to_owned(), data, acl, flags: 0, with_stat: false })?
            .err())
    }

    /// Deletes a node, or says why not.
    pub fn delete(&mut self, path: &str) -> Result<Option<ErrorCode>> {
        Ok(self.call(&Request::Delete { path: path.to_owned(), version: -1 })?.err())
    }

    /// Lets servers join (their lines) or leave (their numbers), as the super user.
    pub fn reconfig(&mut self, joining: Option<String>, leaving: Option<String>) -> Result<()> {
        let auth = Bytes::from_static(SUPER.as_bytes());
        let auth = Request::Auth { scheme: "digest".to_owned(), auth };
        ensure!(self.call(&auth)?.is_ok(), "the super user is not let in");
        let what = format!("reconfig of joining {joining:?} and leaving {leaving:?}");
        let reconfig = Request::Reconfig { joining, leaving, new_members: None, config_id: -1 };
        match self.call(&reconfig)? {
            Ok(_) => Ok(()),
            Err(code) => bail!("{what} was refused: {code:?}"),
        }
    }

    pub fn close(self) -> Result<()> {
        let closing = self.connection.close();
        let closed = self.runtime.block_on(async { timeout(ANSWER_LIMIT, closing).await });
        closed.context("the session was not closed in time")?.context("close a session")
    }

    fn call(&mut self, request: &Request) -> Result<Result<Response, ErrorCode>> {
        self.connection.send(request)?;
        self.answer(&format!("{:?}", request.op()))
    }

    /// The next one: they come in the order of the requests.
    fn answer(&mut self, to: &str) -> Result<Result<Response, ErrorCode>> {
        let what = || format!("wait for the answer to {to}");
        let connection = &mut self.connection;
        let reply = async {
            loop {
                if let Message::Reply(reply) = connection.next().await? {
                    return Ok::<_, zke_client::ClientError>(reply);
                }
            }
        };
        let reply = self.runtime.block_on(async { timeout(ANSWER_LIMIT, reply).await });
        let reply = reply.with_context(what)?.with_context(what)?;
        self.last_zxid = self.last_zxid.max(reply.zxid);
        Ok(reply.result)
    }
}

#[derive(Deserialize)]
struct Hash {
    digests: Vec<Digest>,
}

/// Of the whole replicated state at a round zxid.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Digest {
    pub zxid: i64,
    pub digest: u64,
}

/// What a member says by the admin command `hash`.
pub fn digests(http: SocketAddr) -> Result<Vec<Digest>> {
    let hash: Hash = serde_json::from_str(&get(http, "/commands/hash")?).context("read digests")?;
    Ok(hash.digests)
}

/// One of a member's figures for Prometheus.
pub fn figure(http: SocketAddr, name: &str) -> Result<f64> {
    let figures = get(http, "/metrics")?;
    let value = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.with_context(|| format!("a member shows no {name}"))?.parse().context("read a figure")
}

fn get(http: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&http, ANSWER_LIMIT).context("reach a member's HTTP")?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).context("bound the wait for an answer")?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).context("ask a member's HTTP")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read a member's HTTP")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer of HTTP has a head")?;
    Ok(body.to_owned())
}
