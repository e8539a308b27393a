//! The power of one member goes off at each point that the life of an ensemble reaches, while clients ask for things.
//!
//! Until the power goes off, a run is the one in which it does not: so every hit of a point that was counted there is
//! reached here. Clients may see a silence and nothing else, and all members end with the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use zke_consensus::{AsyncRuntime, Options};
use zke_sim::World;
use zke_sim::random::{self, Crowd, Outcome};
use zke_sim::world::{End, Outage};
use zke_storage::DiskState;
use zke_storage::disk::{Fault, Point};
use zke_tree::MemberId;

const MEMBERS: usize = 3;
const CLIENTS: usize = 3;
const START_DEADLINE: Duration = Duration::from_secs(10);
/// A machine that lost its power is noticed and started again in so long.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Of one step of the operator; another look follows.
const STEP_DEADLINE: Duration = Duration::from_secs(2);
/// How many looks the operator has for its whole work.
const STEPS_MAX: usize = 200;
/// The runs of one seed; the machine has two cores.
const THREADS: usize = 2;

const FAULTS: [Fault; 4] =
    [Fault::PowerLossAfter, Fault::PowerLoss, Fault::TornWrite { sectors: 1 }, Fault::PowerLossBefore];

/// More of them: `ZKE_POINT_SEEDS=20`.
#[test]
fn an_ensemble_survives_the_crash_of_a_member_at_every_point_that_it_reaches() {
    let seeds = std::env::var("ZKE_POINT_SEEDS").map_or(1, |text| text.parse().expect("a number"));
    for seed in 1..=seeds {
        let (outcome, changes) = live(seed, None);
        assert!(outcome.findings.is_empty(), "without any crash: {outcome}");
        let outages = Mutex::new(outages(seed, &changes));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let Some(outage) = outages.lock().pop() else { return };
                        crash(seed, outage);
                    }
                });
            }
        });
    }
}

/// The first hit of each point on any machine, and one in the middle of its life on the machine that hits it most.
fn outages(seed: u64, changes: &[Vec<Point>]) -> Vec<Outage> {
    let mut hits = BTreeMap::<Point, Vec<u64>>::new();
    for (machine, changes) in changes.iter().enumerate() {
        for point in changes {
            hits.entry(*point).or_insert_with(|| vec![0; MEMBERS])[machine] += 1;
        }
    }
    assert!(hits.len() > 25, "the life of this ensemble reaches little: {hits:?}");
    let mut outages = Vec::new();
    for (number, (point, hits)) in hits.into_iter().enumerate() {
        let fault = FAULTS[(number + seed as usize) % FAULTS.len()];
        let turn = (0..MEMBERS).map(|machine| (machine + number + seed as usize) % MEMBERS);
        let first = turn.clone().find(|machine| hits[*machine] > 0).expect("some machine hit it");
        outages.push(Outage { machine: first, point, hits: 0, fault });
        let most = turn.max_by_key(|machine| hits[*machine]).expect("there are machines");
        if hits[most] > 1 {
            let fault = FAULTS[(number + seed as usize + 1) % FAULTS.len()];
            outages.push(Outage { machine: most, point, hits: hits[most] / 2, fault });
        }
    }
    outages
}

fn crash(seed: u64, outage: Outage) {
    let (outcome, changes) = live(seed, Some(outage));
    let Outage { machine, point, hits, fault } = outage;
    let place = format!("seed {seed}: member {machine} at {point}, behind {hits} hits, by {fault:?}");
    assert!(outcome.findings.is_empty(), "{outcome}\n{place}");
    let hit = changes[machine].iter().filter(|changed| **changed == point).count() as u64;
    assert!(hit > hits, "the power did not go off: {place}");
}

/// Returns what came of it, and all changes of each machine's disk.
fn live(seed: u64, outage: Option<Outage>) -> (Outcome, Vec<Vec<Point>>) {
    let options = Options {
        session_timeout_ms_min: 2_000,
        snapshot_entries: 60,
        keep_entries: 20,
        ..Options::default()
    };
    let changes = Arc::new(Mutex::new(Vec::new()));
    let noted = changes.clone();
    let outcome = random::judged(seed, options, move |world| async move {
        outage.into_iter().for_each(|outage| world.expect(outage));
        life(&world).await;
        *noted.lock() = (0..MEMBERS).map(|machine| world.points(machine)).collect();
    });
    let changes = std::mem::take(&mut *changes.lock());
    assert!(!changes.is_empty(), "{outcome}\nseed {seed}, {outage:?}");
    (outcome, changes)
}

