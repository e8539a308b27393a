//! Programs that run side by side, and all they print, in the order in which they printed it.
//!
//! They share one pipe, into which each writes whole lines, so the order is that of their writes and not that in which
//! somebody looked. What a test does to one of them stands between their lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, PipeWriter, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// An election, the end of a session and the start of a JVM, one after the other, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A program that ends says so to nobody.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct Group {
    title: &'static str,
    programs: BTreeMap<String, Child>,
    pipe: PipeWriter,
    transcript: Arc<Transcript>,
}

#[derive(Debug, Default)]
struct Transcript {
    lines: Mutex<Vec<String>>,
    news: Condvar,
}

/// A place in a transcript; by default its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(usize);

impl Group {
    pub fn new(title: &'static str) -> Result<Self> {
        let (reader, pipe) = std::io::pipe().context("make a pipe")?;
        let transcript = Arc::new(Transcript::default());
        let writer = Arc::clone(&transcript);
        // Ends with the last writer: this value and the programs it ends.
        thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                let Ok(line) = line else { return };
                writer.lock().push(line);
                writer.news.notify_all();
            }
        });
        Ok(Self { title, programs: BTreeMap::new(), pipe, transcript })
    }

    /// Starts a program under a name of its own in this group.
    pub fn start(&mut self, name: &str, program: &[String]) -> Result<()> {
        let pipe = || self.pipe.try_clone().context("share the pipe");
        // The kernel ends it with the thread that started it, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(program)
            .stdin(Stdio::null())
            .stdout(pipe()?)
            .stderr(pipe()?)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        self.programs.insert(name.to_owned(), child);
        Ok(())
    }

    pub fn kill(&mut self, name: &str) -> Result<()> {
        let mut child = self.programs.remove(name).with_context(|| format!("{name} does not run"))?;
        child.kill().with_context(|| format!("kill {name}"))?;
        child.wait().with_context(|| format!("wait for {name}"))?;
        self.note(name, "is killed")
    }

    /// Stops a program in its tracks, as a machine that has no time for it does.
    pub fn pause(&mut self, name: &str) -> Result<()> {
        self.signal(name, Signal::STOP)?;
        self.note(name, "is paused")
    }

    pub fn resume(&mut self, name: &str) -> Result<()> {
        self.note(name, "is resumed")?;
        self.signal(name, Signal::CONT)
    }

    pub fn mark(&self) -> Mark {
        Mark(self.transcript.lock().len())
    }

    /// Waits until the lines since a mark are as wanted.
    pub fn wait<T>(&self, since: Mark, what: &str, found: impl Fn(&[String]) -> Option<T>) -> Result<T> {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.transcript.lock();
        loop {
            if let Some(found) = found(&lines[since.0..]) {
                return Ok(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{}: nothing said that {what}\n{}", self.title, told(&lines));
            }
            let waited = self.transcript.news.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for this line.
    pub fn wait_line(&self, since: Mark, line: &str) -> Result<()> {
        self.wait(since, line, |lines| lines.iter().any(|said| said == line).then_some(()))
    }

    /// Waits until a program says something more or has ended; then how it ended.
    pub fn more_or_end(&mut self, name: &str, since: Mark) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + PATIENCE;
        loop {
            let child = self.programs.get_mut(name).with_context(|| format!("{name} does not run"))?;
            if let Some(status) = child.try_wait().with_context(|| format!("look after {name}"))? {
                return Ok(Some(status));
            }
            let lines = self.transcript.lock();
            if lines.len() > since.0 {
                return Ok(None);
            }
            ensure!(Instant::now() < end, "{}: {name} says nothing more\n{}", self.title, told(&lines));
            let waited = self.transcript.news.wait_timeout(lines, LOOK_INTERVAL);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Everything so far.
    pub fn lines(&self) -> Vec<String> {
        self.transcript.lock().clone()
    }

    fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let child = self.programs.get(name).with_context(|| format!("{name} does not run"))?;
        kill_process(Pid::from_child(child), signal).with_context(|| format!("send {name} a signal"))
    }

    fn note(&mut self, name: &str, what: &str) -> Result<()> {
        // One write, as theirs are.
        self.pipe.write_all(format!("{name} {what}\n").as_bytes()).context("write into the transcript")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for child in self.programs.values_mut() {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Transcript {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transcript to be read by a person.
pub fn told(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "    {line}");
        text
    })
}
