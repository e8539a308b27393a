//! From a configuration and the members there are to the next step: pure.
//!
//! What holds of every step: nobody loses a vote unless a quorum of the configuration's participants is in the
//! ensemble and keeps up; nobody gets one before it is in sync; the leader moves its duty on before it leaves; the
//! voters are never fewer than what then keeps a quorum alive.

use std::collections::{BTreeMap, BTreeSet};

use zke_tree::Configuration;
use zke_wire::{Role, Server};

use crate::types::PeerNode;

/// One member, as the leader sees it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub node: PeerNode,
    pub votes: bool,
    /// It had what was committed half a second ago.
    pub keeps_up: bool,
    /// It kept up for five seconds.
    pub in_sync: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Servers that the configuration names and the membership does not.
    pub invite: Vec<Server>,
    pub change: Option<Change>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Address { member: u64, node: PeerNode },
    Leader { to: u64 },
    Voters { voters: BTreeSet<u64>, retire: BTreeSet<u64> },
}

/// What the leader `me` has to do next.
pub(super) fn next(configuration: &Configuration, members: &BTreeMap<u64, Known>, me: u64) -> Plan {
    let is_member =
        |server: &&Server| members.values().any(|known| known.node.pod == PeerNode::of(server).pod);
    Plan {
        invite: configuration.servers().filter(|server| !is_member(server)).cloned().collect(),
        change: moved(configuration, members).or_else(|| voters(configuration, members, me)),
    }
}

/// Whether the members, each with whether it votes, are those of the configuration.
pub(super) fn is_settled<'a>(
    configuration: &Configuration,
    members: impl Iterator<Item = (&'a str, bool)>,
) -> bool {
    let mut wanted: BTreeMap<String, Role> =
        configuration.servers().map(|server| (PeerNode::of(server).pod, server.role)).collect();
    for (pod, votes) in members {
        let role = if votes { Role::Participant } else { Role::Observer };
        if wanted.remove(pod) != Some(role) {
            return false;
        }
    }
    !wanted.values().any(|role| *role == Role::Participant)
}

/// A member that the configuration has at another address.
fn moved(configuration: &Configuration, members: &BTreeMap<u64, Known>) -> Option<Change> {
    let nodes: BTreeMap<String, PeerNode> =
        configuration.servers().map(PeerNode::of).map(|node| (node.pod.clone(), node)).collect();
    members.iter().find_map(|(member, known)| {
        let node = nodes.get(&known.node.pod).filter(|node| **node != known.node)?;
        Some(Change::Address { member: *member, node: node.clone() })
    })
}

