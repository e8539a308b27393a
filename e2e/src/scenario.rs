//! What a test on the local Kubernetes starts from: the running cluster and a namespace of its own.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::checkout::Checkout;
use crate::clients;
use crate::cluster::Cluster;
use crate::kubectl::{Kubectl, wait_for};
use crate::program::Program;
use crate::progress::Progress;
use crate::python::{self, Python};

/// A client pod starts within seconds and its checks take less than a minute.
const POD_LIMIT: Duration = Duration::from_secs(180);

/// A namespace on the running local cluster. It goes when this value goes.
#[derive(Debug)]
pub struct Scenario {
    pub checkout: Checkout,
    pub cluster: Cluster,
    pub kubectl: Kubectl,
    pub python: Python,
    pub namespace: String,
    clients_imported: Cell<bool>,
}

impl Scenario {
    /// Makes the namespace, which allows only what Pod Security calls restricted.
    pub fn open(name: &str) -> Result<Self> {
        let scenario = Self::visit(name)?;
        scenario.remove_namespace(true);
        scenario.kubectl.apply(&format!("{:#}", scenario.namespace_object()))?;
        Ok(scenario)
    }

    /// Looks into a namespace that others made, such as `default`; it stays.
    pub fn visit(namespace: &str) -> Result<Self> {
        let checkout = Checkout::find()?;
        let progress = Progress::default();
        let cluster = Cluster::new(checkout.clone(), python::kubectl(&progress)?);
        if !cluster.is_running()? {
            bail!("the local cluster is not running; start it with `cargo xtask up`");
        }
        let kubectl = cluster.kubectl();
        let python = Python::prepare(&progress)?;
        Ok(Self {
            checkout,
            cluster,
            kubectl,
            python,
            namespace: namespace.to_owned(),
            clients_imported: Cell::default(),
        })
    }

    /// A kubectl call in this namespace.
    pub fn run(&self, line: &str) -> Result<String> {
        self.kubectl.run(&format!("--namespace {} {line}", self.namespace))
    }

    /// An object or a list in this namespace.
    pub fn json(&self, line: &str) -> Result<Value> {
        self.kubectl.json(&format!("--namespace {} {line}", self.namespace))
    }

    pub fn apply(&self, manifest: &Value) -> Result<String> {
        let call =
            self.kubectl.call(["--namespace", &self.namespace, "apply", "--server-side", "--filename", "-"]);
        call.input(manifest.to_string()).output()
    }

    /// A client script on this machine.
    pub fn script(&self, name: &str) -> Program {
        clients::script(&self.checkout, &self.python, name)
    }

    /// Runs Python in a pod of the cluster to its end and gives what it wrote. Fails if the program does.
    pub fn python_pod(&self, name: &str, args: &[&str], node: Option<&str>) -> Result<String> {
        self.import_clients()?;
        self.run(&format!("delete pod {name} --ignore-not-found --grace-period=0 --force"))?;
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name},
            "spec": python_pod_spec(args),
        });
        pod["spec"]["restartPolicy"] = json!("Never");
        if let Some(node) = node {
            pod["spec"]["nodeName"] = json!(node);
        }
        self.apply(&pod)?;
        let phase = wait_for(&format!("the end of pod {name}"), POD_LIMIT, || {
            let pod = self.json(&format!("get pod {name}"))?;
            let phase = pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
            Ok(["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase))
        });
        let output = self.run(&format!("logs {name}"));
        match phase {
            Ok(phase) if phase == "Succeeded" => output,
            outcome => {
                let events = self.run("get events --sort-by=.lastTimestamp").unwrap_or_default();
                let output = output.unwrap_or_else(|error| format!("{error:#}"));
                bail!("pod {name}: {outcome:?}\n{output}\n{events}")
            }
        }
    }

    /// Makes the clients' image known to every node.
    pub fn import_clients(&self) -> Result<()> {
        if !self.clients_imported.get() {
            let image =
                clients::image(&self.checkout, &self.python).context("describe the clients' image")?;
            self.cluster.import(&image)?;
            self.clients_imported.set(true);
        }
        Ok(())
    }

    /// A file for a test's own use, below `target/local`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.cluster.state().join(format!("{}-{name}", self.namespace))
    }

    /// Such a file without what an older run left in it.
    pub fn fresh_file(&self, name: &str) -> Result<PathBuf> {
        let file = self.file(name);
        if file.exists() {
            fs::remove_file(&file).with_context(|| format!("remove an older run's {}", file.display()))?;
        }
        Ok(file)
    }

    fn namespace_object(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": self.namespace,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted", "zkensemble.dev/scenario": "true"},
            },
        })
    }

    fn remove_namespace(&self, wait: bool) {
        let line = format!(
            "delete namespace --selector=zkensemble.dev/scenario --field-selector=metadata.name={} --wait={wait}",
            self.namespace
        );
        // Nothing to remove is the usual case; a failure shows when the namespace is made.
        let _ = self.kubectl.run(&line);
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        // The label keeps this from ever removing a namespace that was only visited.
        self.remove_namespace(false);
    }
}

/// The spec of a pod that runs Python under the restricted Pod Security level.
pub fn python_pod_spec(args: &[&str]) -> Value {
    json!({
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 10001, "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "python",
            "image": clients::IMAGE,
            "workingDir": clients::SCRIPTS,
            "args": args,
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        }],
    })
}
