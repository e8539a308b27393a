//! Random clients of a [`Server`], and the history of what they saw.

use std::collections::BTreeSet;
use std::iter;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use zke_check::event::{Answer, Event, EventKind, NodeKind, Op, Outcome, Phase, Refusal, SessionState};

use crate::server::{Bug, FIRST, Server};

const TIMEOUT_MS: u64 = 2;
const PATHS: [&str; 7] = ["/a", "/a/x", "/a/y", "/b", "/b/x", "/b/y", "/b/x/z"];

/// What came of one seed.
pub struct Run {
    pub events: Vec<Event>,
    /// How often the bug showed itself.
    pub injected: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Watched {
    Data,
    Exist,
    Child,
    Persistent,
    Recursive,
}

enum Asked {
    Sent {
        id: u64,
        op: Op,
    },
    /// A write, done at this zxid.
    Done {
        id: u64,
        op: Op,
        zxid: i64,
        outcome: Outcome,
    },
}

struct Client {
    name: String,
    session: i64,
    connected: bool,
    /// Where the member is that it is connected to.
    member: i64,
    /// The largest zxid it has seen on this session.
    seen: i64,
    asked: Option<Asked>,
    /// Armed at the member.
    armed: BTreeSet<(Watched, String)>,
    /// What the client still waits for.
    wanted: BTreeSet<(Watched, String)>,
    heard_us: u64,
    /// An event that its member holds back.
    held: Option<Event>,
    /// What its sync has to show.
    floor: i64,
}

struct World {
    rng: StdRng,
    server: Server,
    now_us: u64,
    next_id: u64,
    next_session: i64,
    next_name: usize,
    alive: BTreeSet<i64>,
    /// Lost on their way, and not yet done.
    limbo: Vec<(i64, Op)>,
    /// Sessions without a client, and when they were heard from.
    orphans: Vec<(i64, u64)>,
    bug: Option<Bug>,
    bugs_left: usize,
    run: Run,
    loses: f64,
    /// The largest zxid of an acknowledged write.
    acknowledged: i64,
}

/// `loses` is how likely a connection is lost at each step of a request; with a `bug`, it shows itself once at most.
pub fn run(seed: u64, clients: usize, steps: usize, loses: f64, bug: Option<Bug>) -> Run {
    let mut world = World {
        rng: StdRng::seed_from_u64(seed),
        server: Server::new(),
        now_us: 1000,
        next_id: 1,
        next_session: 0x100,
        next_name: 0,
        alive: BTreeSet::new(),
        limbo: Vec::new(),
        orphans: Vec::new(),
        bug,
        bugs_left: 1,
        run: Run { events: Vec::new(), injected: 0 },
        loses,
        acknowledged: FIRST,
    };
    let mut clients: Vec<Client> = (0..clients).map(|_| world.client()).collect();
    for _ in 0..steps {
        let index = world.rng.random_range(0..clients.len());
        world.step(&mut clients[index]);
    }
    world.settle(&mut clients);
    world.run
}

impl World {
    fn client(&mut self) -> Client {
        self.next_name += 1;
        let mut client = Client {
            name: format!("c{}", self.next_name),
            session: 0,
            connected: false,
            member: FIRST,
            seen: FIRST,
            asked: None,
            armed: BTreeSet::new(),
            wanted: BTreeSet::new(),
            heard_us: 0,
            held: None,
            floor: 0,
        };
        self.new_session(&mut client);
        client
    }

    fn step(&mut self, client: &mut Client) {
        self.now_us += self.rng.random_range(1..60);
        if !self.limbo.is_empty() && self.rng.random_bool(0.2) {
            let (session, op) = self.limbo.swap_remove(0);
            if self.alive.contains(&session) && self.rng.random_bool(0.6) {
                self.server.write(session, &op, None);
            }
        }
        self.expire();
        if !client.connected {
            return self.reconnect(client);
        }
        if client.asked.is_some() && self.rng.random_bool(self.loses) {
            return self.lose(client);
        }
        match client.asked.take() {
            None => {
                if self.rng.random_bool(0.3) {
                    let to = self.rng.random_range(client.member..=self.server.zxid());
                    self.advance(client, to);
                }
                let op = self.random_op();
                self.ask(client, op);
            }
            Some(Asked::Sent { id, op }) => self.serve(client, id, op),
            Some(Asked::Done { id, op, zxid, outcome }) => {
                if matches!(outcome, Outcome::Ok(_)) {
                    self.acknowledged = self.acknowledged.max(zxid);
                }
                self.advance(client, zxid);
                self.reply(client, id, zxid, outcome);
                if op == (Op::Close {}) {
                    self.alive.remove(&client.session);
                    self.new_session(client);
                }
            }
        }
    }

