//! The cluster's API as its users know it: through kubectl.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::program::Program;

/// How often a condition that is waited for is looked at: short beside what it waits for, long beside a call.
const POLL: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// The program that is called.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A call with these arguments, not yet running.
    pub fn call<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Program {
        Program::new(&self.program).env("KUBECONFIG", &self.kubeconfig).args(args)
    }

    /// Runs `line` split at spaces and gives its standard output.
    pub fn run(&self, line: &str) -> Result<String> {
        self.call(line.split(' ')).output()
    }

    /// Applies manifests server-side.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.call(["apply", "--server-side", "--filename", "-"]).input(manifests).output()
    }

    /// Runs `line` with JSON output, such as `get pods --namespace default`.
    pub fn json(&self, line: &str) -> Result<Value> {
        let text = self.call(line.split(' ').chain(["--output", "json"])).output()?;
        serde_json::from_str(&text).with_context(|| format!("understand the answer to `kubectl {line}`"))
    }

    /// The objects of a list.
    pub fn items(&self, line: &str) -> Result<Vec<Value>> {
        Ok(match self.json(line)?.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        })
    }
}

/// Looks again and again until `look` gives something, at most for `limit`. An error of `look` counts as "not yet"
/// and is shown when the time is over.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let outcome = look();
        if let Ok(Some(found)) = outcome {
            return Ok(found);
        }
        if Instant::now() >= end {
            let message = format!("{what} has not come about within {} s", limit.as_secs());
            return match outcome {
                Err(error) => Err(error.context(message)),
                Ok(_) => bail!(message),
            };
        }
        thread::sleep(POLL);
    }
}

/// The status of a condition of an object: `True`, `False`, `Unknown`, or nothing if it is not there.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_is_found_by_its_type() {
        let node = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(condition(&node, "Ready"), Some("True"));
        assert_eq!(condition(&node, "DiskPressure"), None);
        assert_eq!(condition(&json!({}), "Ready"), None);
    }

    #[test]
    fn waiting_ends_with_the_last_error() {
        let error = wait_for::<()>("the moon", Duration::ZERO, || bail!("cloudy")).unwrap_err();
        assert_eq!(format!("{error:#}"), "the moon has not come about within 0 s: cloudy");
    }
}
