//! Many runs, one after the other: rows in turn, each time with the next seed, and a table at the end.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::isolation;
use crate::rows::{ROWS, Row};
use crate::run::{self, Summary};

/// In `argv`, before the words of a run.
pub const INSIDE: &str = "inside";
/// In the environment of members, which inherit it.
const MUTANT: &str = "ZKE_MUTANT";
/// Said by a member that is.
const WRONG: &str = "this process is wrong on purpose";
/// Enough to see how it came to a finding.
const STORY_LINES: usize = 25;

pub struct Campaign {
    pub rows: Vec<&'static Row>,
    /// Of the first run of each row; the next run has the next one.
    pub seed: u64,
    pub until: Until,
    pub zkd: PathBuf,
    /// Where findings are kept.
    pub folder: PathBuf,
    /// Members are wrong on purpose in this way, and each row is run until it finds something.
    pub mutant: Option<String>,
}

pub enum Until {
    /// So many of each row.
    Runs(u64),
    /// Of each row as many as the test plan states.
    Stated,
    /// No run begins after so long.
    Elapsed(Duration),
}

impl Until {
    /// Whether one more run of a row may begin, behind `runs` of it and so much time.
    fn grants(&self, row: &Row, runs: u64, elapsed: Duration) -> bool {
        match *self {
            Until::Runs(limit) => runs < limit,
            Until::Stated => runs < row.stated_runs,
            Until::Elapsed(limit) => elapsed < limit,
        }
    }
}

/// What came of a campaign.
pub struct Table {
    lines: Vec<Line>,
    mutant: Option<String>,
}

struct Line {
    row: &'static Row,
    runs: u64,
    operations: usize,
    undecided: u64,
    slowest_ms: u64,
    /// The seed and the first words of each.
    findings: Vec<(u64, String)>,
}

