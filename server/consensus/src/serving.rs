//! Whether this member may serve clients now, and why not.

use openraft::AsyncRuntime;

use crate::ensemble::Inner;

/// May this member serve clients?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    Yes,
    No(NotServing),
}

/// Why a member turns clients away. The first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServing {
    #[error("this disk was retired from its ensemble: it has to be replaced under a new id")]
    Retired,
    #[error("a majority of the members has another state than this one: its disk has to be replaced")]
    Diverged,
    #[error("this disk is blank and waits to be brought into an ensemble")]
    Blank,
    #[error("the ensemble is being brought up and lets no clients in yet")]
    NotYet,
    #[error("this member has not caught up with the leader since it started")]
    CatchingUp,
    #[error("no leader answered within the serving lease: quorum may be lost")]
    NoLease,
    #[error("this process is stopping")]
    Stopping,
}

impl<R: AsyncRuntime> Inner<R> {
    pub(crate) fn serving_now(&self) -> Serving {
        let refusal = if self.is_stopping() { Some(NotServing::Stopping) } else { self.refusal() };
        refusal.map_or(Serving::Yes, Serving::No)
    }

    fn refusal(&self) -> Option<NotServing> {
        let identity = self.member.identity();
        if self.member.is_retired() {
            return Some(NotServing::Retired);
        }
        if self.divergence.is_known() {
            return Some(NotServing::Diverged);
        }
        if identity.ensemble.is_none() {
            return Some(NotServing::Blank);
        }
        if !self.replica.state().read().serving() {
            return Some(NotServing::NotYet);
        }
        if !self.has_caught_up() {
            return Some(NotServing::CatchingUp);
        }
        if self.lease_holds() { None } else { Some(NotServing::NoLease) }
    }

    /// A leader that is its own quorum needs no lease: while its disk keeps it from granting itself one, nobody else can
    /// have been elected.
    pub(crate) fn lease_holds(&self) -> bool {
        #[cfg(feature = "fault")]
        if zke_tree::fault::is_on("endless-lease") {
            return true;
        }
        if self.divergence.is_known() {
            return false;
        }
        self.lease.holds(self.clock.boot_ms()) || self.is_its_own_quorum()
    }

    /// Tells the daemon if the answer changed.
    pub(crate) fn review_serving(&self) {
        let now = self.serving_now();
        self.serving.send_if_modified(|serving| {
            if *serving == now {
                return false;
            }
            match now {
                Serving::Yes => tracing::info!("serving clients"),
                Serving::No(reason) => tracing::info!(%reason, "not serving clients"),
            }
            *serving = now;
            true
        });
    }
}
