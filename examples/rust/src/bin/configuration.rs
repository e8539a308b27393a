//! Configuration: one node's data, printed at the start and whenever somebody changes it.
//!
//! With a value as second argument it stores that and ends. A change made while this program was cut off is seen as
//! well: with the watch, the client tells the next server what it saw last.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, Result};
use zookeeper_client::{Acls, Client, CreateMode, Error};

const FOLDER: &str = "/examples";
const NODE: &str = "/examples/configuration";
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().context("give the servers: configuration 127.0.0.1:2181 [value]")?;
    if let Some(value) = arguments.next() {
        store(&servers, &value).await.context("store the configuration")?;
        println!("stored {value}");
        return Ok(());
    }
    loop {
        let Err(error) = follow(&servers).await;
        println!("connect again: {error}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The life of one session.
async fn follow(servers: &str) -> Result<Infallible, Error> {
    let client = connect(servers).await?;
    loop {
        match client.get_and_watch_data(NODE).await {
            Ok((value, stat, change)) => {
                println!("version {} is {}", stat.version, String::from_utf8_lossy(&value));
                change.changed().await;
            }
            Err(Error::NoNode) => match client.check_and_watch_stat(NODE).await? {
                (None, creation) => {
                    println!("there is none yet");
                    creation.changed().await;
                }
                (Some(_), _) => continue,
            },
            Err(error) => return Err(error),
        }
    }
}

async fn store(servers: &str, value: &str) -> Result<(), Error> {
    let client = connect(servers).await?;
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.mkdir(FOLDER, &persistent).await?;
    match client.create(NODE, value.as_bytes(), &persistent).await {
        Err(Error::NodeExists) => client.set_data(NODE, value.as_bytes(), None).await.map(drop),
        created => created.map(drop),
    }
}

async fn connect(servers: &str) -> Result<Client, Error> {
    Client::connector().with_session_timeout(SESSION_TIMEOUT).connect(servers).await
}
