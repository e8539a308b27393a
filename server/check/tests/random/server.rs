//! An ensemble in a few lines, that does nothing but be right, or wrong in one chosen way: what it answers to random
//! clients is what the checker is tried on.
//!
//! All states are kept, one for each zxid; a member is a position in them. So a member that lags, an event before its
//! data, and a read at its zxid need no further thought.

use std::collections::BTreeMap;

use zke_check::event::{Answer, EventKind, NodeKind, Op, Outcome, Refusal, Stat};

/// In which way the ensemble is wrong, now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A write is acknowledged and not done.
    LostWrite,
    /// Half of a multi is done.
    HalfMulti,
    /// A write is done twice.
    DoneTwice,
    /// Two writes get one zxid.
    SharedZxid,
    /// `sync` answers at once.
    IdleSync,
    /// A member goes back.
    FallingBack,
    LostEvent,
    DoubledEvent,
    /// The event stands behind the reply.
    LateEvent,
    /// The end of a session leaves one of its ephemerals behind.
    LeftEphemeral,
    /// A session is let go at once when its client is silent.
    EarlyExpiry,
    /// The data of a read are of an older version.
    OldData,
    /// After a reconnect the client is told nothing.
    NoCatchingUp,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub data: String,
    pub stat: Stat,
    created: i32,
}

pub type Tree = BTreeMap<String, Node>;

/// What a write did, for those who watch.
pub type Told = Vec<(EventKind, String)>;

pub struct Server {
    /// By zxid, from `FIRST`.
    pub states: Vec<(Tree, Told)>,
}

pub const FIRST: i64 = 0x1_0000_0000;

impl Server {
    pub fn new() -> Server {
        let stat = Stat {
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            version: 0,
            cversion: 0,
            ephemeral_owner: 0,
            num_children: 0,
        };
        let root = Node { data: String::new(), stat, created: 0 };
        let tree = Tree::from([("/".to_owned(), root.clone()), ("/a".to_owned(), root)]);
        Server { states: vec![(tree, Told::new())] }
    }

    pub fn zxid(&self) -> i64 {
        FIRST + self.states.len() as i64 - 1
    }

    pub fn tree(&self, zxid: i64) -> &Tree {
        &self.states[(zxid - FIRST) as usize].0
    }

    pub fn told(&self, zxid: i64) -> &Told {
        &self.states[(zxid - FIRST) as usize].1
    }

    /// Does a write at the next zxid; `bug` says how wrongly.
    pub fn write(&mut self, session: i64, op: &Op, bug: Option<Bug>) -> (i64, Outcome) {
        let mut tree = self.tree(self.zxid()).clone();
        let mut zxid = self.zxid() + 1;
        let mut told = Told::new();
        let outcome = match op {
            Op::Multi { ops } => {
                let mut results = Vec::new();
                let mut refused = None;
                for (index, op) in ops.iter().enumerate() {
                    match write_one(&mut tree, &mut told, zxid, session, op) {
                        Ok(answer) => results.push(answer),
                        Err(code) => {
                            refused = Some(Refusal { code: code.to_owned(), failed: Some(index) });
                            break;
                        }
                    }
                }
                match refused {
                    Some(refusal) => {
                        if bug != Some(Bug::HalfMulti) {
                            tree = self.tree(self.zxid()).clone();
                            told.clear();
                        }
                        Outcome::Error(refusal)
                    }
                    None => Outcome::Ok(Answer { results: Some(results), ..Answer::default() }),
                }
            }
            Op::Close {} => {
                let mut owned: Vec<String> = tree
                    .iter()
                    .filter(|(_, node)| node.stat.ephemeral_owner == session)
                    .map(|(path, _)| path.clone())
                    .collect();
                if bug == Some(Bug::LeftEphemeral) {
                    owned.pop();
                }
                owned.iter().for_each(|path| remove(&mut tree, &mut told, zxid, path));
                Outcome::Ok(Answer::default())
            }
            op => match write_one(&mut tree, &mut told, zxid, session, op) {
                Ok(answer) => Outcome::Ok(answer),
                Err(code) => Outcome::Error(Refusal { code: code.to_owned(), failed: None }),
            },
        };
        match bug {
            Some(Bug::LostWrite) => self.states.push((self.tree(self.zxid()).clone(), Told::new())),
            Some(Bug::SharedZxid) if matches!(outcome, Outcome::Ok(_)) && self.zxid() > FIRST => {
                zxid -= 1;
                self.states.push((tree, told));
            }
            _ => self.states.push((tree, told)),
        }
        if bug == Some(Bug::DoneTwice) {
            self.write(session, op, None);
        }
        (zxid, outcome)
    }

