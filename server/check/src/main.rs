//! `zke-check FILE...`: judges the histories of one run. Its last line is the verdict; it ends with 0 if that is
//! "right", 1 if "wrong", 3 if "undecided", and 2 if there was nothing to judge.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use zke_check::{History, Options, Verdict, check};

#[derive(Parser)]
#[command(version, about = "Judges a history of what clients of an ensemble saw")]
struct Arguments {
    /// Histories of one run, with one clock: each process in one file.
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Refuse a longer time than this without an acknowledged write.
    #[arg(long, value_name = "MS")]
    max_gap_ms: Option<u64>,

    /// How many steps to search for the place of operations of unknown outcome, for each group of nodes.
    #[arg(long, default_value_t = Options::default().search_steps)]
    search_steps: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(Verdict::Right) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::from(1),
        Ok(Verdict::Undecided) => ExitCode::from(3),
        Err(error) => {
            eprintln!("zke-check: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<Verdict> {
    let mut history = History::default();
    for file in &arguments.files {
        let reader = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        history.append(BufReader::new(reader)).with_context(|| format!("cannot read {}", file.display()))?;
    }
    anyhow::ensure!(history.operations() > 0, "the history has no operation; was its writer started?");
    let options = Options {
        max_gap_ms: arguments.max_gap_ms,
        search_steps: arguments.search_steps,
        ..Options::default()
    };
    let report = check(&history, &options);
    println!("{report}");
    Ok(report.verdict())
}
