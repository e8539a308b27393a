//! Changes the membership as an operator does: adds members, retires them, replaces those whose disk is lost or rots.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft_rt_sim::SimRuntime;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use zke_check::event::{Event, Phase};
use zke_consensus::{AsyncRuntime, MemberStatus};
use zke_tree::{LogIndex, MemberId};

use crate::world::{End, Member, World, machine_of};

/// An ensemble is not grown beyond it.
const VOTERS_MAX: usize = 5;
/// Of a file, so much at its beginning is hardly ever empty.
const FULL_OF_WORDS_BYTES: usize = 2 << 10;
/// How often a replacement is tried: the other faults end before.
const ATTEMPTS_MAX: usize = 400;

pub(super) async fn torment(world: World, until_us: u64) {
    let random = StdRng::seed_from_u64(world.seed().wrapping_mul(104_729));
    let mut operator = Operator { world, random };
    while operator.world.chronicle().now_us() < until_us {
        let pause_ms = operator.random.random_range(200..3_000);
        SimRuntime::sleep(Duration::from_millis(pause_ms)).await;
        operator.change_something().await;
    }
}

struct Operator {
    world: World,
    random: StdRng,
}

/// What the leader knows, and the right to change it.
struct Control {
    admin: Member,
    epoch: u64,
    status: MemberStatus,
}

impl Control {
    fn voters(&self) -> BTreeSet<MemberId> {
        self.status.voter_sets.last().into_iter().flatten().copied().collect()
    }
}

impl Operator {
    async fn change_something(&mut self) {
        let Some(control) = self.take_control().await else { return };
        let voters = control.voters();
        let done = match self.random.random_range(0..5) {
            0 if voters.len() < VOTERS_MAX => self.grow(&control).await,
            1 if voters.len() > 3 => self.shrink(&control).await,
            2 | 3 => self.rot(&control).await,
            _ => self.replace(&control).await,
        };
        if done.is_none() {
            self.world.note("a change of the membership was refused or lost; another will follow");
        }
    }

    async fn take_control(&self) -> Option<Control> {
        let admin = self.world.process(self.world.leader()?)?.ensemble;
        let epoch = admin.take_control().await.ok()?;
        let status = admin.status();
        Some(Control { admin, epoch, status })
    }

    /// A new machine votes.
    async fn grow(&mut self, control: &Control) -> Option<()> {
        let machine = self.world.start_blank().await;
        self.fault(&format!("machine {machine} is added"), Phase::Begin);
        let new = self.bring_in(control, machine).await?;
        let (id, config) = new;
        let mut voters = control.voters();
        voters.insert(id);
        control.admin.change_voters(control.epoch, config, voters, BTreeSet::new()).await.ok()?;
        Some(())
    }

    /// A voter leaves for ever.
    async fn shrink(&mut self, control: &Control) -> Option<()> {
        let (leaving, machine) = self.some_voter(control)?;
        let mut voters = control.voters();
        voters.remove(&leaving);
        self.fault(&format!("member {machine} is retired"), Phase::Begin);
        let config = control.status.config_index;
        control.admin.change_voters(control.epoch, config, voters, [leaving].into()).await.ok()?;
        let _hands = self.world.hands().await;
        self.world.retire(machine).await;
        Some(())
    }

    /// A voter's disk is lost; its machine goes on as another member.
    async fn replace(&mut self, control: &Control) -> Option<()> {
        let (old, machine) = self.some_voter(control)?;
        let name = format!("the disk of member {machine} is lost");
        self.fault(&name, Phase::Begin);
        {
            let _hands = self.world.hands().await;
            self.world.end(machine, End::PowerLoss).await;
            self.world.lose_disk(machine);
            self.world.boot(machine).await;
        }
        self.put_another_in_place(machine, old, &name).await;
        Some(())
    }

    /// A bit of a voter's disk flips between two of its processes. The next one goes on as if nothing was, or names the
    /// file, and is replaced.
    async fn rot(&mut self, control: &Control) -> Option<()> {
        let (old, machine) = self.some_voter(control)?;
        let name;
        {
            let world = self.world.clone();
            let _hands = world.hands().await;
            if !world.is_well(machine) {
                return None;
            }
            // In order or at once, but with its power: a log that lost the mark behind its last flush takes damage to
            // that flush for its torn end.
            world.end(machine, if self.random.random_bool(0.5) { End::Kill } else { End::Stop }).await;
            let file = world.files(machine).choose(&mut self.random)?.clone();
            name = format!("a bit of {file} flips at member {machine}");
            self.fault(&name, Phase::Begin);
            self.flip_a_bit(machine, &file);
            if world.starts_or_names(machine, &file).await {
                self.fault(&name, Phase::End);
                return Some(());
            }
            world.lose_disk(machine);
            world.boot(machine).await;
        }
        self.put_another_in_place(machine, old, &name).await;
        Some(())
    }

    /// Near the beginning as often as not, since the end of a segment says nothing yet.
    fn flip_a_bit(&mut self, machine: usize, file: &str) {
        let bytes = self.world.file_bytes(machine, file);
        let bytes = if self.random.random_bool(0.5) { bytes.min(FULL_OF_WORDS_BYTES) } else { bytes };
        if bytes > 0 {
            let (byte, bit) = (self.random.random_range(0..bytes), self.random.random_range(0..8));
            self.world.flip(machine, file, byte, bit);
        }
    }

    fn some_voter(&mut self, control: &Control) -> Option<(MemberId, usize)> {
        let candidates: Vec<MemberId> = control.voters().into_iter().collect();
        let voter = *candidates.choose(&mut self.random)?;
        Some((voter, machine_of(&control.status.members.get(&voter)?.pod)?))
    }

    /// The blank disk on a machine takes the place of the voter that was there. Does not return before that is done: a
    /// second lost disk could be one too many.
    async fn put_another_in_place(&self, machine: usize, old: MemberId, name: &str) {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(control) = self.take_control().await
                && (!control.voters().contains(&old)
                    || self.put_in_place(&control, machine, old).await.is_some())
            {
                return self.fault(name, Phase::End);
            }
            SimRuntime::sleep(Duration::from_millis(100)).await;
        }
        panic!("LIVE: the member of machine {machine}, whose disk is another one, could not be replaced");
    }

    async fn put_in_place(&self, control: &Control, machine: usize, old: MemberId) -> Option<()> {
        let (new, config) = self.bring_in(control, machine).await?;
        let mut voters = control.voters();
        voters.remove(&old);
        voters.insert(new);
        control.admin.change_voters(control.epoch, config, voters, [old].into()).await.ok()?;
        Some(())
    }

    /// Makes the blank disk on a machine a learner.
    async fn bring_in(&self, control: &Control, machine: usize) -> Option<(MemberId, LogIndex)> {
        let blank = self.world.process(machine)?.ensemble;
        let id = blank.status().identity.member;
        blank.join(control.status.identity.ensemble?, id).ok()?;
        let node = self.world.node(machine);
        let config = control.admin.status().config_index;
        let config = control.admin.add_learner(control.epoch, config, id, node).await.ok()?;
        Some((id, config))
    }

    fn fault(&self, name: &str, phase: Phase) {
        let at_us = self.world.chronicle().now_us();
        self.world.chronicle().saw(Event::Fault { at_us, name: name.to_owned(), phase });
    }
}