    fn ask(&mut self, client: &mut Client, op: Op) {
        let id = self.next_id;
        self.next_id += 1;
        client.floor = self.acknowledged;
        let process = client.name.clone();
        let (at_us, session) = (self.now_us, client.session);
        self.run.events.push(Event::Invoke { at_us, process, id, session, op: op.clone() });
        client.asked = Some(Asked::Sent { id, op });
    }

    fn serve(&mut self, client: &mut Client, id: u64, op: Op) {
        client.heard_us = self.now_us;
        match op {
            Op::Sync { .. } => {
                if client.floor <= client.member || !self.strikes(Bug::IdleSync) {
                    self.advance(client, self.server.zxid());
                }
                self.reply(client, id, client.member, Outcome::Ok(Answer::default()));
            }
            Op::SetWatches { .. } => self.catch_up(client, id, &op),
            Op::Exists { .. } | Op::GetData { .. } | Op::GetChildren { .. } => self.read(client, id, &op),
            Op::AddWatch { path, recursive } => {
                let how = if recursive { Watched::Recursive } else { Watched::Persistent };
                client.armed.insert((how, path.clone()));
                client.wanted.insert((how, path));
                self.reply(client, id, client.member, Outcome::Ok(Answer::default()));
            }
            op => {
                let bug = self.write_bug(client.session, &op);
                let (zxid, outcome) = self.server.write(client.session, &op, bug);
                client.asked = Some(Asked::Done { id, op, zxid, outcome });
            }
        }
    }

    /// Which of the bugs of writes strikes this one.
    fn write_bug(&mut self, session: i64, op: &Op) -> Option<Bug> {
        let bug = self.bug?;
        let tree = self.server.tree(self.server.zxid());
        let mut trial = Server::new();
        trial.states = vec![(tree.clone(), Vec::new())];
        let (_, outcome) = trial.write(session, op, None);
        let done = matches!(outcome, Outcome::Ok(_));
        let changes = !trial.states[1].1.is_empty();
        let fits = match bug {
            Bug::LostWrite | Bug::SharedZxid => done && changes && self.server.zxid() > FIRST,
            Bug::DoneTwice => done && matches!(op, Op::SetData { version: -1, .. }),
            Bug::HalfMulti => {
                matches!(outcome, Outcome::Error(Refusal { failed: Some(failed), .. }) if failed > 0)
                    && !matches!(op, Op::Multi { ops } if matches!(ops[0], Op::Check { .. }))
            }
            Bug::LeftEphemeral => *op == (Op::Close {}) && changes,
            _ => false,
        };
        (fits && self.strikes(bug)).then_some(bug)
    }

    fn read(&mut self, client: &mut Client, id: u64, op: &Op) {
        let mut at = client.member;
        if client.seen > FIRST + 3 && self.strikes(Bug::FallingBack) {
            at = client.seen - self.rng.random_range(1..=3);
        }
        let mut outcome = self.server.read(at, op);
        if let (Op::GetData { path, .. }, Outcome::Ok(answer)) = (op, &mut outcome) {
            let mzxid = answer.stat.map_or(0, |stat| stat.mzxid);
            let before = (mzxid > FIRST).then(|| self.server.tree(mzxid - 1).get(path).cloned()).flatten();
            if let Some(before) = before.filter(|_| self.strikes(Bug::OldData)) {
                *answer = Answer {
                    data: Some(before.data.as_str().into()),
                    stat: Some(before.stat),
                    ..Answer::default()
                };
            }
        }
        let there = matches!(outcome, Outcome::Ok(_));
        let armed = match op {
            Op::Exists { path, watch: true } if !there => Some((Watched::Exist, path)),
            Op::Exists { path, watch: true } | Op::GetData { path, watch: true } if there => {
                Some((Watched::Data, path))
            }
            Op::GetChildren { path, watch: true } if there => Some((Watched::Child, path)),
            _ => None,
        };
        if let Some((how, path)) = armed {
            client.armed.insert((how, path.clone()));
            client.wanted.insert((how, path.clone()));
        }
        self.reply(client, id, at, outcome);
    }

