//! Some `zkd` processes, as `zoo.cfg` makes them, each on an address of its own.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use zke_e2e::local_ensemble::mode;
use zke_e2e::program::Program;

use crate::network::Network;
use crate::platter::Platter;
use crate::rows::Row;
use crate::wall_clock::WallClock;

/// For a start of debug builds, or an election, on a busy machine.
pub const SERVE_LIMIT: Duration = Duration::from_secs(60);
/// A member asked to end answers its clients and hands over first; one whose disk fails ends at once.
const END_LIMIT: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// That of the older version and that of the newer one; a fault build can be either.
pub const APPLY_LEVELS: [u32; 2] = [1, 2];

/// `super:test` may change the membership, as ZooKeeper's users configure it.
pub const SUPER: &str = "super:test";
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

pub struct Ensemble {
    pub network: Network,
    zkd: PathBuf,
    folder: PathBuf,
    processes: Vec<Option<Child>>,
    /// Up to which the version goes that is installed for each member.
    apply_levels: Vec<u32>,
    /// Of each member, where disks can lose their power.
    platters: Vec<Platter>,
    /// Of each member, where clocks can jump.
    clocks: Vec<WallClock>,
    /// Where each epoch begins to count zxids.
    first_counter: u32,
}

impl Ensemble {
    /// Starts the members of a row; returns when all serve. Their files are below `folder`.
    pub fn start(zkd: &Path, folder: &Path, row: &Row) -> Result<Ensemble> {
        let Row { members, lines, loses_power, volume_mib, own_clocks, first_counter, .. } = *row;
        let network = Network::build(members)?;
        let processes = (0..members).map(|_| None).collect();
        let (zkd, folder) = (zkd.to_owned(), folder.to_owned());
        let apply_levels = vec![APPLY_LEVELS[0]; members];
        let (platters, clocks) = (Vec::new(), Vec::new());
        let mut ensemble =
            Ensemble { network, zkd, folder, processes, apply_levels, platters, clocks, first_counter };
        for member in 0..members {
            if let Some(mib) = volume_mib {
                mount_volume(&ensemble.data(member), mib)?;
            }
            if loses_power {
                ensemble.platters.push(Platter::make(&ensemble.data(member))?);
            }
            if own_clocks {
                ensemble.clocks.push(WallClock::make(ensemble.data(member).with_extension("clock"))?);
            }
            fs::create_dir_all(ensemble.data(member)).context("make a disk")?;
            ensemble.number(member)?;
            let servers: String = (0..members).map(|other| format!("{}\n", ensemble.line(other))).collect();
            let data = ensemble.data(member);
            let config = format!(
                "dataDir={}\nclientPort=2181\ntickTime=1000\nsslQuorum=false\n4lw.commands.whitelist=srvr\n\
                 reconfigEnabled=true\nDigestAuthenticationProvider.superDigest={SUPER_DIGEST}\n{lines}{servers}",
                data.display()
            );
            fs::write(data.with_extension("cfg"), config).context("configure a member")?;
        }
        ensemble.start_all()?;
        Ok(ensemble)
    }

    /// What every member is a process of.
    pub fn program(&self) -> &Path {
        &self.zkd
    }

    pub fn members(&self) -> usize {
        self.processes.len()
    }

    pub fn others(&self, member: usize) -> Vec<usize> {
        (0..self.members()).filter(|other| *other != member).collect()
    }

    /// A member's `server.N` line.
    pub fn line(&self, member: usize) -> String {
        let address = crate::network::Side::Member(member).address();
        format!("server.{}={address}:2888:3888:participant;2181", member + 1)
    }

    pub fn data(&self, member: usize) -> PathBuf {
        self.folder.join(format!("m{member}"))
    }

    /// What the member has logged, over all its processes.
    pub fn log(&self, member: usize) -> String {
        fs::read_to_string(self.log_file(member)).unwrap_or_default()
    }

    /// Gives a member that does not run an empty disk, with nothing but its number.
    pub fn make_blank(&self, member: usize) -> Result<()> {
        let data = self.data(member);
        if data.exists() {
            fs::remove_dir_all(&data).context("lose a disk")?;
        }
        fs::create_dir_all(&data).context("make a disk")?;
        self.number(member)
    }

    /// Synced, since it is the harness's own and has to survive a power loss.
    fn number(&self, member: usize) -> Result<()> {
        let data = self.data(member);
        let number = || {
            let mut file = File::create(data.join("myid"))?;
            file.write_all((member + 1).to_string().as_bytes())?;
            file.sync_all()?;
            File::open(&data)?.sync_all()
        };
        number().context("number a member")
    }

    /// The machines of members that do not run lose their power, and get it back.
    pub fn lose_power(&self, members: &[usize]) -> Result<()> {
        members.iter().try_for_each(|member| self.platters[*member].lose_power())
    }

    pub fn is_running(&self, member: usize) -> bool {
        self.processes[member].is_some()
    }

