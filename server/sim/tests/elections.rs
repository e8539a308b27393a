//! Runs `tests/scripts/*.txt`: each is the story of one ensemble, told by commands and what they print.
//!
//! A script is a list of blocks with blank lines between: comment lines (`#`), command lines, a line `----`, and what
//! the commands print. With `UPDATE_SCRIPTS=1` in the environment the expected output is rewritten, to be reviewed.
//!
//! | command | does |
//! | --- | --- |
//! | `start N` · `blank` | an ensemble of members 1 to N · one more process, on a disk that nobody brought into it |
//! | `partition A … \| B …` · `heal` | no frame between the two sides · every way is open again |
//! | `stop A …` · `crash A …` · `boot A …` | processes that end in order · machines that lose their power · their next start |
//! | `pass MS` | so much virtual time |
//! | `leader among A …` | waits until one of them leads, says whether in a later term than the last that was printed |
//! | `transfer to A` | the leader hands over to A |
//! | `look at A …` | whether they lead or follow, and whether they serve clients |
//! | `write PATH on A` · `sync on A` · `PATH on A` | a write that A's client sends · its barrier · what A has applied |
//! | `begin SESSION MS on A` · `hear SESSION MS on A` · `SESSION lives on A` | a session · A's client pings for so long · whether A knows it |
//! | `equal` | waits until all that run have applied the same |
//!
//! Which member wins an election is the seed's choice and no promise: so a script says among which members it is, and
//! moves leadership by `transfer` where the story needs a name.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use zke_consensus::{Role, Serving};
use zke_sim::world::End;
use zke_sim::{World, world};
use zke_tree::{Command, Term, WriteOp};
use zke_wire::{Acl, SessionId};

const SEED: u64 = 4;
/// A script prints the same whichever of these it is played from.
const OTHER_SEEDS: std::ops::Range<u64> = 5..9;
/// Longer than a serving lease and an election one behind the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// A client that pings is heard from so often.
const PING: Duration = Duration::from_millis(500);
/// Of the client whose writes no story is about.
const WRITER: SessionId = SessionId(0x1111);
const WRITER_TIMEOUT_MS: i32 = 600_000;

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let script = std::fs::read_to_string(&path).expect("a script");
        let actual = play(SEED, &script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, &actual).expect("a script is rewritten");
        } else {
            assert!(actual == script, "{} prints something else:\n{actual}", path.display());
        }
        for seed in OTHER_SEEDS {
            let other = play(seed, &actual);
            assert!(other == actual, "{} prints something else from seed {seed}:\n{other}", path.display());
        }
    }
}

/// The script with the output that its commands really have.
fn play(seed: u64, script: &str) -> String {
    let (script, played) = (script.to_owned(), Arc::new(Mutex::new(String::new())));
    let written = played.clone();
    world::run(seed, move |world| async move {
        let mut player = Player { world, term: Term::default() };
        let mut blocks = Vec::new();
        for block in script.trim_end().split("\n\n") {
            let commands = block.split("\n----").next().unwrap_or_default();
            let lines: Vec<&str> = commands.lines().filter(|line| !line.starts_with('#')).collect();
            let mut output = String::new();
            for line in &lines {
                player.run(line, &mut output).await.unwrap_or_else(|| panic!("no such command: {line}"));
            }
            blocks.push(match lines.len() {
                0 => commands.to_owned(),
                _ => format!("{commands}\n----\n{}", output.trim_end()),
            });
        }
        *written.lock() = blocks.join("\n\n") + "\n";
    });
    std::mem::take(&mut *played.lock())
}

struct Player {
    world: World,
    /// The last that was printed.
    term: Term,
}