    fn catch_up(&mut self, client: &mut Client, id: u64, op: &Op) {
        let Op::SetWatches { relative_zxid, .. } = op else { return };
        let mut silent = false;
        for (how, path) in client.wanted.clone() {
            let node = self.server.tree(client.member).get(&path).map(|node| node.stat);
            let missed = match (how, node) {
                (Watched::Persistent | Watched::Recursive, _) | (Watched::Exist, None) => None,
                (Watched::Exist, Some(_)) => Some(EventKind::NodeCreated),
                (_, None) => Some(EventKind::NodeDeleted),
                (Watched::Data, Some(stat)) => {
                    (stat.mzxid > *relative_zxid).then_some(EventKind::NodeDataChanged)
                }
                (Watched::Child, Some(stat)) => {
                    (stat.pzxid > *relative_zxid).then_some(EventKind::NodeChildrenChanged)
                }
            };
            match missed {
                // The client believes that it still waits.
                Some(_) if silent || self.strikes(Bug::NoCatchingUp) => silent = true,
                Some(kind) => {
                    client.wanted.remove(&(how, path.clone()));
                    self.tell(client, kind, path, None);
                }
                None => {
                    client.armed.insert((how, path));
                }
            }
        }
        self.reply(client, id, client.member, Outcome::Ok(Answer::default()));
    }

    fn reply(&mut self, client: &mut Client, id: u64, zxid: i64, outcome: Outcome) {
        client.seen = client.seen.max(zxid);
        let (ok, error) = match outcome {
            Outcome::Ok(answer) => (Some(answer), None),
            Outcome::Error(refusal) => (None, Some(refusal)),
            Outcome::Unknown(_) => return,
        };
        let (at_us, process) = (self.now_us, client.name.clone());
        let zxid = Some(zxid);
        self.run.events.push(Event::Return { at_us, process, id, zxid, ok, error, unknown: None });
        self.run.events.extend(client.held.take());
    }

    /// The member applies what there is, and tells.
    fn advance(&mut self, client: &mut Client, to: i64) {
        for zxid in client.member + 1..=to {
            for (kind, path) in self.server.told(zxid).clone() {
                let once: &[Watched] = match kind {
                    EventKind::NodeChildrenChanged => &[Watched::Child],
                    EventKind::NodeDeleted => &[Watched::Data, Watched::Exist, Watched::Child],
                    _ => &[Watched::Data, Watched::Exist],
                };
                let mut hears = client.armed.contains(&(Watched::Persistent, path.clone()));
                for how in once {
                    let watch = (*how, path.clone());
                    hears |= client.armed.remove(&watch);
                    client.wanted.remove(&watch);
                }
                if kind != EventKind::NodeChildrenChanged {
                    let mut above = iter::successors(Some(path.as_str()), |path| {
                        path.rsplit_once('/').map(|(above, _)| above).filter(|above| !above.is_empty())
                    });
                    hears |=
                        above.any(|above| client.armed.contains(&(Watched::Recursive, above.to_owned())));
                }
                if hears {
                    self.tell(client, kind, path, Some(zxid));
                }
            }
        }
        client.member = client.member.max(to);
    }

