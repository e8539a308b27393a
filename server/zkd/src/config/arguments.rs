//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// A coordination service that speaks Apache ZooKeeper's client protocol.
#[derive(Debug, Clone, Parser)]
#[command(name = "zkd", version)]
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
        Arguments::try_parse_from(line.split(' '))
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
