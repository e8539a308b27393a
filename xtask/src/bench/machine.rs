//! What a figure depends on besides the servers.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

const SYNC_FILE_BYTES: usize = 1 << 20;
const SYNC_BLOCK_BYTES: usize = 4 << 10;
const SYNC_TIME: Duration = Duration::from_millis(700);

#[derive(Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub kernel: String,
    /// Of one block of 4 KiB in a file that was written before, one after another, right before the servers started.
    pub fdatasyncs_per_s: f64,
}

impl Machine {
    pub fn look(folder: &Path) -> Result<Machine> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Machine {
            cores: thread::available_parallelism().map_or(0, usize::from),
            processor: processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            kernel: kernel.trim().to_owned(),
            fdatasyncs_per_s: fdatasyncs_per_s(&folder.join("sync")).context("time the disk's fdatasync")?,
        })
    }
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name.trim()).to_owned()
}

fn fdatasyncs_per_s(path: &Path) -> Result<f64> {
    let file = File::create(path)?;
    file.write_all_at(&vec![0; SYNC_FILE_BYTES], 0)?;
    file.sync_all()?;
    let block = [1; SYNC_BLOCK_BYTES];
    let begun = Instant::now();
    let mut syncs = 0_u32;
    while begun.elapsed() < SYNC_TIME {
        let at = syncs as usize * SYNC_BLOCK_BYTES % SYNC_FILE_BYTES;
        file.write_all_at(&block, at as u64)?;
        file.sync_data()?;
        syncs += 1;
    }
    let rate = f64::from(syncs) / begun.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}