    fn tell(&mut self, client: &mut Client, kind: EventKind, path: String, zxid: Option<i64>) {
        let (at_us, process, session) = (self.now_us, client.name.clone(), client.session);
        let event = Event::Watch { at_us, process, session, kind, path, zxid };
        client.seen = client.seen.max(zxid.unwrap_or(0));
        if zxid.is_some() && self.strikes(Bug::LostEvent) {
            return;
        }
        if zxid.is_some()
            && matches!(client.asked, Some(Asked::Done { .. }) | None)
            && self.strikes(Bug::LateEvent)
        {
            client.held = Some(event);
            return;
        }
        if self.strikes(Bug::DoubledEvent) {
            self.run.events.push(event.clone());
        }
        self.run.events.push(event);
    }

    fn lose(&mut self, client: &mut Client) {
        let lost = client.asked.take();
        if let Some(Asked::Sent { id, .. } | Asked::Done { id, .. }) = &lost
            && self.rng.random_bool(0.8)
        {
            let (at_us, process, id) = (self.now_us, client.name.clone(), *id);
            let unknown = Some("connection lost".to_owned());
            self.run.events.push(Event::Return {
                at_us,
                process,
                id,
                zxid: None,
                ok: None,
                error: None,
                unknown,
            });
        }
        match lost {
            Some(Asked::Sent { op, .. }) => self.limbo.push((client.session, op)),
            Some(Asked::Done { op: Op::Close {}, .. }) => drop(self.alive.remove(&client.session)),
            _ => {}
        }
        self.limbo.retain(|(_, op)| {
            matches!(op, Op::Create { .. } | Op::Delete { .. } | Op::SetData { .. } | Op::Multi { .. })
        });
        client.connected = false;
        client.armed.clear();
        client.held = None;
        if self.rng.random_bool(0.3) {
            // The whole process ends; its session is nobody's.
            self.orphans.push((client.session, client.heard_us.max(self.now_us)));
            *client = self.client();
            return;
        }
        self.session(client, SessionState::Suspended);
    }

    fn reconnect(&mut self, client: &mut Client) {
        let may_go = self.now_us > client.heard_us + TIMEOUT_MS * 1000 && self.rng.random_bool(0.3);
        let is_alive = self.alive.contains(&client.session);
        if is_alive && (may_go || self.owns_some(client.session) && self.strikes(Bug::EarlyExpiry)) {
            self.end(client.session);
        }
        if !self.alive.contains(&client.session) {
            self.session(client, SessionState::Expired);
            return self.new_session(client);
        }
        if self.rng.random_bool(0.5) {
            return;
        }
        client.member = self.rng.random_range(client.seen..=self.server.zxid());
        client.heard_us = self.now_us;
        client.connected = true;
        self.session(client, SessionState::Connected);
        if !client.wanted.is_empty() {
            let of =
                |how| client.wanted.iter().filter(move |(of, _)| *of == how).map(|(_, path)| path.clone());
            let op = Op::SetWatches {
                relative_zxid: client.seen,
                data: of(Watched::Data).collect(),
                exist: of(Watched::Exist).collect(),
                child: of(Watched::Child).collect(),
                persistent: of(Watched::Persistent).collect(),
                recursive: of(Watched::Recursive).collect(),
            };
            self.ask(client, op);
        }
    }

    fn owns_some(&self, session: i64) -> bool {
        let mut nodes = self.server.tree(self.server.zxid()).values();
        nodes.any(|node| node.stat.ephemeral_owner == session)
    }

    fn new_session(&mut self, client: &mut Client) {
        self.next_session += 1;
        client.session = self.next_session;
        self.alive.insert(client.session);
        client.connected = true;
        client.member = self.rng.random_range(FIRST..=self.server.zxid());
        client.seen = FIRST;
        client.armed.clear();
        client.wanted.clear();
        client.heard_us = self.now_us;
        self.session(client, SessionState::Connected);
    }

    fn session(&mut self, client: &Client, state: SessionState) {
        let (at_us, process, session) = (self.now_us, client.name.clone(), client.session);
        let timeout_ms = (state == SessionState::Connected).then_some(TIMEOUT_MS);
        self.run.events.push(Event::Session { at_us, process, session, state, member: None, timeout_ms });
    }

