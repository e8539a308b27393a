//! One random run: clients, faults, and the checker's judgement.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zke_check::event::Event;
use zke_check::{History, Verdict};
use zke_consensus::{AsyncRuntime, Options};
use zke_handle::requests::{self, Habit};
use zke_tree::State;

use crate::chronicle::{self, Chronicle, Line};
use crate::client::{self, Client, Load};
use crate::nemesis::{self, Network, Plan};
use crate::world::{self, World};

/// After the last fault every member serves again, and every client has written again, within so long.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(30);
/// Of one that was asked for on a connection that a member has taken. A flush that hung when its disk was mended may still
/// take five seconds.
const SYNC_DEADLINE: Duration = Duration::from_secs(10);
/// Before a client that was turned away comes again.
const AGAIN_INTERVAL: Duration = Duration::from_millis(100);
/// As long as the first election may take.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// Of the search for the place of writes of unknown outcome. A run that needs more is said to be undecided, and no
/// failure: there are many more seeds, and LIN is the only oracle that searches.
const SEARCH_STEPS: u64 = 200_000;
/// How many lines before its end a failed run shows.
const SHOWN: usize = 60;

/// What came of a seed.
pub struct Outcome {
    pub seed: u64,
    /// All that happened, to the end or to a panic.
    pub lines: Vec<Line>,
    pub findings: Vec<String>,
    pub summary: String,
}

/// Runs one seed to its end and has it judged.
pub fn run(seed: u64) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let options = options(&mut random);
    let shape = Shape::draw(&mut random);
    judged(seed, options, move |world| story(world, shape))
}

/// Plays a story and has judged what its clients saw.
pub fn judged<F: Future<Output = ()> + Send + 'static>(
    seed: u64,
    options: Options,
    story: impl FnOnce(World) -> F + Send + 'static,
) -> Outcome {
    let kept = Arc::new(Mutex::new(None::<Arc<Chronicle>>));
    let keep = kept.clone();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        world::run_with(seed, options, move |world| async move {
            *keep.lock() = Some(world.chronicle().clone());
            story(world).await;
        })
    }));
    match ran {
        Ok(lines) => judge(seed, lines),
        Err(panic) => {
            let lines = kept.lock().take().map(|chronicle| chronicle.take()).unwrap_or_default();
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
            let mut outcome = judge(seed, lines);
            outcome.findings.insert(0, finding_of(said));
            outcome
        }
    }
}

/// Who found what ended a run: the harness says so itself, and everything else is an assertion of a member.
fn finding_of(said: &str) -> String {
    match said {
        said if ["LIVE:", "START:"].iter().any(|oracle| said.starts_with(oracle)) => said.to_owned(),
        // It stood still, or ran in circles.
        said if said.starts_with("rt-sim:") => format!("LIVE: {said}"),
        said => format!("ASSERTION: {said}"),
    }
}

/// What differs between seeds besides the dice.
#[derive(Debug, Clone, Copy)]
struct Shape {
    members: usize,
    clients: usize,
    /// Besides, clients that only look.
    lookers: usize,
    plan: Plan,
    length: Duration,
    segment_bytes: u64,
}

impl Shape {
    fn draw(random: &mut StdRng) -> Shape {
        let network = match random.random_range(0..10) {
            0..5 => Some(Network::Variously),
            5..8 => Some(Network::Lastingly),
            _ => None,
        };
        // What lasts has to be let last.
        let besides = if network == Some(Network::Lastingly) { 0.3 } else { 1.0 };
        Shape {
            members: if random.random_bool(0.75) { 3 } else { 5 },
            clients: random.random_range(3..6),
            lookers: random.random_range(1..4),
            plan: Plan {
                network,
                processes: random.random_bool(0.8 * besides),
                membership: random.random_bool(0.4 * besides),
                slow_disks: random.random_bool(0.5 * besides),
            },
            length: Duration::from_secs(random.random_range(4..9)),
            // A handful of entries, so that the log goes on to another one all the time, or some hundred.
            segment_bytes: if random.random_bool(0.6) { 4 << 10 } else { world::SEGMENT_BYTES },
        }
    }
}

fn options(random: &mut StdRng) -> Options {
    // A snapshot makes durable, with its name, those of the log's segments.
    let rare = random.random_bool(0.3);
    Options {
        session_timeout_ms_min: 2_000,
        // Mostly so that snapshots are taken, the log is purged, and members that were away get a snapshot.
        snapshot_entries: random.random_range(if rare { 2_000..4_000 } else { 40..400 }),
        keep_entries: random.random_range(20..100),
        ..Options::default()
    }
}

async fn story(world: World, shape: Shape) {
    world.note(format!("seed {}: {shape:?}", world.seed()));
    world.set_segment_bytes(shape.segment_bytes);
    world.start_members(shape.members).await;
    world.wait_all_serving(START_DEADLINE).await;
    let mut habits = vec![Habit::Everything; shape.clients];
    habits.resize(shape.clients + shape.lookers, Habit::Looks);
    let crowd = Crowd::of(&world, &habits);
    let until_us = world.chronicle().now_us() + u64::try_from(shape.length.as_micros()).unwrap_or(u64::MAX);
    nemesis::torment(world.clone(), shape.plan, until_us).await;
    world.heal();
    crowd.end(&world).await;
}