    /// Which member says that it leads.
    pub fn leader(&self) -> Result<usize> {
        let begun = Instant::now();
        loop {
            if let Some(leader) =
                self.running().find(|member| self.mode(*member).as_deref() == Some("leader"))
            {
                return Ok(leader);
            }
            ensure!(begun.elapsed() < SERVE_LIMIT, "no member leads");
            sleep(LOOK_INTERVAL);
        }
    }

    /// What a member says of itself; nothing while it serves nobody.
    pub fn mode(&self, member: usize) -> Option<String> {
        mode(self.network.client_address(member))
    }

    /// From its next start on a member runs a version that goes up to this apply level.
    pub fn install(&mut self, member: usize, apply_level: u32) {
        self.apply_levels[member] = apply_level;
    }

    /// A member's time of day is ahead of the machine's by so many seconds from now on.
    pub fn set_clock(&self, member: usize, ahead_s: i64) -> Result<()> {
        self.clocks.get(member).context("members of this row have clocks of their own")?.set(ahead_s)
    }

    /// Starts a member without waiting for it: alone it could not serve.
    pub fn launch(&mut self, member: usize) -> Result<()> {
        ensure!(self.processes[member].is_none(), "member {member} runs already");
        let program = self
            .network
            .inside(member)
            .args(["setpriv", "--pdeathsig", "KILL", "--", "env"])
            .arg(format!("ZKE_APPLY_LEVEL={}", self.apply_levels[member]))
            .arg(format!("ZKE_FIRST_COUNTER={}", self.first_counter))
            .args(self.clocks.get(member).iter().flat_map(|clock| clock.environment()))
            .arg(&self.zkd)
            .arg("--config")
            .arg(self.data(member).with_extension("cfg"));
        self.processes[member] = Some(program.spawn(&self.log_file(member))?);
        Ok(())
    }

    pub fn start_one(&mut self, member: usize) -> Result<()> {
        self.launch(member)?;
        self.wait_serving(member)
    }

    /// Starts whoever does not run; returns when all serve.
    pub fn start_all(&mut self) -> Result<()> {
        for member in 0..self.members() {
            if !self.is_running(member) {
                self.launch(member)?;
            }
        }
        (0..self.members()).try_for_each(|member| self.wait_serving(member))
    }

    pub fn wait_serving(&self, member: usize) -> Result<()> {
        let begun = Instant::now();
        while self.mode(member).is_none() {
            ensure!(begun.elapsed() < SERVE_LIMIT, "member {member} does not serve");
            sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// Kills a member as a lost machine would.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        let mut process = self.processes[member].take().context("it runs")?;
        process.kill().context("kill a member")?;
        process.wait().context("wait for a killed member")?;
        Ok(())
    }

    /// All of them, without waiting for one before the next.
    pub fn kill_all(&mut self) -> Result<()> {
        for process in self.processes.iter_mut().flatten() {
            process.kill().context("kill a member")?;
        }
        for process in &mut self.processes {
            if let Some(mut process) = process.take() {
                process.wait().context("wait for a killed member")?;
            }
        }
        Ok(())
    }

    /// Asks a member to end and waits until it has.
    pub fn terminate(&mut self, member: usize) -> Result<()> {
        self.signal(member, Signal::TERM)?;
        let status = self.wait_end(member)?;
        ensure!(status.success(), "member {member} was asked to end and ended with {status}");
        Ok(())
    }

    /// Waits until a member ends by itself.
    pub fn wait_end(&mut self, member: usize) -> Result<ExitStatus> {
        let process = self.processes[member].as_mut().context("it runs")?;
        let asked = Instant::now();
        loop {
            if let Some(status) = process.try_wait().context("wait for a member's end")? {
                self.processes[member] = None;
                return Ok(status);
            }
            if asked.elapsed() > END_LIMIT {
                bail!("member {member} did not end within {} s", END_LIMIT.as_secs());
            }
            sleep(LOOK_INTERVAL);
        }
    }

    /// Whether a member's process has ended; if so, how.
    pub fn ended(&mut self, member: usize) -> Result<Option<ExitStatus>> {
        let Some(process) = self.processes[member].as_mut() else { return Ok(None) };
        let ended = process.try_wait().context("look after a member")?;
        if ended.is_some() {
            self.processes[member] = None;
        }
        Ok(ended)
    }

    pub fn pause(&self, member: usize) -> Result<()> {
        self.signal(member, Signal::STOP)
    }

    pub fn resume(&self, member: usize) -> Result<()> {
        self.signal(member, Signal::CONT)
    }

    pub fn pid(&self, member: usize) -> Result<u32> {
        Ok(self.processes[member].as_ref().context("it runs")?.id())
    }

    fn signal(&self, member: usize, signal: Signal) -> Result<()> {
        let process = self.processes[member].as_ref().context("it runs")?;
        kill_process(Pid::from_child(process), signal).context("signal a member")
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.members()).filter(|member| self.is_running(*member))
    }

    fn log_file(&self, member: usize) -> PathBuf {
        self.folder.join(format!("m{member}.log"))
    }
}

/// A disk of this size, in memory; it goes with the namespace.
fn mount_volume(data: &Path, mib: u32) -> Result<()> {
    fs::create_dir_all(data).context("make a disk")?;
    Program::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(data).run()
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            // Gone already is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
