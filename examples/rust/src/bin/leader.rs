//! Leader election: of all instances one leads; when it dies or is cut off another does.
//!
//! The leader steps down when it loses its connection, not when it hears that its session is over: by then another
//! one leads. The nodes are those of Curator's LeaderLatch, so programs in Java may be candidates as well.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result};
use zookeeper_client::{Acls, Client, CreateMode, Error, LockOptions, LockPrefix};

const ELECTION: &str = "/examples/leader";
/// For so long nobody leads after a leader died.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "give the servers and a name: leader 127.0.0.1:2181 a";
    let servers = arguments.next().context(usage)?;
    let name = arguments.next().context(usage)?;
    loop {
        let Err(error) = be_a_candidate(&servers, &name).await;
        println!("{name} connects again: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The life of one session.
async fn be_a_candidate(servers: &str, name: &str) -> Result<Infallible, Error> {
    let client = Client::connector().with_session_timeout(SESSION_TIMEOUT).connect(servers).await?;
    let folder = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let options = LockOptions::new(Acls::anyone_all()).with_ancestor_options(folder)?;
    // From before the election: what happens while it is being decided counts as well.
    let mut connection = client.state_watcher();
    let candidate = LockPrefix::new_curator(ELECTION, "latch-")?;
    let _leadership = client.lock(candidate, name.as_bytes(), options).await?;
    tokio::select! {
        biased;
        _ = connection.changed() => {}
        never = lead(name) => match never {},
    }
    println!("{name} does not lead any more");
    // The leadership goes with the session, which ends here.
    Err(Error::ConnectionLoss)
}

/// Whatever only the leader does. It must be such that it can be dropped in the middle.
async fn lead(name: &str) -> Infallible {
    println!("{name} leads");
    loop {
        tokio::time::sleep(PAUSE).await;
    }
}
