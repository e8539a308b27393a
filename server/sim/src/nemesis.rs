//! Breaks things, as the seed says.

mod membership;

use std::time::Duration;

use openraft_rt_sim::SimRuntime;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use zke_check::event::{Event, Phase};
use zke_consensus::AsyncRuntime;
use zke_storage::disk::Fault;

use crate::network::Weather;
use crate::world::{End, World};

/// What is broken in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub network: Option<Network>,
    pub processes: bool,
    pub membership: bool,
    pub slow_disks: bool,
}

/// How the network breaks. A run that does little else comes to what no other does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// In every way, mostly for less than a session lives.
    Variously,
    /// Members are cut off for longer than elections take, and some sessions live.
    Lastingly,
}

/// Breaks what `plan` says until `until_us` of virtual time, then mends everything.
pub async fn torment(world: World, plan: Plan, until_us: u64) {
    let nemesis = |number| Nemesis {
        world: world.clone(),
        random: StdRng::seed_from_u64(world.seed().wrapping_mul(7_919) + number),
        until_us,
    };
    let network = async {
        match plan.network {
            Some(Network::Variously) => nemesis(1).torment_network().await,
            Some(Network::Lastingly) => nemesis(1).part_members().await,
            None => {}
        }
    };
    let processes = async {
        if plan.processes {
            nemesis(2).torment_processes().await;
        }
    };
    let membership = async {
        if plan.membership {
            membership::torment(world.clone(), until_us).await;
        }
    };
    let slow_disks = async {
        if plan.slow_disks {
            nemesis(3).torment_disks().await;
        }
    };
    futures::join!(network, processes, membership, slow_disks);
    if plan.network.is_some() {
        // Whatever that leaves waiting for ever, nothing that breaks later sets it free.
        nemesis(4).silence_leaders(1..3).await;
    }
}

struct Nemesis {
    world: World,
    random: StdRng,
    until_us: u64,
}

impl Nemesis {
    fn goes_on(&self) -> bool {
        self.world.chronicle().now_us() < self.until_us
    }

    async fn sleep_ms(&mut self, range: std::ops::Range<u64>) {
        let ms = self.random.random_range(range);
        SimRuntime::sleep(Duration::from_millis(ms)).await;
    }

    fn fault(&self, name: &str, phase: Phase) {
        let at_us = self.world.chronicle().now_us();
        self.world.chronicle().saw(Event::Fault { at_us, name: name.to_owned(), phase });
    }

    async fn torment_network(mut self) {
        while self.goes_on() {
            self.sleep_ms(50..1_500).await;
            if self.random.random_bool(0.2) {
                self.silence_leaders(3..8).await;
                continue;
            }
            let name = self.break_network();
            self.fault(&name, Phase::Begin);
            // Now and then for longer than sessions live.
            let ms = if self.random.random_bool(0.3) { 3_000..7_000 } else { 50..2_500 };
            self.sleep_ms(ms).await;
            self.world.network().heal();
            self.world.network().set_weather(Weather::default());
            self.fault(&name, Phase::End);
        }
    }

    /// Until its lease ends, a member that is cut off serves clients that only look; a leader may still lead when it is
    /// back, if nobody else could be elected.
    async fn part_members(mut self) {
        while self.goes_on() {
            self.sleep_ms(50..1_000).await;
            let name = if self.random.random_bool(0.4) {
                self.cut_all_off()
            } else {
                let member = self.someone();
                self.cut_off(member)
            };
            self.fault(&name, Phase::Begin);
            self.sleep_ms(1_000..6_000).await;
            self.world.network().heal();
            self.fault(&name, Phase::End);
        }
    }

    /// Whoever leads is cut off, again and again, for about as long as an election takes: so it refuses what it is asked
    /// for, and often leads on.
    async fn silence_leaders(&mut self, times: std::ops::Range<u32>) {
        let name = "whoever leads is cut off for moments";
        self.fault(name, Phase::Begin);
        for _ in 0..self.random.random_range(times) {
            if let Some(leader) = self.world.leader() {
                self.world.network().cut_off(leader);
            }
            self.sleep_ms(100..400).await;
            self.world.network().heal();
            self.sleep_ms(20..300).await;
        }
        self.fault(name, Phase::End);
    }

    /// The leader as often as not.
    fn someone(&mut self) -> usize {
        match self.world.leader() {
            Some(leader) if self.random.random_bool(0.5) => leader,
            _ => self.random.random_range(0..self.world.machines()),
        }
    }

    fn cut_off(&self, member: usize) -> String {
        self.world.network().cut_off(member);
        format!("member {member} is cut off")
    }

    fn cut_all_off(&self) -> String {
        (0..self.world.machines()).for_each(|member| self.world.network().cut_off(member));
        "nobody reaches anybody".to_owned()
    }

