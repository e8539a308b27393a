//! What a row plays on: an ensemble under load, with everything written down.

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::{Builder, Runtime};
use zke_check::event::Phase;

use crate::admin::Admin;
use crate::ensemble::Ensemble;
use crate::load::Load;
use crate::record::Record;
use crate::rows::Row;

/// A majority is there: so long may nobody get a write done. Far above what is measured, since the machine is shared;
/// what a run took is in its summary.
const SERVE_AGAIN_LIMIT: Duration = Duration::from_secs(15);
/// Everything is healed: so long may one client get none done. It may be silent for nine seconds by its own choice.
const ALL_WRITE_LIMIT: Duration = Duration::from_secs(40);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

pub struct Scene {
    pub ensemble: Ensemble,
    pub random: StdRng,
    pub record: Arc<Record>,
    pub runtime: Runtime,
    pub load: Load,
    slowest: Duration,
}

/// How a scene is set up.
pub struct Setting<'a> {
    pub zkd: &'a Path,
    pub folder: &'a Path,
    pub seed: u64,
    pub row: &'a Row,
}

impl Scene {
    /// Returns when every client has written something.
    pub fn begin(setting: &Setting<'_>) -> Result<Scene> {
        let record = Arc::new(Record::begin());
        record.note(&format!("start {} members", setting.row.members));
        let ensemble = Ensemble::start(setting.zkd, setting.folder, setting.row)?;
        // One busy client must not keep the others' clock from being read.
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.context("start threads for clients")?;
        let addresses =
            (0..setting.row.members).map(|member| ensemble.network.client_address(member)).collect();
        record.note("all serve; the load begins");
        let load = Load::start(&runtime, record.clone(), addresses, setting.seed);
        let random = StdRng::seed_from_u64(setting.seed);
        let scene = Scene { ensemble, random, record, runtime, load, slowest: Duration::ZERO };
        scene.wait_all_write(0)?;
        Ok(scene)
    }

    pub fn note(&self, what: &str) {
        self.record.note(what);
    }

    pub fn pause_ms(&mut self, range: std::ops::Range<u64>) {
        sleep(Duration::from_millis(self.random.random_range(range)));
    }

    pub fn any_member(&mut self) -> usize {
        self.random.random_range(0..self.ensemble.members())
    }

    /// The leader as often as not.
    pub fn some_member(&mut self) -> Result<usize> {
        if self.random.random_bool(0.5) { self.ensemble.leader() } else { Ok(self.any_member()) }
    }

    pub fn any_follower(&mut self) -> Result<usize> {
        let followers = self.ensemble.others(self.ensemble.leader()?);
        Ok(followers[self.random.random_range(0..followers.len())])
    }

    /// Breaks something and waits until a write that was asked for afterwards is acknowledged.
    pub fn survives(&mut self, name: &str, fault: impl FnOnce(&mut Scene) -> Result<()>) -> Result<()> {
        self.record.fault(name, Phase::Begin);
        fault(self)?;
        self.serves_again(name)
    }

    /// Mends what was broken, and waits until a write that was asked for afterwards is acknowledged.
    pub fn mends(&mut self, name: &str, mend: impl FnOnce(&mut Scene) -> Result<()>) -> Result<()> {
        mend(self)?;
        self.record.fault(name, Phase::End);
        self.serves_again(&format!("the end of {name}"))
    }

    /// Breaks something for a while in which there may be no majority, and mends it.
    pub fn passes(
        &mut self,
        name: &str,
        ms: std::ops::Range<u64>,
        fault: impl FnOnce(&mut Scene) -> Result<()>,
        mend: impl FnOnce(&mut Scene) -> Result<()>,
    ) -> Result<()> {
        self.record.fault(name, Phase::Begin);
        fault(self)?;
        self.pause_ms(ms);
        self.mends(name, mend)
    }

    fn serves_again(&mut self, after: &str) -> Result<()> {
        let (since_us, begun) = (self.record.now_us(), Instant::now());
        while !self.load.any_wrote_since(since_us) {
            ensure!(
                begun.elapsed() < SERVE_AGAIN_LIMIT,
                "LIVE: no write was acknowledged within {} s after {after}",
                SERVE_AGAIN_LIMIT.as_secs()
            );
            sleep(LOOK_INTERVAL);
        }
        let took = begun.elapsed();
        self.slowest = self.slowest.max(took);
        self.note(&format!("writes again {:.3} s after {after}", took.as_secs_f64()));
        Ok(())
    }

    /// Everything is healed, whoever does not run is started, and everybody serves and is served.
    pub fn recover(&mut self) -> Result<()> {
        self.ensemble.network.heal()?;
        self.ensemble.start_all()?;
        self.note("all serve");
        self.wait_all_write(self.record.now_us())
    }

    fn wait_all_write(&self, since_us: u64) -> Result<()> {
        let begun = Instant::now();
        while !self.load.all_wrote_since(since_us) {
            ensure!(
                begun.elapsed() < ALL_WRITE_LIMIT,
                "LIVE: all members serve, and a client had no write acknowledged within {} s",
                ALL_WRITE_LIMIT.as_secs()
            );
            sleep(LOOK_INTERVAL);
        }
        self.note("every client has written");
        Ok(())
    }

    pub fn admin(&self, member: usize) -> Result<Admin<'_>> {
        Admin::connect(&self.runtime, self.ensemble.network.client_address(member))
    }

    /// The longest time from a fault, or its end, to the next write.
    pub fn slowest(&self) -> Duration {
        self.slowest
    }
}
