//! `conf`: the configuration that this server runs with.

use std::fmt::{self, Write as _};

use zke_tree::Configuration;

use crate::config::{Config, Ensemble, Listen, Role};
use crate::view::ServerView;

/// `configuration` is what clients read in `/zookeeper/config`, if the ensemble has written it.
pub fn conf(config: &Config, view: &ServerView, configuration: Option<&Configuration>) -> String {
    let mut text = String::new();
    write_config(&mut text, config, view, configuration).expect("writing to a string cannot fail");
    text
}

fn write_config(
    text: &mut String,
    config: &Config,
    view: &ServerView,
    configuration: Option<&Configuration>,
) -> fmt::Result {
    // -1 is how ZooKeeper shows a port that is not open.
    let port = |listen: &Option<Listen>| listen.as_ref().map_or(-1, |listen| i32::from(listen.port));
    writeln!(text, "clientPort={}", port(&config.clients))?;
    writeln!(text, "secureClientPort={}", port(&config.security.secure_clients))?;
    writeln!(text, "dataDir={}", config.data_dir.display())?;
    writeln!(text, "dataDirSize={}", view.data_dir_bytes)?;
    writeln!(text, "dataLogDir={}", config.log_dir.display())?;
    writeln!(text, "dataLogSize={}", view.log_dir_bytes)?;
    writeln!(text, "tickTime={}", config.tick_ms)?;
    writeln!(text, "maxClientCnxns={}", config.max_client_cnxns.map_or(0, u32::from))?;
    writeln!(text, "minSessionTimeout={}", config.session_timeout.min_ms)?;
    writeln!(text, "maxSessionTimeout={}", config.session_timeout.max_ms)?;
    writeln!(text, "clientPortListenBacklog=-1")?;
    let Ensemble::ZooCfg { my_id, servers } = &config.ensemble else { return writeln!(text, "serverId=0") };
    writeln!(text, "serverId={my_id}")?;
    writeln!(text, "initLimit={}", config.init_limit_ticks)?;
    writeln!(text, "syncLimit={}", config.sync_limit_ticks)?;
    writeln!(text, "electionAlg=3")?;
    // The file's own, until the ensemble has written its first.
    let current = match configuration {
        Some(configuration) => configuration.servers().cloned().collect(),
        None => servers.clone(),
    };
    if let Some(own) = current.iter().find(|server| server.id == *my_id) {
        writeln!(text, "electionPort={}", own.election_port)?;
        writeln!(text, "quorumPort={}", own.peer.port)?;
        writeln!(text, "peerType={}", if own.role == Role::Observer { 1 } else { 0 })?;
    }
    writeln!(text, "membership: ")?;
    current.iter().try_for_each(|server| writeln!(text, "{server}"))?;
    // ZooKeeper writes no end of line behind it.
    write!(text, "version={:x}", configuration.map_or(0, |configuration| configuration.version().0))
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::view;
    use super::*;
    use crate::config::{Address, Arguments, Server, ServerId};
    use crate::view::Mode;

    fn open() -> Config {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("zoo.cfg");
        std::fs::write(&file, "dataDir=/data\nclientPort=2181\ntickTime=2000\n").expect("a file");
        let arguments = Arguments { config: Some(file), data_dir: None, properties: vec![], pod_name: None };
        Config::load(&arguments).expect("a valid configuration").config
    }

    const CONF: &str = "clientPort=2181
secureClientPort=-1
dataDir=/data
dataDirSize=100
dataLogDir=/data
dataLogSize=200
tickTime=2000
maxClientCnxns=60
minSessionTimeout=4000
maxSessionTimeout=40000
clientPortListenBacklog=-1
serverId=0
";

    #[test]
    fn conf_is_as_in_java() {
        assert_eq!(conf(&open(), &view(Mode::Standalone), None), CONF);
        let mut of_ensemble = open();
        let server = |id, port: u16| Server {
            id: ServerId(id),
            peer: Address::parse(&format!("127.0.0.1:{port}")).expect("an address"),
            election_port: port + 1000,
            role: Role::Participant,
            clients: None,
        };
        let my_id = ServerId(2);
        of_ensemble.ensemble = Ensemble::ZooCfg { my_id, servers: vec![server(1, 2888), server(2, 2889)] };
        let text = conf(&of_ensemble, &view(Mode::Follower), None);
        let expected = "serverId=2
initLimit=10
syncLimit=5
electionAlg=3
electionPort=3889
quorumPort=2889
peerType=0
membership: 
server.1=127.0.0.1:2888:3888:participant
server.2=127.0.0.1:2889:3889:participant
version=0";
        assert_eq!(text, CONF.replace("serverId=0\n", expected));
    }
}
