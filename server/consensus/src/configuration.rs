//! The configuration that clients read in `/zookeeper/config`, and the membership of Raft: one leads, the other follows.
//!
//! Without an operator clients lead: a reconfig is an entry of the log like any write, and the leader brings the
//! membership there by the safe steps that [`plan`] names, also when it takes over half-way. Under an operator the
//! membership leads, and clients are shown what it is.
//!
//! What it never does: count on a server that has not shown its disk. A server that joins votes once it is in sync, so
//! that a wrong line in a configuration costs nobody the quorum.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use openraft::{AsyncRuntime, ChangeMembers};
use zke_tree::{Command, MemberId};
use zke_wire::{Address, Listen, Role, Server, ServerId, Zxid};

use crate::administration::{AdminError, precondition};
use crate::ensemble::{Ensemble, Inner};
use crate::types::PeerNode;

use plan::{Change, Known};

/// Between two looks of the leader at both. As often as it samples who is in sync.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks of a member that waits for the leader to be done.
const SETTLED_POLL: Duration = Duration::from_millis(20);

/// Which of the two leads.
#[derive(Clone, Debug, Default)]
pub enum Configured {
    /// There is no configuration, as in a ZooKeeper that is alone.
    #[default]
    Nowhere,
    /// The configuration begins with the servers of a file, and clients change it.
    ByClients { first: Vec<Server> },
    /// The membership leads. Every member serves clients on this port.
    ByOperator { client_port: u16 },
}

impl PeerNode {
    /// How the members of a file know the server of this line.
    pub fn of(server: &Server) -> PeerNode {
        PeerNode { pod: format!("server.{}", server.id), address: server.peer.to_string() }
    }
}

impl<R: AsyncRuntime> Ensemble<R> {
    /// Waits until the membership is what the configuration says, as far as this member knows, or `patience` is over.
    /// Observers that are not there yet are not waited for.
    pub async fn settled(&self, patience: Duration) {
        let settled = async {
            while !self.inner.is_settled() {
                R::sleep(SETTLED_POLL).await;
            }
        };
        if R::timeout(patience, settled).await.is_err() {
            tracing::warn!(
                "the ensemble is not yet what its configuration says: servers that join are not in sync"
            );
        }
    }
}

