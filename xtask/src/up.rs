//! The main job: from an empty machine to a working ensemble, each step skipped that is already right.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use zke_e2e::checkout::{Checkout, key};
use zke_e2e::cluster::Cluster;
use zke_e2e::kubectl::{Kubectl, condition, wait_for};
use zke_e2e::program::Program;
use zke_e2e::progress::{Progress, Step};
use zke_e2e::python::Python;
use zke_e2e::{clients, go};

use crate::image::{self, Images};
use crate::local;

const OPERATOR_NAMESPACE: &str = "zke-system";
const RELEASE: &str = "zke-operator";

/// Short, so that a test that ends the operator need not wait long for the next one.
const LEASE: &str = "lease.durationSeconds=5,lease.renewDeadlineSeconds=3,lease.retryPeriodSeconds=1";

/// An ensemble on three empty disks needs some seconds; a busy machine far more.
const READY_LIMIT: Duration = Duration::from_secs(300);

pub fn up(checkout: &Checkout, progress: &Progress) -> Result<()> {
    local::parts(checkout, progress)?;
    let helm = go::helm(checkout, progress)?;
    let python = Python::prepare(progress)?;
    let images = image::build(checkout, progress)?;
    let cluster = local::cluster_up(checkout, progress)?;
    let _lock = cluster.lock()?;
    progress.step("import the images", |_| {
        [&images.server, &images.operator].into_iter().try_for_each(|image| cluster.import(image))
    })?;
    progress.step("install the operator", |step| install(checkout, &cluster, &helm, &images, step))?;
    let kubectl = cluster.kubectl();
    let example = checkout.path("examples/quickstart.yaml");
    kubectl.call(["apply", "--filename"]).arg(&example).run().context("apply examples/quickstart.yaml")?;
    let ready = progress.step("zke/quickstart is Ready", |step| wait_until_ready(&kubectl, step));
    if ready.is_err() {
        explain(&kubectl, progress);
    }
    ready?;
    let hosts = client_address(&kubectl)?;
    write_env(&cluster, &hosts, &helm)?;
    let session = progress.step("a client session from this machine", |_| {
        clients::script(checkout, &python, "hello.py").arg(&hosts).output()
    })?;
    progress.say(&farewell(session.trim(), &kubectl.run("get zke quickstart")?, &python));
    Ok(())
}

