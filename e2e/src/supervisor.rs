//! Keeps the cluster's processes running, as the first process of their PID namespace.
//!
//! A component that ends is started again after a second, as an init system would. The supervisor also reaps what
//! other processes leave behind. It never ends by itself: the cluster ends when the supervisor is killed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Pid, WaitOptions, wait};

use crate::network::{NodeNumber, enter};
use crate::program::Program;

const RESTART_AFTER: Duration = Duration::from_secs(1);

/// A component that ended this often will not come right by itself; its log says why. Some of these are normal
/// while the API server starts.
const MAX_RESTARTS: u32 = 50;

/// How often a restart that is due is looked for.
const TICK: Duration = Duration::from_millis(200);

/// One long-running process of the cluster.
#[derive(Clone, Debug)]
pub struct Component {
    /// Also the name of its log.
    pub name: String,
    /// The node whose network it runs in; none for the control plane's.
    pub node: Option<NodeNumber>,
    pub program: PathBuf,
    pub args: Vec<String>,
}

#[derive(Debug)]
pub struct Supervisor {
    logs: PathBuf,
    components: Vec<Watched>,
    running: HashMap<Pid, usize>,
}

#[derive(Debug)]
struct Watched {
    component: Component,
    restarts: u32,
    restart_at: Option<Instant>,
}

impl Supervisor {
    pub fn new(logs: PathBuf) -> Self {
        Self { logs, components: Vec::new(), running: HashMap::new() }
    }

    /// Starts a component and watches over it from now on.
    pub fn start(&mut self, component: Component) -> Result<()> {
        self.components.push(Watched { component, restarts: 0, restart_at: None });
        self.spawn(self.components.len() - 1)
    }

    fn spawn(&mut self, index: usize) -> Result<()> {
        let component = &self.components[index].component;
        let program = match component.node {
            None => Program::new(&component.program),
            Some(node) => enter(node).arg(&component.program),
        };
        let log = self.logs.join(format!("{}.log", component.name));
        let child = program.args(&component.args).spawn(&log)?;
        self.running.insert(Pid::from_child(&child), index);
        Ok(())
    }

    /// Reaps and restarts for ever. No other thread may wait for children meanwhile.
    pub fn run(mut self) -> Result<()> {
        loop {
            self.reap();
            self.restart_due()?;
            thread::sleep(TICK);
        }
    }

    fn reap(&mut self) {
        // An error means that there is no child at all at the moment.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let Some(index) = self.running.remove(&pid) else { continue };
            let watched = &mut self.components[index];
            watched.restarts += 1;
            let name = &watched.component.name;
            if watched.restarts <= MAX_RESTARTS {
                eprintln!("{name} ended ({status:?}), starting it again");
                watched.restart_at = Some(Instant::now() + RESTART_AFTER);
            } else {
                eprintln!("{name} ended ({status:?}) for the {}th time and is given up", watched.restarts);
            }
        }
    }

    fn restart_due(&mut self) -> Result<()> {
        for index in 0..self.components.len() {
            if self.components[index].restart_at.is_some_and(|at| at <= Instant::now()) {
                self.components[index].restart_at = None;
                self.spawn(index)?;
            }
        }
        Ok(())
    }
}
