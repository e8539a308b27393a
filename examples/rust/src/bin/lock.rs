//! A distributed lock: instances take turns, and no two ever work at the same time.
//!
//! Whoever loses the connection stops working at once, since from then on it cannot know when its session ends and
//! the lock goes to another. The nodes are those of Curator, so programs in Java may contend for the same lock.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result};
use zookeeper_client::{Acls, Client, CreateMode, Error, LockOptions, LockPrefix};

const LOCK: &str = "/examples/lock";
/// For so long nobody gets the lock of a holder that died.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const WORK: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "give the servers and a name: lock 127.0.0.1:2181 a";
    let servers = arguments.next().context(usage)?;
    let name = arguments.next().context(usage)?;
    loop {
        let Err(error) = take_turns(&servers, &name).await;
        println!("{name} connects again: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The life of one session.
async fn take_turns(servers: &str, name: &str) -> Result<Infallible, Error> {
    let client = Client::connector().with_session_timeout(SESSION_TIMEOUT).connect(servers).await?;
    let folder = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let options = LockOptions::new(Acls::anyone_all()).with_ancestor_options(folder)?;
    loop {
        // From before the lock is asked for: what happens while it is being granted counts as well.
        let mut connection = client.state_watcher();
        let contender = LockPrefix::new_curator(LOCK, "lock-")?;
        let lock = client.lock(contender, name.as_bytes(), options.clone()).await?;
        tokio::select! {
            biased;
            state = connection.changed() => {
                println!("{name} stops: {state}");
                return Err(Error::ConnectionLoss);
            }
            () = work(name) => println!("{name} releases the lock"),
        }
        // Dropped, the lock is released as well, but nobody hears if that fails. As it is, the session ends then.
        client.delete(lock.lock_path(), None).await?;
    }
}

/// Whatever needs the lock. It must be such that it can be dropped in the middle.
///
/// A program that is stopped here for longer than its session lives goes on before it hears that the lock is not its
/// own any more. Where that matters write to ZooKeeper with the methods of `lock`: each of them checks the lock in
/// the same transaction.
async fn work(name: &str) {
    println!("{name} holds the lock");
    tokio::time::sleep(WORK).await;
}