impl Campaign {
    /// Tells of each run when it has ended.
    ///
    /// # Errors
    /// When this machine cannot do it; findings are no error.
    pub fn run(&self) -> Result<Table> {
        let missing = isolation::missing();
        ensure!(missing.is_empty(), "real faults need {}: install or become it", missing.join(", "));
        let zkd = self.zkd.canonicalize().with_context(|| format!("find {}", self.zkd.display()))?;
        self.expect_faults(&zkd)?;
        let table = |lines| Table { lines, mutant: self.mutant.clone() };
        let line = |row: &&'static Row| Line {
            row,
            runs: 0,
            operations: 0,
            undecided: 0,
            slowest_ms: 0,
            findings: Vec::new(),
        };
        let mut lines: Vec<Line> = self.rows.iter().map(line).collect();
        let begun = Instant::now();
        for round in 0.. {
            // One finding is all that a mutant is run for.
            let goes_on = |line: &Line| {
                (self.mutant.is_none() || !line.is_wrong())
                    && self.until.grants(line.row, round, begun.elapsed())
            };
            if !lines.iter().any(goes_on) {
                break;
            }
            for line in &mut lines {
                if goes_on(line) {
                    line.add(self.run_once(line.row, self.seed + round, &zkd)?);
                }
            }
        }
        Ok(table(lines))
    }

    /// Whether this program can be wrong in the way that is asked for.
    fn expect_faults(&self, zkd: &Path) -> Result<()> {
        let Some(mutant) = &self.mutant else { return Ok(()) };
        let program = fs::read(zkd).with_context(|| format!("read {}", zkd.display()))?;
        let names = program.windows(mutant.len()).any(|bytes| bytes == mutant.as_bytes());
        ensure!(!mutant.is_empty() && names, "{} has no mutant called {mutant}", zkd.display());
        Ok(())
    }

    fn run_once(&self, row: &Row, seed: u64, zkd: &Path) -> Result<Summary> {
        let folder = self.folder.join(format!("{}-{seed}-{}", row.name, std::process::id()));
        if folder.exists() {
            fs::remove_dir_all(&folder).context("remove what an earlier run left")?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let summary = self.play(row, seed, zkd, &folder)?;
        let figures = format!(
            "{} seed {seed}: {} operations, writes again after {:.2} s at most, took {} s",
            row.name,
            summary.operations,
            seconds(summary.slowest_ms),
            summary.took_ms / 1_000
        );
        if let Some(mutant) = &self.mutant {
            let said = fs::read_to_string(folder.join("m0.log")).unwrap_or_default();
            ensure!(said.contains(WRONG), "a member does not say that it is wrong on purpose: {said}");
            let found = summary.findings.first().map_or("right", String::as_str);
            eprintln!("{figures}, as {mutant}: {found}");
            fs::remove_dir_all(&folder).context("remove what a run left")?;
            return Ok(summary);
        }
        if summary.findings.is_empty() {
            let undecided = summary.undecided.first().map(|what| format!(", but undecided: {what}"));
            eprintln!("{figures}: right{}", undecided.unwrap_or_default());
            fs::remove_dir_all(&folder).context("remove what a run left")?;
            return Ok(summary);
        }
        eprintln!("{figures}: WRONG\n{}", story(&folder));
        for finding in &summary.findings {
            eprintln!("{}: {finding}", row.name);
        }
        run::remove_disks(&folder)?;
        let history = run::history_file(&folder);
        if history.exists() {
            eprintln!("kept: {0}; judge it again: zke-check {1}", folder.display(), history.display());
        } else {
            eprintln!("kept: {}", folder.display());
        }
        eprintln!("again: {}", again(row, seed));
        Ok(summary)
    }

    /// In a process with namespaces of its own, which tells its story in a file.
    fn play(&self, row: &Row, seed: u64, zkd: &Path, folder: &Path) -> Result<Summary> {
        let report = folder.join("summary.json");
        let story = File::create(folder.join("story")).context("make a file for the story")?;
        let mut run = isolation::isolated()?;
        match &self.mutant {
            Some(mutant) => run.env(MUTANT, mutant),
            None => run.env_remove(MUTANT),
        };
        let status = run
            .args([INSIDE, row.name, &seed.to_string()])
            .args([zkd, folder, report.as_path()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(story)
            .status()
            .context("start a run")?;
        match fs::read(&report) {
            Ok(bytes) if status.success() => {
                serde_json::from_slice(&bytes).context("read what came of a run")
            }
            _ => Ok(Summary {
                row: row.name.to_owned(),
                seed,
                operations: 0,
                findings: vec![format!("the run itself ended with {status}")],
                undecided: Vec::new(),
                slowest_ms: 0,
                took_ms: 0,
            }),
        }
    }
}

/// What the process of a run does with its words.
///
/// # Errors
/// Whatever keeps it from telling what came of the run.
pub fn inside(words: &[String]) -> Result<()> {
    let [row, seed, zkd, folder, report] = words else { bail!("a run has five words") };
    let row = Row::find(row).with_context(|| format!("there is no row {row}"))?;
    isolation::settle()?;
    let summary = run::run(row, seed.parse().context("read the seed")?, zkd.as_ref(), folder.as_ref())?;
    let text = serde_json::to_vec(&summary).context("write what came of a run")?;
    fs::write(report, text).context("write what came of a run")
}

/// Every row, or the named ones.
///
/// # Errors
/// A name that no row has.
pub fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let known = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    names
        .iter()
        .map(|name| Row::find(name).with_context(|| format!("no row {name}: take of {}", known())))
        .collect()
}

fn story(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("story")).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(STORY_LINES)..].join("\n")
}

fn again(row: &Row, seed: u64) -> String {
    format!("cargo xtask torture --row {} --runs 1 --seed {seed}", row.name)
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

impl Line {
    fn is_wrong(&self) -> bool {
        !self.findings.is_empty()
    }

    fn add(&mut self, summary: Summary) {
        self.runs += 1;
        self.operations += summary.operations;
        self.undecided += u64::from(!summary.undecided.is_empty());
        self.slowest_ms = self.slowest_ms.max(summary.slowest_ms);
        self.findings.extend(summary.findings.into_iter().next().map(|first| (summary.seed, first)));
    }
}

impl Table {
    /// Whether every row found nothing; of a mutant, whether every row found it.
    pub fn is_as_expected(&self) -> bool {
        self.lines.iter().all(|line| line.is_wrong() == self.mutant.is_some())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "row    runs  operations  undecided  wrong  writes again after, at most  what")?;
        for Line { row, runs, operations, undecided, slowest_ms, findings } in &self.lines {
            writeln!(
                f,
                "{:<5} {runs:>5} {operations:>11} {undecided:>10} {:>6} {:>26.2} s  {}",
                row.name,
                findings.len(),
                seconds(*slowest_ms),
                row.about
            )?;
        }
        for Line { row, findings, .. } in &self.lines {
            for (seed, finding) in findings {
                let as_mutant =
                    self.mutant.iter().map(|mutant| format!(" --mutant {mutant}")).collect::<String>();
                let again = again(row, *seed);
                writeln!(f, "{} seed {seed}: {finding}\n  again: {again}{as_mutant}", row.name)?;
            }
        }
        Ok(())
    }
}
