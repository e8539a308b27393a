//! Which requests are sent, and whether their replies say what they must.
//!
//! The requests of get and set are made once, before the load: what is measured is the server and not this program's
//! allocator. Each connection draws its own numbers, the same ones in each run.

use bytes::{BufMut, Bytes, BytesMut};
use zke_wire::{Acl, ErrorCode, Request, Response};

use crate::arguments::{Arguments, Op};

/// Of ten requests in the mixed load so many are sets.
const MIXED_SETS_OF_TEN: u32 = 1;

/// The nodes that exist, and what is asked of them.
pub struct Workload {
    op: Op,
    folder: String,
    gets: Vec<Request>,
    sets: Vec<Request>,
    /// What stands behind the key in each node's data.
    filler: Bytes,
}

/// A request on its way, by which its reply is checked.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    Get {
        key: usize,
    },
    Set,
    /// The number of the new node within its connection.
    Create {
        number: u64,
    },
}

/// What one connection asks for.
pub struct Asker<'a> {
    workload: &'a Workload,
    /// Of the nodes that this connection creates.
    folder: String,
    created: u64,
    random: u64,
    /// The one request that is made anew each time.
    create: Request,
}

impl Workload {
    pub fn new(arguments: &Arguments) -> Workload {
        let bytes = arguments.bytes as usize;
        // Data sizes have nodes of their own, so that a run finds those of the runs before.
        let folder = format!("/load-{bytes}");
        let filler: Bytes = (0..bytes - size_of::<u64>()).map(|at| (at % 251) as u8).collect();
        let paths = || (0..arguments.keys.get()).map(|key| format!("{folder}/{key:06}"));
        let get = |path| Request::GetData { path, watch: false };
        let set = |(key, path)| Request::SetData { path, data: Some(data(key, &filler)), version: -1 };
        let (gets, sets) = (paths().map(get).collect(), paths().enumerate().map(set).collect());
        Workload { op: arguments.op, folder, gets, sets, filler }
    }

    /// The node below which all others are.
    pub fn folder(&self) -> Request {
        create(self.folder.clone(), Bytes::new())
    }

    /// What makes each node as it must be, in order.
    pub fn nodes(&self) -> impl Iterator<Item = Request> {
        self.sets.iter().filter_map(|set| match set {
            Request::SetData { path, data: Some(data), .. } => Some(create(path.clone(), data.clone())),
            _ => None,
        })
    }

    /// Is there if all nodes are: it is made last.
    pub fn last_node(&self) -> Option<Request> {
        match self.gets.last()? {
            Request::GetData { path, .. } => Some(Request::Exists { path: path.clone(), watch: false }),
            _ => None,
        }
    }

    /// What connection `number` asks for; `run` is another one for each run on the same ensemble.
    pub fn asker(&self, number: usize, run: u64) -> Asker<'_> {
        let folder = format!("/load-{run}-{number}");
        let data = data(number, &self.filler);
        Asker {
            workload: self,
            create: create(String::new(), data),
            folder,
            created: 0,
            random: 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1),
        }
    }

    /// Whether the reply to `asked` holds what it must; `Err` if the server refused.
    pub fn is_right(
        &self,
        asker: &Asker<'_>,
        asked: Asked,
        result: &Result<Response, ErrorCode>,
    ) -> Result<bool, ErrorCode> {
        let len = size_of::<u64>() + self.filler.len();
        Ok(match (asked, result.as_ref().map_err(|code| *code)?) {
            (Asked::Get { key }, Response::Data { data: Some(data), .. }) => {
                data.split_at_checked(size_of::<u64>()).is_some_and(|(number, filler)| {
                    number == (key as u64).to_be_bytes() && filler == self.filler
                })
            }
            (Asked::Set, Response::Stat(stat)) => usize::try_from(stat.data_length) == Ok(len),
            (Asked::Create { number }, Response::Create { path }) => *path == asker.path(number),
            _ => false,
        })
    }
}

impl Asker<'_> {
    /// The node for those that this connection creates, if it creates any.
    pub fn folder(&self) -> Option<Request> {
        (self.workload.op == Op::Create).then(|| create(self.folder.clone(), Bytes::new()))
    }

    pub fn next(&mut self) -> (Asked, &Request) {
        let key = self.draw() as usize % self.workload.gets.len();
        let sets = match self.workload.op {
            Op::Create => return self.next_create(),
            Op::Set => true,
            Op::Get => false,
            Op::Mixed => self.draw() % 10 < MIXED_SETS_OF_TEN,
        };
        match sets {
            true => (Asked::Set, &self.workload.sets[key]),
            false => (Asked::Get { key }, &self.workload.gets[key]),
        }
    }

    fn next_create(&mut self) -> (Asked, &Request) {
        let number = self.created;
        self.created += 1;
        let new = self.path(number);
        if let Request::Create { path, .. } = &mut self.create {
            *path = new;
        }
        (Asked::Create { number }, &self.create)
    }

    fn path(&self, number: u64) -> String {
        format!("{}/{number:08}", self.folder)
    }

    /// Xorshift: good enough to choose nodes, and two nanoseconds.
    fn draw(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }
}

fn data(key: usize, filler: &[u8]) -> Bytes {
    let mut data = BytesMut::with_capacity(size_of::<u64>() + filler.len());
    data.put_u64(key as u64);
    data.put_slice(filler);
    data.freeze()
}

fn create(path: String, data: Bytes) -> Request {
    Request::Create { path, data: Some(data), acl: vec![Acl::open()], flags: 0, with_stat: false }
}
