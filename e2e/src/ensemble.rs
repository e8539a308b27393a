//! A ZkEnsemble under test, as its user sees it: through kubectl and client scripts.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use zke_check::{Figures, History, Options, Verdict};

use crate::kubectl::{condition, wait_for};
use crate::scenario::Scenario;

/// From empty disks, or from all pods lost, to a Ready ensemble. It takes seconds; a busy machine may need minutes.
pub const READY_LIMIT: Duration = Duration::from_secs(240);

/// A client that writes all the time acknowledges hundreds of writes a second.
const WRITES_LIMIT: Duration = Duration::from_secs(60);

/// One ensemble in a scenario's namespace.
#[derive(Debug)]
pub struct Ensemble<'a> {
    scenario: &'a Scenario,
    name: String,
}

impl<'a> Ensemble<'a> {
    /// Applies an ensemble with small volumes and waits until it is Ready.
    pub fn create(scenario: &'a Scenario, name: &str, replicas: u32) -> Result<Self> {
        scenario.apply(&manifest(name, replicas))?;
        let ensemble = Self::existing(scenario, name);
        ensemble.wait_until_ready()?;
        Ok(ensemble)
    }

    /// One that is there already.
    pub fn existing(scenario: &'a Scenario, name: &str) -> Self {
        Self { scenario, name: name.to_owned() }
    }

    pub fn object(&self) -> Result<Value> {
        self.scenario.json(&format!("get zke {}", self.name))
    }

    /// Changes the spec as a person would with `kubectl edit`.
    pub fn patch(&self, change: &Value) -> Result<()> {
        let patch = change.to_string();
        let words = ["patch", "zke", &self.name, "--type=merge", "--patch", &patch];
        let call = ["--namespace", &self.scenario.namespace].into_iter().chain(words);
        self.scenario.kubectl.call(call).run()
    }

    /// Sets the number of members as a person would.
    pub fn scale(&self, replicas: u32) -> Result<()> {
        self.scenario.run(&format!("scale zke {} --replicas={replicas}", self.name)).map(drop)
    }

    /// Waits until a condition is true, and gives its reason and message.
    pub fn wait_for_condition(&self, type_: &str) -> Result<(String, String)> {
        let found = wait_for(&format!("{type_} of zke/{}", self.name), READY_LIMIT, || self.holds(type_));
        found.map_err(|error| error.context(self.explain()))
    }

    /// Waits until a condition is true for this reason, and gives its message.
    pub fn wait_for_reason(&self, type_: &str, reason: &str) -> Result<String> {
        let found = wait_for(&format!("{type_}: {reason} of zke/{}", self.name), READY_LIMIT, || {
            Ok(self.holds(type_)?.filter(|(found, _)| found == reason).map(|(_, message)| message))
        });
        found.map_err(|error| error.context(self.explain()))
    }