impl Player {
    /// None if the line is no command.
    async fn run(&mut self, line: &str, out: &mut String) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["start", count] => self.start(count.parse().ok()?).await,
            ["blank"] => drop(self.world.start_blank().await),
            ["partition", ref sides @ ..] => self.partition(sides)?,
            ["heal"] => self.world.heal(),
            ["stop", ref members @ ..] => self.end(members, End::Stop).await?,
            ["crash", ref members @ ..] => self.end(members, End::PowerLoss).await?,
            ["boot", ref members @ ..] => {
                for member in machines(members)? {
                    self.world.boot(member).await;
                }
            }
            ["pass", ms] => self.world.sleep(Duration::from_millis(ms.parse().ok()?)).await,
            ["leader", "among", ref members @ ..] => self.leader_among(members, out).await?,
            ["transfer", "to", member] => self.transfer(machine(member)?, out).await,
            ["look", "at", ref members @ ..] => {
                machines(members)?.into_iter().for_each(|member| self.look_at(member, out));
            }
            ["write", path, "on", member] => self.write(path, machine(member)?, out).await,
            ["sync", "on", member] => self.sync(machine(member)?, out).await,
            ["begin", session, timeout_ms, "on", member] => {
                let (session, timeout_ms) = (session_of(session)?, timeout_ms.parse().ok()?);
                let begin = Command::CreateSession { session, password: [7; 16], timeout_ms };
                self.world.propose_and_wait(machine(member)?, begin).await;
            }
            ["hear", session, ms, "on", member] => {
                let (session, member) = (session_of(session)?, machine(member)?);
                let pings = ms.parse::<u128>().ok()? / PING.as_millis();
                for _ in 0..pings {
                    self.world.touch(member, session);
                    self.world.sleep(PING).await;
                }
            }
            [session, "lives", "on", member] => {
                let lives = self.world.has_session(machine(member)?, session_of(session)?);
                _ = writeln!(out, "{session} {}", if lives { "lives" } else { "is gone" });
            }
            [path, "on", member] if path.starts_with('/') => {
                let there = self.world.exists(machine(member)?, path);
                _ = writeln!(out, "{member} {} {path}", if there { "has" } else { "has no" });
            }
            ["equal"] => self.world.wait_equal(PATIENCE).await,
            _ => return None,
        }
        Some(())
    }

    async fn start(&self, count: usize) {
        self.world.start_members(count).await;
        self.world.wait_all_serving(PATIENCE).await;
        let (session, timeout_ms) = (WRITER, WRITER_TIMEOUT_MS);
        let begin = Command::CreateSession { session, password: [7; 16], timeout_ms };
        self.world.propose_and_wait(0, begin).await;
    }

    fn partition(&self, sides: &[&str]) -> Option<()> {
        let middle = sides.iter().position(|word| *word == "|")?;
        let (left, right) = (machines(&sides[..middle])?, machines(&sides[middle + 1..])?);
        let ways =
            left.iter().flat_map(|one| right.iter().flat_map(|other| [(*one, *other), (*other, *one)]));
        self.world.network().cut(ways);
        Some(())
    }

    async fn end(&self, members: &[&str], how: End) -> Option<()> {
        for member in machines(members)? {
            self.world.end(member, how).await;
        }
        Some(())
    }

    async fn leader_among(&mut self, members: &[&str], out: &mut String) -> Option<()> {
        let those = machines(members)?;
        let leads = |member: &usize| self.role(*member) == Some(Role::Leader) && self.world.serves(*member);
        let found = self.world.holds_within(PATIENCE, || those.iter().any(leads)).await;
        let leader = those.into_iter().find(|member| self.role(*member) == Some(Role::Leader));
        match (found, leader) {
            (true, Some(leader)) => {
                let who = if members.len() == 1 { "leads" } else { "has one that leads" };
                let term = self.term_told(leader);
                _ = writeln!(out, "{} {who}, {term}", members.join(" "));
            }
            _ => _ = writeln!(out, "{}: nobody leads", members.join(" ")),
        }
        Some(())
    }

    fn term_told(&mut self, leader: usize) -> &'static str {
        let term = self.world.member(leader).status().term;
        let before = std::mem::replace(&mut self.term, term);
        if term == before { "in the same term" } else { "in a later term" }
    }

    async fn transfer(&mut self, to: usize, out: &mut String) {
        let Some(leader) = self.world.leader() else {
            _ = writeln!(out, "nobody leads");
            return;
        };
        if leader != to {
            let admin = self.world.member(leader);
            let moved = async {
                let epoch = admin.take_control().await?;
                let heir = self.world.member(to).status().identity.member;
                admin.transfer_leadership(epoch, admin.status().term, Some(heir)).await
            };
            if let Err(error) = moved.await {
                _ = writeln!(out, "no transfer: {error}");
                return;
            }
        }
        let leads = || self.role(to) == Some(Role::Leader) && self.world.serves(to);
        let leads = self.world.holds_within(PATIENCE, leads).await;
        self.term_told(to);
        _ = writeln!(out, "{} {}", to + 1, if leads { "leads" } else { "does not lead" });
    }

    fn role(&self, member: usize) -> Option<Role> {
        Some(self.world.process(member)?.ensemble.status().role)
    }

    fn look_at(&self, member: usize, out: &mut String) {
        let Some(process) = self.world.process(member) else {
            _ = writeln!(out, "{} does not run", member + 1);
            return;
        };
        let does = match process.ensemble.status().role {
            Role::Leader => "leads",
            Role::Follower | Role::Candidate => "does not lead",
            Role::Learner => "has no vote",
        };
        let serves = match *process.ensemble.serving().borrow() {
            Serving::Yes => "serves".to_owned(),
            Serving::No(reason) => format!("turns clients away: {reason}"),
        };
        _ = writeln!(out, "{} {does}, {serves}", member + 1);
    }

    async fn write(&self, path: &str, member: usize, out: &mut String) {
        let op = WriteOp::Create {
            path: path.to_owned(),
            data: None,
            acl: vec![Acl::open()],
            flags: 0,
            with_stat: false,
        };
        let write = Command::Client { session: WRITER, attach_epoch: 0, identities: Vec::new(), op };
        self.world.propose(member, write);
        let written = self.world.holds_within(PATIENCE, || self.world.exists(member, path)).await;
        _ = writeln!(out, "{path} {}", if written { "is written" } else { "waits: no quorum has it" });
    }

    /// As a client's `sync`: answered once a quorum proved after the question who leads, or refused.
    async fn sync(&self, member: usize, out: &mut String) {
        let (ensemble, (tell, mut told)) = (self.world.member(member), oneshot::channel());
        self.world.spawn(async move {
            let _ = tell.send(ensemble.read_barrier().await);
        });
        let mut answer = None;
        for _ in 0..PATIENCE.as_millis() / 5 {
            if let Ok(heard) = told.try_recv() {
                answer = Some(heard);
                break;
            }
            self.world.sleep(Duration::from_millis(5)).await;
        }
        let what = match answer {
            Some(Ok(_)) => "is answered".to_owned(),
            Some(Err(reason)) => format!("is refused: {reason}"),
            None => "waits".to_owned(),
        };
        _ = writeln!(out, "sync {what}");
    }
}

/// Members are numbered from 1, machines from 0.
fn machine(word: &str) -> Option<usize> {
    word.parse::<usize>().ok()?.checked_sub(1)
}

fn machines(words: &[&str]) -> Option<Vec<usize>> {
    words.iter().map(|word| machine(word)).collect()
}

/// A letter's.
fn session_of(name: &str) -> Option<SessionId> {
    let mut letters = name.chars();
    let letter = letters.next()?;
    letters.next().is_none().then_some(SessionId(0x100 + i64::from(u32::from(letter))))
}