/// Installs or upgrades the chart, unless exactly this chart with exactly these images is installed.
fn install(checkout: &Checkout, cluster: &Cluster, helm: &Path, images: &Images, step: &Step) -> Result<()> {
    let chart = checkout.path("charts/zke-operator");
    let wanted = installation_key(&chart, images)?;
    let record = cluster.state().join("operator");
    let helm = || Program::new(helm).env("KUBECONFIG", cluster.kubeconfig());
    let status =
        helm().args(["status", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--output", "json"]).output();
    let deployed = status.is_ok_and(|text| {
        let status: Value = serde_json::from_str(&text).unwrap_or_default();
        status["info"]["status"] == "deployed"
    });
    if deployed && fs::read_to_string(&record).is_ok_and(|before| before == wanted) {
        step.detail("unchanged");
        return Ok(());
    }
    // The images' names carry the version, not the content: the annotation is what brings new pods for a new build.
    let content = format!("podAnnotations.zkensemble\\.dev/content={wanted}");
    helm()
        .args(["upgrade", "--install", RELEASE])
        .arg(&chart)
        .args([
            "--namespace",
            OPERATOR_NAMESPACE,
            "--create-namespace",
            "--set-string",
            &content,
            "--set",
            LEASE,
        ])
        .run()
        .context("install the operator's chart with Helm")?;
    let rollout = format!("rollout status deployment --namespace {OPERATOR_NAMESPACE} --timeout=120s");
    cluster.kubectl().run(&rollout)?;
    fs::write(&record, wanted).context("note down what was installed")
}

fn installation_key(chart: &Path, images: &Images) -> Result<String> {
    let mut parts = Vec::new();
    for image in [&images.server, &images.operator] {
        parts.push(image.archive()?.digest.into_bytes());
    }
    for file in files_below(chart)? {
        parts.push(file.as_os_str().as_encoded_bytes().to_vec());
        parts.push(fs::read(&file).with_context(|| format!("read {}", file.display()))?);
    }
    Ok(key(parts.iter().map(Vec::as_slice)))
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    files.sort();
    Ok(files)
}

fn wait_until_ready(kubectl: &Kubectl, step: &Step) -> Result<()> {
    wait_for("a Ready zke/quickstart", READY_LIMIT, || {
        let ensemble = kubectl.json("get zke quickstart")?;
        step.detail(describe(&ensemble));
        let current = ensemble["status"]["observedGeneration"] == ensemble["metadata"]["generation"];
        Ok((current && condition(&ensemble, "Ready") == Some("True")).then_some(()))
    })
}

/// What the operator says of an ensemble, in one line: its present operation, members, and why it is not Ready.
fn describe(ensemble: &Value) -> String {
    let status = &ensemble["status"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let step = match (&status["operation"]["type"], &status["operation"]["step"]) {
        (Value::String(kind), Value::String(step)) => format!("{kind}/{step}"),
        _ => text(&status["phase"]),
    };
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    let reason = ready.map(|ready| format!("{} {}", text(&ready["reason"]), text(&ready["message"])));
    let members = status["readyReplicas"].as_u64().unwrap_or(0);
    [step, format!("{members} members ready"), reason.unwrap_or_default()]
        .into_iter()
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Shows what a person would look at first when the ensemble does not become Ready.
fn explain(kubectl: &Kubectl, progress: &Progress) {
    let operator_logs = format!("logs --namespace {OPERATOR_NAMESPACE} --tail=40 deployment/{RELEASE}");
    let looks = [
        "describe zke quickstart",
        "get pods,pvc --all-namespaces --output wide",
        "get events --all-namespaces --sort-by=.lastTimestamp",
        &operator_logs,
        "logs --selector=zkensemble.dev/name=quickstart --tail=20 --prefix",
    ];
    for look in looks {
        let text = kubectl.run(look).unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(60)..].join("\n");
        progress.say(&format!("\n--- kubectl {look}\n{last}"));
    }
}

/// The client Service's address: it stays while pods come and go, and this machine has a route to it.
fn client_address(kubectl: &Kubectl) -> Result<String> {
    let service = kubectl.json("get service quickstart-client")?;
    let address = service["spec"]["clusterIP"].as_str().context("the client Service has no address")?;
    Ok(format!("{address}:2181"))
}

/// What a shell needs. Kubectl and Helm may be known to this project alone, so a folder names the ones in use here.
fn write_env(cluster: &Cluster, hosts: &str, helm: &Path) -> Result<()> {
    let programs = cluster.state().join("bin");
    fs::create_dir_all(&programs).context("create target/local/bin")?;
    for (name, program) in [("kubectl", cluster.kubectl().program()), ("helm", helm)] {
        let link = programs.join(name);
        if fs::read_link(&link).is_ok_and(|before| before == program) {
            continue;
        }
        // What an earlier run left may point to a program that is gone.
        let _ = fs::remove_file(&link);
        symlink(program, &link).with_context(|| format!("link {}", link.display()))?;
    }
    let text = format!(
        "export PATH='{}':\"$PATH\"\nexport KUBECONFIG='{}'\nexport ZK_HOSTS='{hosts}'\n",
        programs.display(),
        cluster.kubeconfig().display(),
    );
    fs::write(cluster.state().join("env"), text).context("write target/local/env")
}

fn farewell(session: &str, table: &str, python: &Python) -> String {
    let table = table.trim_end();
    let python = python.program();
    let python = python.display();
    format!(
        "\nA ZooKeeper client {session}.

{table}

Go on with:
  source target/local/env                      # KUBECONFIG and ZK_HOSTS for this shell
  kubectl get zke,pods
  {python} -c 'import os, kazoo.client as k; c = k.KazooClient(os.environ[\"ZK_HOSTS\"]); c.start(); print(c.get_children(\"/\"))'
  cargo xtask test                             # all tests
  cargo xtask down                             # end it and remove everything"
    )
}
