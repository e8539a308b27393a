//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::commands::Command;

/// A coordination service that speaks Apache ZooKeeper's client protocol.
#[derive(Debug, Clone, Parser)]
#[command(name = "zkd", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CommandLine {
    /// How to serve, unless there is a command.
    #[command(flatten)]
    pub serve: Arguments,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What a server is told.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Configuration file in the format of ZooKeeper's zoo.cfg
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Serve alone on 127.0.0.1:2181 with the data in this directory, and nothing else to set
    #[arg(long, value_name = "DIR", required_unless_present = "config", conflicts_with = "config")]
    pub data_dir: Option<PathBuf>,

    /// A property that ZooKeeper takes from its JVM, such as -Djute.maxbuffer=4194304; the file goes before it
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = property)]
    pub properties: Vec<(String, String)>,

    /// This pod's own name, under the operator
    #[arg(long, env = "POD_NAME", value_name = "NAME", hide = true)]
    pub pod_name: Option<String>,
}

/// As for a JVM, a name alone is a property without a value.
fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() {
        Err("a property has a name".to_owned())
    } else {
        Ok((name.to_owned(), value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        CommandLine::try_parse_from(line.split(' ')).map(|line| line.serve)
    }

    #[test]
    fn a_command_needs_nothing_of_a_server() {
        let verify = CommandLine::try_parse_from(["zkd", "verify", "a.zks"]).expect("valid");
        assert!(matches!(verify.command, Some(Command::Verify(_))));
        let served = CommandLine::try_parse_from(["zkd", "--data-dir", "d"]).expect("valid");
        assert!(served.command.is_none());
        CommandLine::try_parse_from(["zkd", "--data-dir", "d", "verify", "a.zks"]).expect_err("both");
    }

    #[test]
    fn a_restoration_is_of_a_member_or_of_a_directory() {
        let id = "0".repeat(32);
        let member = format!(
            "zkd restore a.zks --member m --address a:1 --tls-dir t --ensemble-id {id} --member-id {} \
             --pod p-0 --peer-address p:2 --epoch-above 7",
            &id[..16]
        );
        parse(&member).expect("a member");
        parse("zkd restore a.zks --data-dir d").expect("a directory");
        parse(&format!("{member} --data-dir d")).expect_err("both");
        parse("zkd restore a.zks").expect_err("neither");
        parse("zkd backup --member m --name n --to d").expect_err("a member without its address");
        parse("zkd backup --socket s --name n --to d").expect("a socket");
        parse("zkd prune --dir d --report r a/b.zks a/c.zks").expect("two");
        parse("zkd prune --dir d").expect_err("none");
    }

    #[test]
    fn properties_are_written_as_for_a_jvm() {
        let arguments =
            parse("zkd -Djute.maxbuffer=0x10 -Dzookeeper.x -Da=b=c --config zoo.cfg").expect("valid");
        let expected = [("jute.maxbuffer", "0x10"), ("zookeeper.x", ""), ("a", "b=c")];
        assert_eq!(arguments.properties, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(arguments.config, Some("zoo.cfg".into()));
    }

    #[test]
    fn exactly_one_source_is_named() {
        parse("zkd").expect_err("none");
        parse("zkd --config a --data-dir b").expect_err("two");
        assert_eq!(parse("zkd --data-dir b").expect("one").data_dir, Some("b".into()));
    }
}