fn voters(configuration: &Configuration, members: &BTreeMap<u64, Known>, me: u64) -> Option<Change> {
    let participants: BTreeSet<String> =
        configuration.voters().map(|server| PeerNode::of(server).pod).collect();
    let named: BTreeSet<String> = configuration.servers().map(|server| PeerNode::of(server).pod).collect();
    let ids = |wanted: &dyn Fn(&Known) -> bool| -> BTreeSet<u64> {
        members.iter().filter(|(_, known)| wanted(known)).map(|(id, _)| *id).collect()
    };
    let current = ids(&|known| known.votes);
    let retire = ids(&|known| !named.contains(&known.node.pod));
    let wanted = ids(&|known| participants.contains(&known.node.pod) && (known.votes || known.in_sync));
    if wanted == current && retire.is_empty() {
        return None;
    }
    let alive = wanted.iter().filter(|id| **id == me || members[*id].keeps_up).count();
    if alive <= wanted.len() / 2 {
        return None;
    }
    let leaving = current.difference(&wanted).next().is_some();
    if leaving && alive <= participants.len() / 2 {
        // Whoever joins may vote already, which takes nothing from anyone.
        let all = &current | &wanted;
        return (all != current).then_some(Change::Voters { voters: all, retire: BTreeSet::new() });
    }
    if wanted.contains(&me) || !current.contains(&me) {
        return Some(Change::Voters { voters: wanted, retire: &retire - &BTreeSet::from([me]) });
    }
    // The one that leads leaves.
    match wanted.intersection(&current).find(|id| members[*id].keeps_up) {
        Some(to) => Some(Change::Leader { to: *to }),
        None => Some(Change::Voters { voters: &current | &wanted, retire: BTreeSet::new() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zke_tree::{LogIndex, MemberId, Origin, Proposal, Settings, State, Term};
    use zke_wire::Zxid;

    use super::*;

    /// Of words like `1` (a participant) and `2o` (an observer).
    fn configuration(words: &str) -> Configuration {
        let line = |word: &str| {
            let (id, role) = match word.strip_suffix('o') {
                Some(id) => (id, "observer"),
                None => (word, "participant"),
            };
            format!("server.{id}=h{id}:1:2:{role}\n")
        };
        let servers: String = words.split_whitespace().map(line).collect();
        let mut state = State::new();
        state.begin_entry(LogIndex(1), Term(1));
        let proposal = Proposal {
            time_ms: 0,
            settings: Settings::default(),
            origin: Origin { member: MemberId(1), incarnation: 1 },
            first_sequence: 1,
            commands: vec![zke_tree::Command::Configure { expect: Zxid(0), servers }],
        };
        state.apply(&proposal, &mut |_, applied| assert!(applied.result.is_ok()));
        state.configuration().expect("it was just written")
    }

    /// Of words like `1` (a voter that keeps up), `2-` (a voter that does not), `3~` (a learner that keeps up), `4=` (a
    /// learner in sync).
    fn members(words: &str) -> BTreeMap<u64, Known> {
        let member = |word: &str| {
            let id: u64 = word.trim_end_matches(['-', '~', '=']).parse().expect("a number");
            let node = PeerNode { pod: format!("server.{id}"), address: format!("h{id}:1") };
            let votes = !word.ends_with(['~', '=']);
            let keeps_up = !word.ends_with('-');
            (id, Known { node, votes, keeps_up, in_sync: keeps_up && !word.ends_with('~') })
        };
        words.split_whitespace().map(member).collect()
    }

    fn show(plan: &Plan) -> String {
        let list = |ids: &BTreeSet<u64>| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let mut steps: Vec<String> = match &plan.change {
            None => Vec::new(),
            Some(Change::Address { member, node }) => vec![format!("{member} is at {}", node.address)],
            Some(Change::Leader { to }) => vec![format!("{to} leads")],
            Some(Change::Voters { voters, retire }) if retire.is_empty() => {
                vec![format!("{} vote", list(voters))]
            }
            Some(Change::Voters { voters, retire }) => {
                vec![format!("{} vote, {} go", list(voters), list(retire))]
            }
        };
        steps.extend(plan.invite.iter().map(|server| format!("ask {}", server.id)));
        steps.join("; ")
    }

    /// 1 leads.
    fn planned(wanted: &str, there: &str) -> String {
        show(&next(&configuration(wanted), &members(there), 1))
    }

    #[test]
    fn the_steps() {
        for (wanted, there, steps) in [
            ("1 2 3", "1 2 3", ""),
            // One joins: asked, learns, votes.
            ("1 2 3 4", "1 2 3", "ask 4"),
            ("1 2 3 4", "1 2 3 4~", ""),
            ("1 2 3 4", "1 2 3 4=", "1 2 3 4 vote"),
            ("1 2 3 4o", "1 2 3 4=", ""),
            // One leaves, or votes no more, if those that stay are a quorum of what shall be.
            ("1 2", "1 2 3", "1 2 vote, 3 go"),
            ("1 2", "1 2- 3", ""),
            ("1 2 3", "1 2 3 4=", "1 2 3 vote, 4 go"),
            ("1 2 3o", "1 2 3", "1 2 vote"),
            // The leader leaves.
            ("2 3", "1 2- 3", ""),
            ("2 3", "1 2 3", "2 leads"),
            // All are exchanged: nobody goes before a quorum of those that come is there.
            ("4 5 6", "1 2 3", "ask 4; ask 5; ask 6"),
            ("4 5 6", "1 2 3 4=", "1 2 3 4 vote; ask 5; ask 6"),
            ("4 5 6", "1 2 3 4", "ask 5; ask 6"),
            ("4 5 6", "1 2 3 4 5=", "4 leads; ask 6"),
            // A server that nobody has seen does not hold up others.
            ("1 2 9", "1 2 3", "1 2 vote, 3 go; ask 9"),
        ] {
            assert_eq!(planned(wanted, there), steps, "{there} -> {wanted}");
        }
        let mut elsewhere = members("1 2 3");
        elsewhere.get_mut(&2).expect("it is there").node.address = "old:1".to_owned();
        assert_eq!(show(&next(&configuration("1 2 3"), &elsewhere, 1)), "2 is at h2:1");
    }

    #[test]
    fn settled_is_when_everyone_has_its_role() {
        let settled = |wanted: &str, there: &str| {
            let there = members(there);
            is_settled(
                &configuration(wanted),
                there.values().map(|known| (known.node.pod.as_str(), known.votes)),
            )
        };
        assert!(settled("1 2 3", "1 2 3") && settled("1 2 3o", "1 2 3=") && settled("1 2 3o", "1 2"));
        assert!(!settled("1 2 3", "1 2") && !settled("1 2", "1 2 3=") && !settled("1 2 3o", "1 2 3"));
    }

    proptest! {
        /// Carried out again and again, with whoever is asked there and whoever learns in sync, the steps end where
        /// the configuration says, and no set of voters on the way is without a majority that keeps up.
        #[test]
        fn the_steps_lead_there(
            wanted in prop::collection::btree_map(1..8u64, any::<bool>(), 1..7),
            start in prop::collection::btree_set(1..8u64, 1..6),
        ) {
            let words = |(id, votes): (&u64, &bool)| if *votes { format!("{id} ") } else { format!("{id}o ") };
            let first = *wanted.keys().next().expect("one at least");
            let wanted: String = format!("{first} ") + &wanted.iter().skip(1).map(words).collect::<String>();
            let configuration = configuration(&wanted);
            let mut there = members(&start.iter().map(|id| format!("{id} ")).collect::<String>());
            let mut leader = *start.iter().next().expect("one at least");
            for _ in 0..40 {
                let plan = next(&configuration, &there, leader);
                if plan == Plan::default() {
                    break;
                }
                for server in plan.invite {
                    there.extend(members(&format!("{}=", server.id)));
                }
                match plan.change {
                    None => {}
                    Some(Change::Address { .. }) => panic!("nobody moved"),
                    Some(Change::Leader { to }) => leader = to,
                    Some(Change::Voters { voters, retire }) => {
                        prop_assert!(voters.contains(&leader), "the leader is never voted out");
                        prop_assert!(voters.is_disjoint(&retire));
                        there.retain(|id, _| !retire.contains(id));
                        there.iter_mut().for_each(|(id, known)| known.votes = voters.contains(id));
                    }
                }
            }
            let members = there.values().map(|known| (known.node.pod.as_str(), known.votes));
            prop_assert!(is_settled(&configuration, members), "{wanted} from {start:?}: {there:?}");
        }
    }
}