    pub fn read(&self, zxid: i64, op: &Op) -> Outcome {
        let tree = self.tree(zxid);
        let (Op::Exists { path, .. } | Op::GetData { path, .. } | Op::GetChildren { path, .. }) = op else {
            return Outcome::Ok(Answer::default());
        };
        let Some(node) = tree.get(path) else {
            return Outcome::Error(Refusal { code: "NoNode".to_owned(), failed: None });
        };
        let stat = Some(node.stat);
        Outcome::Ok(match op {
            Op::GetData { .. } => Answer { data: Some(node.data.as_str().into()), stat, ..Answer::default() },
            Op::GetChildren { .. } => {
                let below = if path == "/" { "/".to_owned() } else { format!("{path}/") };
                let names = tree.keys().filter_map(|child| child.strip_prefix(&below));
                let names = names.filter(|name| !name.is_empty() && !name.contains('/'));
                Answer { children: Some(names.map(str::to_owned).collect()), stat, ..Answer::default() }
            }
            _ => Answer { stat, ..Answer::default() },
        })
    }
}

fn parent(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
    }
}

fn write_one(
    tree: &mut Tree,
    told: &mut Told,
    zxid: i64,
    session: i64,
    op: &Op,
) -> Result<Answer, &'static str> {
    let check = |node: &Node, version: i32| {
        if version == -1 || version == node.stat.version { Ok(()) } else { Err("BadVersion") }
    };
    match op {
        Op::Create { path, data, kind, sequential } => {
            let above = tree.get_mut(&parent(path)).ok_or("NoNode")?;
            let path = if *sequential { format!("{path}{:010}", above.created) } else { path.clone() };
            let is_ephemeral = above.stat.ephemeral_owner != 0;
            if tree.contains_key(&path) {
                return Err("NodeExists");
            }
            if is_ephemeral {
                return Err("NoChildrenForEphemerals");
            }
            let above = tree.get_mut(&parent(&path)).ok_or("NoNode")?;
            above.created += 1;
            above.stat.cversion += 1;
            above.stat.num_children += 1;
            above.stat.pzxid = zxid;
            let ephemeral_owner = if *kind == NodeKind::Ephemeral { session } else { 0 };
            let stat = Stat {
                czxid: zxid,
                mzxid: zxid,
                pzxid: zxid,
                version: 0,
                cversion: 0,
                ephemeral_owner,
                num_children: 0,
            };
            told.push((EventKind::NodeCreated, path.clone()));
            told.push((EventKind::NodeChildrenChanged, parent(&path)));
            tree.insert(path.clone(), Node { data: data.to_string(), stat, created: 0 });
            Ok(Answer { path: Some(path), stat: Some(stat), ..Answer::default() })
        }
        Op::Delete { path, version } => {
            let node = tree.get(path).ok_or("NoNode")?;
            check(node, *version)?;
            if node.stat.num_children > 0 {
                return Err("NotEmpty");
            }
            remove(tree, told, zxid, path);
            Ok(Answer::default())
        }
        Op::SetData { path, data, version } => {
            let node = tree.get_mut(path).ok_or("NoNode")?;
            check(node, *version)?;
            node.data = data.to_string();
            node.stat.version += 1;
            node.stat.mzxid = zxid;
            told.push((EventKind::NodeDataChanged, path.clone()));
            Ok(Answer { stat: Some(node.stat), ..Answer::default() })
        }
        Op::Check { path, version } => {
            check(tree.get(path).ok_or("NoNode")?, *version)?;
            Ok(Answer::default())
        }
        _ => Err("BadArguments"),
    }
}

fn remove(tree: &mut Tree, told: &mut Told, zxid: i64, path: &str) {
    tree.remove(path);
    if let Some(above) = tree.get_mut(&parent(path)) {
        above.stat.cversion += 1;
        above.stat.num_children -= 1;
        above.stat.pzxid = zxid;
    }
    told.push((EventKind::NodeDeleted, path.to_owned()));
    told.push((EventKind::NodeChildrenChanged, parent(path)));
}
