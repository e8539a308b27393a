//! The program that writes and measures, `zke-writers`, seen from the one that causes the faults: a line to it, a line
//! back. It gives up by itself, so no line is waited for without end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

pub struct Writers {
    process: Child,
    orders: ChildStdin,
    words: BufReader<ChildStdout>,
}

/// What it saw, in its own words.
#[derive(Debug, Clone, Deserialize)]
pub struct Seen {
    pub writers: Vec<Writer>,
    pub witness: Witness,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Writer {
    pub home: usize,
    pub longest_gap_ms: f64,
    pub connections_lost: u32,
    pub refused: u32,
    pub sessions_lost: u32,
    pub unanswered: u32,
    pub stale: u32,
    pub first_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    Nothing,
    Fresh,
    Stale,
}

impl Writers {
    /// Returns when all write, at each of the servers.
    pub fn start(program: &Path, servers: &[SocketAddr], victim: usize) -> Result<Writers> {
        // The kernel ends it when this thread is gone, however that went.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(["--victim", &victim.to_string()]);
        for server in servers {
            command.args(["--server", &server.to_string()]);
        }
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.with_context(|| format!("start {}", program.display()))?;
        let (orders, words) = process.stdin.take().zip(process.stdout.take()).context("both are piped")?;
        let mut writers = Writers { process, orders, words: BufReader::new(words) };
        writers.expect("ready")?;
        Ok(writers)
    }

    /// From here on gaps count.
    pub fn mark(&mut self) -> Result<()> {
        self.say("fault")?;
        self.expect("marked")
    }

    /// Waits until all write again.
    pub fn wait_calm(&mut self) -> Result<()> {
        self.expect("calm")
    }

    pub fn end(mut self) -> Result<Seen> {
        self.say("end")?;
        let line = self.hear()?;
        serde_json::from_str(&line).with_context(|| format!("understand the writers: {line}"))
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.orders, "{line}").with_context(|| format!("tell the writers `{line}`"))
    }

    fn expect(&mut self, expected: &str) -> Result<()> {
        match self.hear()?.as_str() {
            line if line == expected => Ok(()),
            "" => bail!("the writers gave up before `{expected}`; they say above why"),
            line => bail!("the writers say `{line}`, and `{expected}` was next"),
        }
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.words.read_line(&mut line).context("listen to the writers")?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
