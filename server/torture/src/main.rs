//! `zke-torture`: real faults on real processes. `cargo xtask torture` builds what it needs and runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use zke_torture::campaign::{self, Campaign, Until};

#[derive(Parser)]
#[command(name = "zke-torture", about = "Real faults on real zkd processes, judged by zke-check; needs root")]
struct Arguments {
    /// Of these rows of the test plan; of all without it
    #[arg(long = "row", value_name = "T2", num_args = 1..)]
    rows: Vec<String>,
    /// So many runs of each row
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Begin runs for so long instead, as 90s, 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = duration, conflicts_with = "runs")]
    for_: Option<Duration>,
    /// Of each row as many runs as the test plan states: most of a day
    #[arg(long, conflicts_with_all = ["runs", "for_"])]
    stated: bool,
    /// Of the first run of each row; the next run has the next one
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Members are wrong on purpose in this way, and each row is to find it within its runs
    #[arg(long)]
    mutant: Option<String>,
    /// The server's program
    #[arg(long)]
    zkd: PathBuf,
    /// Where histories and logs of findings are kept
    #[arg(long)]
    keep: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let ran = match words.split_first() {
        Some((first, words)) if first == campaign::INSIDE => campaign::inside(words).map(|()| true),
        _ => run(Arguments::parse()),
    };
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    let until = match arguments.for_ {
        Some(time) => Until::Elapsed(time),
        None if arguments.stated => Until::Stated,
        None => Until::Runs(arguments.runs),
    };
    let Arguments { rows, seed, mutant, zkd, keep: folder, .. } = arguments;
    let table = Campaign { rows: campaign::chosen(&rows)?, seed, until, zkd, folder, mutant }.run()?;
    print!("\n{table}");
    Ok(table.is_as_expected())
}

fn duration(text: &str) -> Result<Duration> {
    const EXPECTED: &str = "a time is a number and s, m or h";
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).context(EXPECTED)?;
    let count: u64 = digits.parse().context(EXPECTED)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => bail!(EXPECTED),
    };
    Ok(Duration::from_secs(count.saturating_mul(seconds)))
}