    fn break_network(&mut self) -> String {
        let count = self.world.machines();
        let one = self.someone();
        let other = (one + self.random.random_range(1..count.max(2))) % count;
        let others = || (0..count).filter(move |member| *member != one);
        let network = self.world.network();
        match self.random.random_range(0..8) {
            0 | 1 => self.cut_off(one),
            2 => {
                network.cut(others().map(|to| (one, to)));
                format!("nothing leaves member {one}")
            }
            3 => {
                network.cut(others().map(|from| (from, one)));
                format!("nothing reaches member {one}")
            }
            4 => {
                network.cut([(one, other), (other, one)]);
                format!("members {one} and {other} do not reach each other")
            }
            5 => self.cut_all_off(),
            6 => {
                let slow = self.random.random_range(3_000..120_000);
                network.set_weather(Weather { latency_us: 100..slow, breaks_one_in: 0 });
                format!("frames take up to {slow} us")
            }
            _ => {
                let breaks_one_in = self.random.random_range(10..300);
                network.set_weather(Weather { latency_us: 50..20_000, breaks_one_in });
                format!("one frame in {breaks_one_in} breaks its stream")
            }
        }
    }

    async fn torment_processes(mut self) {
        while self.goes_on() {
            self.sleep_ms(100..2_000).await;
            let world = self.world.clone();
            let _hands = world.hands().await;
            let Some(&member) = world.running().choose(&mut self.random) else { continue };
            let name = self.break_process(member).await;
            self.sleep_ms(0..1_500).await;
            self.boot_all().await;
            self.fault(&name, Phase::End);
        }
    }

    async fn break_process(&mut self, member: usize) -> String {
        let begin = |nemesis: &Nemesis, name: String| {
            nemesis.fault(&name, Phase::Begin);
            name
        };
        match self.random.random_range(0..14) {
            0..3 => {
                let name = begin(self, format!("member {member} loses its power"));
                self.world.end(member, End::PowerLoss).await;
                name
            }
            3 => {
                let name = begin(self, format!("member {member} is killed"));
                self.world.end(member, End::Kill).await;
                name
            }
            4 => {
                let name = begin(self, format!("member {member} stops"));
                if self.random.random_bool(0.7) {
                    // What comes of it is seen by the clients.
                    let _ = self.world.member(member).hand_over().await;
                }
                self.world.end(member, End::Stop).await;
                name
            }
            5 => {
                let name = begin(self, "all members lose their power".to_owned());
                self.world.crash_all().await;
                name
            }
            6 => {
                let name = begin(self, "the leader hands over".to_owned());
                if let Some(leader) = self.world.leader() {
                    let _ = self.world.member(leader).hand_over().await;
                }
                name
            }
            7 | 8 => {
                let name =
                    begin(self, "all members lose their power, and the leader's is back last".to_owned());
                self.part_leader_from_its_term().await;
                name
            }
            kind => {
                let fault = match kind {
                    9 | 10 => Fault::PowerLoss,
                    11 | 12 => Fault::Eio,
                    _ => Fault::NoSpace,
                };
                let operations = self.random.random_range(0..30);
                let name = begin(
                    self,
                    format!("{fault:?} at member {member} after {operations} changes of its disk"),
                );
                self.world.break_disk_after(member, operations, fault);
                let world = self.world.clone();
                world.holds_within(Duration::from_secs(2), || !world.is_well(member)).await;
                // A disk that fails may come back with its machine, or after a power cycle.
                let how = if fault == Fault::PowerLoss || self.random.random_bool(0.5) {
                    End::PowerLoss
                } else {
                    End::Kill
                };
                self.world.end(member, how).await;
                name
            }
        }
    }

    /// The leader has what nobody else has when all lose their power; the others go on before it is back. Whoever forgot
    /// its vote may then lead in the same term.
    async fn part_leader_from_its_term(&mut self) {
        let leader = self.world.leader();
        if let Some(leader) = leader {
            self.world.network().cut_off(leader);
        }
        self.sleep_ms(5..100).await;
        self.world.crash_all().await;
        self.world.network().heal();
        for member in 0..self.world.machines() {
            if Some(member) != leader && !self.world.is_retired(member) {
                self.world.boot(member).await;
            }
        }
    }

    /// Without the right to end processes: it breaks nothing, and others break things meanwhile.
    async fn torment_disks(mut self) {
        while self.goes_on() {
            self.sleep_ms(100..2_000).await;
            let slow = match self.random.random_range(0..6) {
                0 => self.world.running(),
                _ => vec![self.someone()],
            };
            // From a busy disk to one that hangs.
            let takes_ms = match self.random.random_range(0..3) {
                0 => 100..300,
                1 => 100..5_000,
                _ => 1_000..5_000,
            };
            let name = format!("a flush takes {takes_ms:?} ms at members {slow:?}");
            self.fault(&name, Phase::Begin);
            slow.iter().for_each(|member| self.world.set_flush_time_ms(*member, Some(takes_ms.clone())));
            self.sleep_ms(300..4_000).await;
            slow.iter().for_each(|member| self.world.set_flush_time_ms(*member, None));
            self.fault(&name, Phase::End);
            let world = self.world.clone();
            let _hands = world.hands().await;
            // A leader whose disk hung and whom nobody relieved.
            self.boot_all().await;
        }
    }

    /// Starts every process that is gone, and again those that cannot go on.
    async fn boot_all(&self) {
        for member in 0..self.world.machines() {
            if self.world.process(member).is_some() && !self.world.is_well(member) {
                self.world.end(member, End::Kill).await;
            }
            if self.world.process(member).is_none() && !self.world.is_retired(member) {
                self.world.boot(member).await;
            }
        }
    }
}
