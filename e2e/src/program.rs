//! Running other programs: with a bound on time, and an error that says which program complained about what.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::progress::Step;

/// No single tool that we call needs longer than this unless its caller says so with [`Program::within`].
const USUAL_LIMIT: Duration = Duration::from_secs(300);

/// What is shown of a failed program's output: enough for a compiler's last error.
const TAIL_LINES: usize = 25;

/// A program about to run.
#[derive(Debug)]
pub struct Program {
    command: Command,
    input: Vec<u8>,
    limit: Duration,
}

impl Program {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(program), input: Vec::new(), limit: USUAL_LIMIT }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Kills the program and fails when it runs longer than `limit`.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs to the end and gives what it wrote to standard output.
    pub fn output(mut self) -> Result<String> {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.start()?;
        let mut stdin = child.stdin.take();
        let input = std::mem::take(&mut self.input);
        let writer = thread::spawn(move || stdin.as_mut().map(|pipe| pipe.write_all(&input)));
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = self.finish(child)?;
        // A program that ends without reading its input is no failure of ours.
        let _ = writer.join();
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        if !status.success() {
            let complaint = if stderr.trim().is_empty() { &stdout } else { &stderr };
            return Err(
                anyhow!("{}", tail(complaint)).context(format!("`{}` ended with {status}", self.line()))
            );
        }
        Ok(stdout)
    }

    /// Runs to the end for its effect alone.
    pub fn run(self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs to the end with all output in `log`, whose last line tells how far `step` is; the error shows more of it.
    pub fn logged(mut self, log: &Path, step: &Step) -> Result<()> {
        let file = create(log)?;
        let copy = file.try_clone().context("share the log between two streams")?;
        self.command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let child = self.start()?;
        let status = self.finish_telling(child, || step.flicker(&last_line(log)))?;
        if status.success() {
            return Ok(());
        }
        let text = fs::read_to_string(log).unwrap_or_default();
        let line = self.line();
        Err(anyhow!("{}", tail(&text))
            .context(format!("`{line}` ended with {status}; see {}", log.display())))
    }

    /// Runs to the end on this terminal and says whether it succeeded.
    pub fn shown(mut self) -> Result<bool> {
        self.command.stdin(Stdio::null());
        let child = self.start()?;
        Ok(self.finish(child)?.success())
    }

    /// Says whether it ends well; what it writes is of no interest.
    pub fn succeeds(mut self) -> bool {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.start().and_then(|child| self.finish(child)).is_ok_and(|status| status.success())
    }

    /// Starts it without waiting, with all output appended to `log`.
    pub fn spawn(mut self, log: &Path) -> Result<Child> {
        let file = append(log)?;
        let copy = file.try_clone().context("share the log between two streams")?;
        self.command.stdin(Stdio::null()).stdout(file).stderr(copy);
        self.start()
    }

    fn start(&mut self) -> Result<Child> {
        self.command.spawn().with_context(|| format!("start `{}`", self.line()))
    }

    fn finish(&self, child: Child) -> Result<ExitStatus> {
        self.finish_telling(child, || {})
    }

    /// Calls `tell` about once a second while the program runs.
    fn finish_telling(&self, mut child: Child, mut tell: impl FnMut()) -> Result<ExitStatus> {
        let end = Instant::now() + self.limit;
        let mut told = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait().with_context(|| format!("wait for `{}`", self.line()))? {
                return Ok(status);
            }
            if Instant::now() >= end {
                // It may end by itself at this moment; either way it is gone.
                let _ = child.kill();
                let _ = child.wait();
                let limit = self.limit.as_secs();
                return Err(anyhow!("`{}` was still running after {limit} s and was ended", self.line()));
            }
            if told.elapsed() > Duration::from_secs(1) {
                tell();
                told = Instant::now();
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        line.chars().take(300).collect()
    }
}

/// Where a program is on this machine. The folders of system tools count even if PATH leaves them out.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What arrived before an error is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// The last line of a log, of which only the end is read.
fn last_line(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(400)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    read().unwrap_or_default().lines().last().unwrap_or_default().trim().to_owned()
}

fn create(log: &Path) -> Result<File> {
    make_parent(log)?;
    File::create(log).with_context(|| format!("create the log {}", log.display()))
}

fn append(log: &Path) -> Result<File> {
    make_parent(log)?;
    let file = File::options().create(true).append(true).open(log);
    file.with_context(|| format!("open the log {}", log.display()))
}

fn make_parent(file: &Path) -> Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_input_pass_through() {
        assert_eq!(Program::new("cat").input("hello").output().unwrap(), "hello");
    }

    #[test]
    fn a_failure_says_what_the_program_said() {
        let error =
            Program::new("sh").args(["-c", "echo broken pipe fitting >&2; exit 3"]).run().unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("exit status: 3") && text.contains("broken pipe fitting"), "{text}");
    }

    #[test]
    fn a_program_past_its_limit_is_ended() {
        let error = Program::new("sleep").arg("30").within(Duration::from_millis(50)).run().unwrap_err();
        assert!(error.to_string().contains("still running"), "{error}");
    }
}