/// The clients of a run.
pub struct Crowd {
    load: Arc<Load>,
    clients: Vec<<SimRuntime as AsyncRuntime>::JoinHandle<()>>,
}

impl Crowd {
    /// So many that ask for random things from here on.
    pub fn start(world: &World, count: usize) -> Crowd {
        Crowd::of(world, &vec![Habit::Everything; count])
    }

    /// One client of each habit.
    pub fn of(world: &World, habits: &[Habit]) -> Crowd {
        let load = Load::for_clients(habits.len());
        let run = |(number, habit): (usize, &Habit)| {
            SimRuntime::spawn(Client::new(world.clone(), load.clone(), number, *habit).run())
        };
        Crowd { clients: habits.iter().enumerate().map(run).collect(), load }
    }

    /// A member whose last lease is of before the network was mended may turn clients away for a moment. What it has taken it
    /// has to answer.
    async fn hear_of_sync(&self, world: &World, voter: usize) {
        let answered = async {
            loop {
                let synced = client::hears_of_sync(world, self.clients.len(), voter);
                match SimRuntime::timeout(SYNC_DEADLINE, synced).await {
                    Ok(Some(())) => return,
                    Ok(None) => SimRuntime::sleep(AGAIN_INTERVAL).await,
                    Err(_) => panic!("LIVE: member {voter} serves, and answers no sync"),
                }
            }
        };
        let answered = SimRuntime::timeout(RECOVERY_DEADLINE, answered).await;
        assert!(answered.is_ok(), "LIVE: member {voter} turned clients away for {RECOVERY_DEADLINE:?}");
    }

    /// To be called when nothing is broken any more: every voter has to serve again and to answer a `sync`, every client to
    /// write again, and all members to agree. What they agree on is written down.
    pub async fn end(self, world: &World) {
        let recovered = || {
            let voters = world.voters();
            !voters.is_empty() && voters.iter().all(|voter| world.serves(*voter))
        };
        assert!(
            world.holds_within(RECOVERY_DEADLINE, recovered).await,
            "LIVE: not every voter serves within {RECOVERY_DEADLINE:?} after the last fault"
        );
        let healed_us = world.chronicle().now_us();
        let wrote = world.holds_within(RECOVERY_DEADLINE, || self.load.all_served_since(healed_us)).await;
        assert!(wrote, "LIVE: a client was not served within {RECOVERY_DEADLINE:?} after the last fault");
        for voter in world.voters() {
            self.hear_of_sync(world, voter).await;
        }
        self.load.end();
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        world.wait_equal_among(&world.voters(), RECOVERY_DEADLINE).await;
        dump(world);
    }
}

/// Writes down the whole tree, as one member has it.
fn dump(world: &World) {
    let member = world.voters()[0];
    let ensemble = world.member(member);
    let state = ensemble.state().read();
    let mut paths = vec!["/".to_owned()];
    let mut nodes = 0;
    while let Some(path) = paths.pop() {
        nodes += 1;
        paths.extend(dump_node(world, &state, path));
    }
    let (at_us, zxid) = (world.chronicle().now_us(), state.last_zxid().0);
    world.chronicle().saw(Event::Dump { at_us, zxid, roots: vec!["/".to_owned()], nodes });
}

/// Returns the paths of the node's children.
fn dump_node(world: &World, state: &State, path: String) -> Vec<String> {
    let (data, stat) = state.get_data(&path, &[]).expect("lists are open");
    let (children, _) = state.get_children(&path, &[]).expect("lists are open");
    let above = path.trim_end_matches('/').to_owned();
    let text = String::from_utf8_lossy(&data.unwrap_or_default()).as_ref().into();
    world.chronicle().saw(Event::Node { path, data: Some(text), stat: requests::fields(&stat) });
    children.into_iter().map(|name| format!("{above}/{name}")).collect()
}

fn judge(seed: u64, lines: Vec<Line>) -> Outcome {
    let history = match History::of(chronicle::events(&lines)) {
        Ok(history) => history,
        Err(error) => {
            let findings = vec![format!("the history cannot be read: {error}")];
            return Outcome { seed, lines, findings, summary: String::new() };
        }
    };
    let limits = zke_check::Options { search_steps: SEARCH_STEPS, ..zke_check::Options::default() };
    let report = zke_check::check(&history, &limits);
    let findings: Vec<String> =
        report.findings.iter().map(|finding| format!("{}: {}", finding.oracle, finding.message)).collect();
    let undecided = if report.verdict() == Verdict::Undecided { "; UNDECIDED" } else { "" };
    let figures = &report.figures;
    let summary = format!(
        "{} operations, {} writes acknowledged, {} unknown, {} reads, {} watch events{undecided}",
        figures.operations,
        figures.acknowledged_writes,
        figures.unknown_writes,
        figures.reads,
        figures.watch_events
    );
    Outcome { seed, lines, findings, summary }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.lines.len().saturating_sub(SHOWN);
        writeln!(
            f,
            "seed {}: the last {} of {} lines:",
            self.seed,
            self.lines.len() - from,
            self.lines.len()
        )?;
        for line in &self.lines[from..] {
            writeln!(f, "{line}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(
            f,
            "again: ZKE_SIM_FIRST={} ZKE_SIM_SEEDS=1 cargo test -p zke-sim --test random -- --nocapture",
            self.seed
        )
    }
}