    /// Sessions whose processes ended.
    fn expire(&mut self) {
        let now_us = self.now_us;
        let due = self.orphans.iter().position(|(_, heard_us)| now_us > heard_us + TIMEOUT_MS * 1000);
        if let Some(index) = due {
            let (session, _) = self.orphans.swap_remove(index);
            self.end(session);
        }
    }

    fn end(&mut self, session: i64) {
        if self.alive.remove(&session) {
            self.server.write(session, &Op::Close {}, None);
        }
    }

    /// Whether the bug shows itself here.
    fn strikes(&mut self, bug: Bug) -> bool {
        let strikes = self.bug == Some(bug) && self.bugs_left > 0 && self.rng.random_bool(0.3);
        if strikes {
            self.bugs_left -= 1;
            self.run.injected += 1;
        }
        strikes
    }

    /// Everybody comes back, syncs and looks; then the tree is dumped.
    fn settle(&mut self, clients: &mut [Client]) {
        self.loses = 0.0;
        for client in &mut *clients {
            while !client.connected || client.asked.is_some() {
                self.step(client);
            }
        }
        let bug = self.bug.take();
        for client in clients {
            let reads = PATHS.iter().flat_map(|path| {
                let path = (*path).to_owned();
                [Op::GetData { path: path.clone(), watch: false }, Op::GetChildren { path, watch: false }]
            });
            for op in iter::once(Op::Sync { path: "/".to_owned() }).chain(reads) {
                self.now_us += 10;
                self.ask(client, op);
                if let Some(Asked::Sent { id, op }) = client.asked.take() {
                    self.serve(client, id, op);
                }
            }
        }
        self.bug = bug;
        let (at_us, zxid) = (self.now_us + 10, self.server.zxid());
        let tree = self.server.tree(zxid).clone();
        for name in ["one", "two"] {
            let (member, digest) = (name.to_owned(), format!("{}", tree.len()));
            self.run.events.push(Event::Member { at_us, member, zxid, index: Some(9), digest });
        }
        let below: Vec<_> = tree.iter().collect();
        for (path, node) in &below {
            let (path, data) = ((*path).clone(), Some(node.data.as_str().into()));
            self.run.events.push(Event::Node { path, data, stat: node.stat });
        }
        let (roots, nodes) = (vec!["/".to_owned()], below.len());
        self.run.events.push(Event::Dump { at_us, zxid, roots, nodes });
        self.run.events.push(Event::Fault { at_us, name: "none".to_owned(), phase: Phase::Begin });
    }

    fn random_op(&mut self) -> Op {
        let path = (*PATHS.choose(&mut self.rng).expect("there are paths")).to_owned();
        let watch = self.rng.random_bool(0.4);
        match self.rng.random_range(0..100) {
            0..45 => self.random_write(path),
            45..52 => {
                let first = (*PATHS.choose(&mut self.rng).expect("there are paths")).to_owned();
                let check = Op::Check { path: path.clone(), version: self.rng.random_range(-1..2) };
                let mut ops = vec![self.random_write(first), self.random_write(path)];
                if self.rng.random_bool(0.3) {
                    ops.push(check);
                }
                Op::Multi { ops }
            }
            52..58 => Op::Sync { path },
            58..68 => Op::Exists { path, watch },
            68..85 => Op::GetData { path, watch },
            85..96 => Op::GetChildren { path, watch },
            96..98 => Op::AddWatch { path, recursive: watch },
            _ => Op::Close {},
        }
    }

    fn random_write(&mut self, path: String) -> Op {
        let data: std::sync::Arc<str> = format!("d{}", self.rng.random_range(0..40)).into();
        let version = if self.rng.random_bool(0.3) { self.rng.random_range(0..3) } else { -1 };
        match self.rng.random_range(0..10) {
            0..4 => {
                let sequential = self.rng.random_bool(0.15);
                let path = if sequential { "/b/q-".to_owned() } else { path };
                let kind = if self.rng.random_bool(0.3) { NodeKind::Ephemeral } else { NodeKind::Persistent };
                Op::Create { path, data, kind, sequential }
            }
            4..6 => Op::Delete { path, version },
            _ => Op::SetData { path, data, version },
        }
    }
}