    /// The reason and the message of a condition that is true.
    fn holds(&self, type_: &str) -> Result<Option<(String, String)>> {
        let ensemble = self.object()?;
        let conditions = ensemble["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.into_iter().find(|condition| condition["type"] == type_);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found = found.filter(|condition| condition["status"] == "True");
        Ok(found.map(|condition| (text(&condition["reason"]), text(&condition["message"]))))
    }

    /// Waits for Ready of the present generation, with every member ready.
    pub fn wait_until_ready(&self) -> Result<()> {
        let ready = wait_for(&format!("a Ready zke/{}", self.name), READY_LIMIT, || {
            let ensemble = self.object()?;
            let (spec, status) = (&ensemble["spec"], &ensemble["status"]);
            let current = status["observedGeneration"] == ensemble["metadata"]["generation"];
            let complete = status["readyReplicas"] == spec["replicas"];
            Ok((current && complete && condition(&ensemble, "Ready") == Some("True")).then_some(()))
        });
        ready.map_err(|error| error.context(self.explain()))
    }

    fn explain(&self) -> String {
        let look = |line: &str| self.scenario.run(line).unwrap_or_else(|error| format!("{error:#}"));
        let pods = look("get pods --output wide");
        let status = self.object().map(|ensemble| format!("{:#}", ensemble["status"])).unwrap_or_default();
        let events = look("get events --sort-by=.lastTimestamp");
        format!("status {status}\n{pods}\n{events}")
    }

    /// The pod that leads.
    pub fn leader(&self) -> Result<String> {
        wait_for("a leader in the status", READY_LIMIT, || {
            Ok(self.object()?["status"]["leader"].as_str().map(str::to_owned))
        })
    }

    pub fn pods(&self) -> Result<Vec<Value>> {
        let pods = self.scenario.json(&format!("get pods --selector=zkensemble.dev/name={}", self.name))?;
        Ok(pods["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until this many pods are left. The membership is settled before: a pod that leaves may take as long for it
    /// as Kubernetes grants.
    pub fn wait_for_pods(&self, wanted: usize) -> Result<()> {
        let settled = || Ok((self.pods()?.len() == wanted).then_some(()));
        let waited = wait_for(&format!("{wanted} pods of zke/{}", self.name), READY_LIMIT, settled);
        waited.map_err(|error| error.context(self.explain()))
    }

    /// A pod that does not lead.
    pub fn follower(&self) -> Result<String> {
        let leader = self.leader()?;
        let names =
            self.pods()?.into_iter().filter_map(|pod| Some(pod["metadata"]["name"].as_str()?.to_owned()));
        names.into_iter().find(|name| *name != leader).context("no pod but the leader's")
    }

    /// The client Service, which stays while pods come and go.
    pub fn service_address(&self) -> Result<String> {
        let service = self.scenario.json(&format!("get service {}-client", self.name))?;
        let address = service["spec"]["clusterIP"].as_str().context("the client Service has no address")?;
        Ok(format!("{address}:2181"))
    }

    /// Every member's own address, for clients on this machine.
    pub fn member_addresses(&self) -> Result<String> {
        let pods = self.pods()?;
        let addresses = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str());
        Ok(addresses.map(|address| format!("{address}:2181")).collect::<Vec<_>>().join(","))
    }

    /// Every member's own name, for clients in pods.
    pub fn member_names(&self) -> Result<String> {
        let namespace = &self.scenario.namespace;
        let name = |pod: &Value| {
            let pod = pod["metadata"]["name"].as_str()?.to_owned();
            Some(format!("{pod}.{}-headless.{namespace}.svc.cluster.local:2181", self.name))
        };
        Ok(self.pods()?.iter().filter_map(name).collect::<Vec<_>>().join(","))
    }

    /// Removes pods as a node failure would: no waiting, no asking.
    pub fn delete_pods(&self, pods: &[String]) -> Result<()> {
        self.scenario.run(&format!("delete pod {} --wait=false", pods.join(" "))).map(drop)
    }

    /// Starts a client on this machine that writes until it is told to end.
    pub fn start_writer(&self, path: &str) -> Result<Writer<'_>> {
        let fresh = |what: &str| self.scenario.fresh_file(&format!("{}-{what}", self.name));
        let (journal, log, history) = (fresh("journal")?, fresh("writer.log")?, fresh("history.jsonl")?);
        let script = self
            .scenario
            .script("writer.py")
            .arg(self.service_address()?)
            .arg(path)
            .arg(&journal)
            .arg(&history);
        let child = script.spawn(&log)?;
        Ok(Writer { ensemble: self, child, journal, log, history, path: path.to_owned() })
    }

    /// Lets several clients do a bit of everything for so long, with sessions that end and begin, while `meanwhile` does
    /// something to the ensemble; then every oracle looks at what each of them saw.
    pub fn judge_mixed_load(&self, seconds: u32, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let (log, history) = (self.scenario.file("mixed.log"), self.scenario.fresh_file("mixed.jsonl")?);
        // A pod that comes back has another address.
        let hosts = self.service_address()?;
        let script = self.scenario.script("mixed.py").arg(hosts).arg("/mixed").arg(&history);
        let mut load = script.arg("--seconds").arg(seconds.to_string()).spawn(&log)?;
        let outcome = meanwhile();
        let ended = wait_for("the end of the mixed load", READY_LIMIT, || Ok(load.try_wait()?));
        if ended.is_err() {
            // It is gone already if it ended meanwhile.
            let _ = load.kill();
            let _ = load.wait();
        }
        outcome?;
        let said = fs::read_to_string(&log).unwrap_or_default();
        ensure!(ended?.success(), "the mixed load failed:\n{said}");
        println!("{}\n{}", said.lines().last().unwrap_or_default(), judge(&[&history])?);
        Ok(())
    }

    /// Proves that everything a writer noted down is there.
    pub fn verify(&self, path: &str, journal: &PathBuf) -> Result<String> {
        self.scenario.script("verify.py").arg(self.service_address()?).arg(path).arg(journal).output()
    }
}

/// A client that writes and notes down what was acknowledged. Ended when dropped.
#[derive(Debug)]
pub struct Writer<'a> {
    ensemble: &'a Ensemble<'a>,
    child: Child,
    journal: PathBuf,
    log: PathBuf,
    history: PathBuf,
    path: String,
}

impl Writer<'_> {
    /// Waits until this many more writes were acknowledged.
    pub fn wait_for_writes(&mut self, more: usize) -> Result<()> {
        let wanted = self.acknowledged() + more;
        let waited = wait_for(&format!("{wanted} acknowledged writes"), WRITES_LIMIT, || {
            if let Some(status) = self.child.try_wait().context("ask for the writer")? {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the writer ended with {status}:\n{log}");
            }
            Ok((self.acknowledged() >= wanted).then_some(()))
        });
        waited.map_err(|error| error.context(self.ensemble.explain()))
    }

