//! Cluster membership: each instance is an ephemeral node, and prints who is there whenever that changes.
//!
//! An instance that dies is gone for the others when its session is. One that lived on and only lost its session,
//! because it was stopped or cut off for too long, joins again in a new one.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result};
use zookeeper_client::{Acls, Client, CreateMode, Error};

const GROUP: &str = "/examples/members";
/// For so long the others believe in an instance that is dead.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "give the servers and a name: membership 127.0.0.1:2181 a";
    let servers = arguments.next().context(usage)?;
    let name = arguments.next().context(usage)?;
    loop {
        let Err(error) = be_a_member(&servers, &name).await;
        println!("{name} is out: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The life of one session. The client reconnects by itself as long as the session lives, and watches stay set.
async fn be_a_member(servers: &str, name: &str) -> Result<Infallible, Error> {
    let client = Client::connector().with_session_timeout(SESSION_TIMEOUT).connect(servers).await?;
    client.mkdir(GROUP, &CreateMode::Persistent.with_acls(Acls::anyone_all())).await?;
    join(&client, name).await?;
    println!("{name} is a member");
    loop {
        let (mut members, _, change) = client.get_and_watch_children(GROUP).await?;
        members.sort();
        println!("{name} sees {}", members.join(" "));
        change.changed().await;
    }
}

async fn join(client: &Client, name: &str) -> Result<(), Error> {
    let node = format!("{GROUP}/{name}");
    let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    loop {
        match client.create(&node, b"", &ephemeral).await {
            // Of an earlier session, which nobody closed: it goes when that one expires.
            Err(Error::NodeExists) => match client.check_and_watch_stat(&node).await? {
                (Some(_), gone) => drop(gone.changed().await),
                (None, _) => continue,
            },
            created => return created.map(drop),
        }
    }
}
