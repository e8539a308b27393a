//! Changes the membership as an operator does: adds members, retires them, replaces those whose disk is lost.

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
        let done = match self.random.random_range(0..3) {
            0 if voters.len() < VOTERS_MAX => self.grow(&control).await,
            1 if voters.len() > 3 => self.shrink(&control).await,
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
        let mut voters = control.voters();
        let candidates: Vec<MemberId> = voters.iter().copied().collect();
        let leaving = *candidates.choose(&mut self.random)?;
        let machine = machine_of(&control.status.members.get(&leaving)?.pod)?;
        voters.remove(&leaving);
        self.fault(&format!("member {machine} is retired"), Phase::Begin);
        let config = control.status.config_index;
        control.admin.change_voters(control.epoch, config, voters, [leaving].into()).await.ok()?;
        let _hands = self.world.hands().await;
        self.world.retire(machine).await;
        Some(())
    }

    /// A voter's disk is lost; its machine goes on as another member. Does not return before that is done: a second lost
    /// disk could be one too many.
    async fn replace(&mut self, control: &Control) -> Option<()> {
        let candidates: Vec<MemberId> = control.voters().into_iter().collect();
        let old = *candidates.choose(&mut self.random)?;
        let machine = machine_of(&control.status.members.get(&old)?.pod)?;
        self.fault(&format!("the disk of member {machine} is lost"), Phase::Begin);
        {
            let _hands = self.world.hands().await;
            self.world.end(machine, End::PowerLoss).await;
            self.world.lose_disk(machine);
            self.world.boot(machine).await;
        }
        for _ in 0..ATTEMPTS_MAX {
            if let Some(control) = self.take_control().await
                && (!control.voters().contains(&old)
                    || self.put_in_place(&control, machine, old).await.is_some())
            {
                self.fault(&format!("the disk of member {machine} is lost"), Phase::End);
                return Some(());
            }
            SimRuntime::sleep(Duration::from_millis(100)).await;
        }
        panic!("LIVE: the lost disk of member {machine} could not be replaced");
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
