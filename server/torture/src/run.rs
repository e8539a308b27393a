//! One run: one row, one seed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use zke_check::event::Event;

use crate::judge;
use crate::record;
use crate::rows::Row;
use crate::scene::{Scene, Setting};

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub row: String,
    pub seed: u64,
    pub operations: usize,
    pub findings: Vec<String>,
    /// What the checker could not decide; no approval, and no finding either: LIN is the only oracle that searches.
    pub undecided: Vec<String>,
    /// The longest time from a fault, or its end, to the next write.
    pub slowest_ms: u64,
    pub took_ms: u64,
}

/// Of a run in its folder, for `zke-check`.
pub fn history_file(folder: &Path) -> PathBuf {
    folder.join("history.jsonl")
}

/// To be called in namespaces of its own ([`isolation`](crate::isolation)). Leaves logs, and if there are findings the
/// history, in `folder`.
pub fn run(row: &Row, seed: u64, zkd: &Path, folder: &Path) -> Result<Summary> {
    let begun = Instant::now();
    let setting = Setting { zkd, folder, seed, row };
    let (mut findings, events, slowest_ms) = match Scene::begin(&setting) {
        Ok(scene) => play(row, scene),
        Err(error) => (vec![format!("{error:#}")], Vec::new(), 0),
    };
    let (mut operations, mut undecided) = (0, Vec::new());
    if !events.is_empty() {
        let judgement = judge::judge(events.clone());
        operations = judgement.operations;
        findings.extend(judgement.findings);
        undecided = judgement.too_hard;
    }
    if !findings.is_empty() {
        record::write(&events, &history_file(folder))?;
    }
    let took_ms = millis(begun);
    Ok(Summary { row: row.name.to_owned(), seed, operations, findings, undecided, slowest_ms, took_ms })
}

fn play(row: &Row, mut scene: Scene) -> (Vec<String>, Vec<Event>, u64) {
    let record = scene.record.clone();
    let played = (row.play)(&mut scene).and_then(|()| scene.recover());
    let slowest_ms = u64::try_from(scene.slowest().as_millis()).unwrap_or(u64::MAX);
    let ended = match played {
        Ok(()) => judge::read_back(scene),
        // What clients saw until here is judged all the same.
        Err(error) => Err(error),
    };
    let findings = ended.unwrap_or_else(|error| vec![format!("{error:#}")]);
    findings.iter().for_each(|finding| record.note(finding));
    (findings, record.take(), slowest_ms)
}

fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Removes what only the members needed, which is most of it.
pub fn remove_disks(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).context("look at what a run left")?.flatten() {
        if entry.file_type().context("look at what a run left")?.is_dir() {
            fs::remove_dir_all(entry.path()).context("remove a member's disk")?;
        }
    }
    Ok(())
}