    /// Ends it and proves that its session lived on and that nothing that was acknowledged is missing.
    pub fn finish(mut self) -> Result<PathBuf> {
        // A writer that ended early shows in its status.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let status = wait_for("the writer's end", WRITES_LIMIT, || Ok(self.child.try_wait()?))?;
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        ensure!(status.success(), "the writer ended with {status}:\n{said}");
        let scenario = self.ensemble.scenario;
        let dump = scenario.fresh_file(&format!("{}-dump.jsonl", self.ensemble.name))?;
        let verify = scenario.script("verify.py").arg(self.ensemble.service_address()?).arg(&self.path);
        let verified = verify.arg(&self.journal).arg(&dump).output()?;
        println!("{}; {}", said.lines().last().unwrap_or_default(), verified.trim());
        println!("{}", judge(&[&self.history, &dump])?);
        Ok(self.journal.clone())
    }

    fn acknowledged(&self) -> usize {
        fs::read(&self.journal).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        // Gone already if it was finished.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets every oracle look at what a client saw, and at what was there at the end. Says how long the longest gap was.
fn judge(files: &[&PathBuf]) -> Result<String> {
    let mut history = History::default();
    for file in files {
        let reader = File::open(file).with_context(|| format!("open {}", file.display()))?;
        history.append(BufReader::new(reader)).with_context(|| format!("read {}", file.display()))?;
    }
    let report = zke_check::check(&history, &Options::default());
    ensure!(report.verdict() == Verdict::Right, "what the client saw cannot be right:\n{report}");
    let Figures { operations, unknown_writes, gaps, .. } = report.figures;
    let gap = gaps.overall.context("fewer than two writes were acknowledged")?;
    Ok(format!(
        "{operations} operations judged, {unknown_writes} of unknown outcome; longest gap without an acknowledged write: {gap}"
    ))
}

/// An ensemble as a user would write it, with volumes that a test machine can afford.
pub fn manifest(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "zkensemble.dev/v1alpha1",
        "kind": "ZkEnsemble",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "storage": {"size": "1Gi"},
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
            "updatePolicy": {"minReadySeconds": 1},
        },
    })
}

/// The images that pods run, without doubles.
pub fn images(pods: &[Value]) -> Vec<String> {
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned();
    let mut images: Vec<_> = pods.iter().map(image).collect();
    images.sort();
    images.dedup();
    images
}

/// Pods by name with the UID that changes when one is made anew.
pub fn uids(pods: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut uids: Vec<_> =
        pods.iter().map(|pod| (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]))).collect();
    uids.sort();
    uids
}