impl<R: AsyncRuntime> Inner<R> {
    /// For the leader of `term`, until the term ends.
    pub(crate) async fn keep_configuration(self: Arc<Self>, term: u64) {
        let mut told = String::new();
        while self.leads(term) {
            let step = match &self.options.configured {
                Configured::Nowhere => return,
                Configured::ByClients { first } => self.follow_clients(first).await,
                Configured::ByOperator { client_port } => self.follow_operator(*client_port).await,
            };
            match step {
                Ok(()) => told.clear(),
                // It is looked at again and again: said once.
                Err(error) => {
                    let text = error.to_string();
                    if told != text {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the membership does not follow yet"
                        );
                        told = text;
                    }
                }
            }
            R::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn follow_clients(&self, first: &[Server]) -> Result<(), AdminError> {
        let Some(configuration) = self.replica.state().read().configuration() else {
            let lines: String = first.iter().map(|server| format!("{server}\n")).collect();
            return self.configure(Zxid(0), lines).await;
        };
        let members = self.known_members();
        let plan = plan::next(&configuration, &members, self.member.id().0);
        if let Some(change) = plan.change {
            tracing::info!(?change, version = %configuration.version(), "the membership follows the configuration");
            self.carry_out(change).await?;
        }
        let invitations = plan.invite.into_iter().map(|server| self.invite(server));
        join_all(invitations).await.into_iter().collect()
    }

    async fn follow_operator(&self, client_port: u16) -> Result<(), AdminError> {
        let membership = self.membership();
        let [voters] = membership.get_joint_config().as_slice() else { return Ok(()) };
        let servers =
            membership.nodes().filter_map(|(id, node)| shown(node, voters.contains(id), client_port));
        let lines: String = servers.map(|server| format!("{server}\n")).collect();
        let (serving, current) = {
            let state = self.replica.state().read();
            (state.serving(), state.configuration())
        };
        let is_shown = current.as_ref().is_some_and(|current| same_lines(&current.lines(), &lines));
        if !serving || lines.is_empty() || is_shown {
            return Ok(());
        }
        self.configure(current.map_or(Zxid(0), |current| current.version()), lines).await
    }

    async fn configure(&self, expect: Zxid, servers: String) -> Result<(), AdminError> {
        match self.commit(Command::Configure { expect, servers }).await? {
            Ok(_) => Ok(()),
            Err(code) => Err(precondition(format!("the configuration was refused with {code}"))),
        }
    }

    /// Everyone in the membership, as this leader sees them.
    fn known_members(&self) -> BTreeMap<u64, Known> {
        let membership = self.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let leading = self.leading.lock();
        let sync = leading.as_ref().map(|leading| &leading.sync);
        let known = |(id, node): (&u64, &PeerNode)| {
            let known = Known {
                node: node.clone(),
                votes: voters.contains(id),
                keeps_up: sync.is_some_and(|sync| sync.keeps_up(*id)),
                in_sync: sync.is_some_and(|sync| sync.in_sync(*id)),
            };
            (*id, known)
        };
        membership.nodes().map(known).collect()
    }

    async fn carry_out(&self, change: Change) -> Result<(), AdminError> {
        let control_epoch = self.replica.state().read().control_epoch();
        let membership = self.membership();
        let config = crate::administration::config_index(&membership);
        match change {
            Change::Address { member, node } => {
                let expected = self.expect_config(config).await?;
                self.change(ChangeMembers::SetNodes(BTreeMap::from([(member, node)])), expected).await?;
            }
            Change::Leader { to } => self.hand_over(Some(MemberId(to))).await?,
            Change::Voters { voters, retire } => {
                let ids = |ids: BTreeSet<u64>| ids.into_iter().map(MemberId).collect();
                self.change_voters(control_epoch, config, ids(voters), ids(retire)).await?;
            }
        }
        Ok(())
    }

    /// Asks a server for its disk, and lets it learn. One that does not answer is asked again at the next look.
    async fn invite(&self, server: Server) -> Result<(), AdminError> {
        let node = PeerNode::of(&server);
        let Ok(answer) = self.probe(&node).await else { return Ok(()) };
        if answer.pod != node.pod {
            return Err(precondition(format!("{node} calls itself {}: its myid is another one", answer.pod)));
        }
        let own = self.member.identity().ensemble;
        if answer.ensemble.is_some() && answer.ensemble != own {
            return Err(precondition(format!(
                "{node} has the data of another ensemble: give it an empty disk"
            )));
        }
        let state = self.replica.state();
        if state.read().is_retired(answer.member) {
            // It heard that it is wanted again, and starts anew.
            return Ok(());
        }
        let control_epoch = state.read().control_epoch();
        let config = crate::administration::config_index(&self.membership());
        self.add_learner(control_epoch, config, answer.member, node).await.map(|_| ())
    }

    fn is_settled(&self) -> bool {
        let Some(configuration) = self.replica.state().read().configuration() else { return true };
        let membership = self.membership();
        let [voters] = membership.get_joint_config().as_slice() else { return false };
        let members = membership.nodes().map(|(id, node)| (node.pod.as_str(), voters.contains(id)));
        plan::is_settled(&configuration, members)
    }
}

/// A pod's line: its number counts from 1, as ZooKeeper's ids do. Clients reach it where its peers do.
fn shown(node: &PeerNode, votes: bool, client_port: u16) -> Option<Server> {
    let ordinal: u64 = node.pod.rsplit_once('-')?.1.parse().ok()?;
    let peer = Address::parse(&node.address)?;
    let role = if votes { Role::Participant } else { Role::Observer };
    let clients = Some(Listen { host: None, port: client_port });
    Some(Server { id: ServerId(ordinal + 1), election_port: peer.port, peer, role, clients })
}

/// Members are known in the order of their ids, servers in that of their numbers.
fn same_lines(one: &str, other: &str) -> bool {
    one.lines().collect::<BTreeSet<_>>() == other.lines().collect::<BTreeSet<_>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_shown_where_clients_reach_it() {
        let node =
            PeerNode { pod: "prod-2".into(), address: "prod-2.prod-peers.ns.svc.cluster.local:2888".into() };
        assert_eq!(
            shown(&node, true, 2181).expect("a pod of a StatefulSet").to_string(),
            "server.3=prod-2.prod-peers.ns.svc.cluster.local:2888:2888:participant;0.0.0.0:2181"
        );
        assert_eq!(shown(&PeerNode { pod: "server".into(), ..node }, true, 2181), None);
    }
}