/// What makes members do everything that they do with their disks.
async fn life(world: &World) {
    world.start_members(MEMBERS).await;
    let over = Arc::new(AtomicBool::new(false));
    world.spawn(watch_power(world.clone(), over.clone()));
    world.wait_all_serving(START_DEADLINE).await;
    let crowd = Crowd::start(world, CLIENTS);
    world.sleep(Duration::from_secs(1)).await;
    // One that is away for so long that only a snapshot brings it back; then the leader, with entries nobody else has.
    let away = |leader: usize| [(leader + 1) % MEMBERS, leader];
    for turn in 0..2 {
        let Some(leader) = world.leader() else { continue };
        world.cut_off(away(leader)[turn]);
        world.sleep(Duration::from_millis(1_500)).await;
        world.heal();
        world.sleep(Duration::from_millis(700)).await;
    }
    for (member, how) in [End::Stop, End::Kill, End::PowerLoss].into_iter().enumerate() {
        {
            let _hands = world.hands().await;
            world.end(member, how).await;
            world.boot(member).await;
            world.found(member);
        }
        world.sleep(Duration::from_millis(700)).await;
    }
    renew(world).await;
    world.sleep(Duration::from_secs(1)).await;
    crowd.end(world).await;
    over.store(true, Relaxed);
}

/// Starts every machine again that lost its power, or whose operator gave up half-way.
async fn watch_power(world: World, over: Arc<AtomicBool>) {
    while !over.load(Relaxed) {
        for member in 0..world.machines() {
            let _hands = world.hands().await;
            if !over.load(Relaxed) && (!world.has_power(member) || world.process(member).is_none()) {
                world.end(member, End::PowerLoss).await;
                world.boot(member).await;
                world.found(member);
            }
        }
        world.sleep(LOOK_INTERVAL).await;
    }
}

/// A member is retired, and its disk begins anew under another id, as an operator does it: looking, then one step.
async fn renew(world: &World) {
    let leader = world.leader().unwrap_or_default();
    let machine = (leader + 1) % MEMBERS;
    let Some(old) = world.process(machine).map(|process| process.ensemble.status().identity.member) else {
        return;
    };
    for _ in 0..STEPS_MAX {
        if SimRuntime::timeout(STEP_DEADLINE, step(world, machine, old)).await == Ok(Some(true)) {
            return;
        }
        world.sleep(Duration::from_millis(50)).await;
    }
    panic!("LIVE: member {machine} could not be renewed");
}

/// True once the machine votes under another id; `None` when there was something to wait for.
async fn step(world: &World, machine: usize, old: MemberId) -> Option<bool> {
    let leader = world.leader()?;
    let admin = world.process(leader)?.ensemble;
    if leader == machine {
        admin.hand_over().await.ok()?;
        return None;
    }
    let epoch = admin.take_control().await.ok()?;
    let status = admin.status();
    let ensemble = status.identity.ensemble?;
    let mut voters: BTreeSet<MemberId> = status.voter_sets.last()?.iter().copied().collect();
    let own = world.process(machine)?.ensemble;
    let identity = own.status().identity;
    let config = status.config_index;
    if voters.remove(&old) {
        admin.change_voters(epoch, config, voters, [old].into()).await.ok()?;
    } else if identity.state.has_left() {
        own.join(ensemble, old).ok()?;
        let _hands = world.hands().await;
        world.end(machine, End::Stop).await;
        world.boot(machine).await;
    } else if identity.state == DiskState::Blank {
        own.join(ensemble, identity.member).ok()?;
    } else if !status.members.contains_key(&identity.member) {
        admin.add_learner(epoch, config, identity.member, world.node(machine)).await.ok()?;
    } else if voters.insert(identity.member) {
        admin.change_voters(epoch, config, voters, BTreeSet::new()).await.ok()?;
    } else {
        return Some(identity.member != old);
    }
    None
}
