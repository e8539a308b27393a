//! The limit on open files, which is the limit on connections: raised at start to what the system allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are no client's: log segments, snapshots, peers, admin and HTTP connections, with room to spare.
pub const RESERVED: usize = 256;

/// Raises the limit as far as this process may and returns it.
pub fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, ?current, ?maximum, "cannot raise the limit on open files");
            current
        }
    };
    raised.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
