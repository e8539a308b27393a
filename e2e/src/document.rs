//! The commands of a page of the documentation, as a reader would type them one after the other.
//!
//! A command is what a fenced block marked `sh` holds. Blocks with other marks are for looking at.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::program::Program;
use crate::scenario::Scenario;

/// The longest that a page lets its reader wait is five minutes.
const COMMAND_LIMIT: Duration = Duration::from_secs(330);

/// Runs every command of a page, in the scenario's namespace where the page says `default`. The first one that fails
/// ends it.
pub fn run(scenario: &Scenario, path: &str) -> Result<()> {
    let page = fs::read_to_string(scenario.checkout.path(path)).with_context(|| format!("read {path}"))?;
    let commands = commands(&page);
    ensure!(!commands.is_empty(), "{path} has no commands");
    let kubeconfig = scenario.file("kubeconfig");
    fs::copy(scenario.cluster.kubeconfig(), &kubeconfig).context("copy the kubeconfig")?;
    let context = format!("config set-context --current --namespace={}", scenario.namespace);
    Program::new(scenario.kubectl.program()).env("KUBECONFIG", &kubeconfig).args(context.split(' ')).run()?;
    for command in commands {
        let command =
            command.replace("/namespaces/default/", &format!("/namespaces/{}/", scenario.namespace));
        println!("$ {command}");
        let begun = Instant::now();
        let set = format!("export KUBECONFIG='{}'\n{command}", kubeconfig.display());
        let said = typed(scenario, &set).with_context(|| format!("{path}: {command}"))?;
        println!("{}\n({:.1} s)", said.trim_end(), begun.elapsed().as_secs_f32());
    }
    fs::remove_file(&kubeconfig).context("remove the copied kubeconfig")
}

/// What a command says that is typed in the checkout, in a shell with the local cluster's programs.
pub fn typed(scenario: &Scenario, command: &str) -> Result<String> {
    let env = scenario.cluster.state().join("env");
    Program::new("sh")
        .directory(scenario.checkout.root())
        .args(["-e", "-c", &format!(". '{}'\n{command}", env.display())])
        .within(COMMAND_LIMIT)
        .output()
}

fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("\n```sh\n").skip(1);
    blocks.filter_map(|rest| Some(rest.split_once("\n```")?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn only_blocks_marked_sh_are_commands() {
        let page = "# A page\n\n```sh\nls\n```\n\n```yaml\nkind: Pod\n```\n\n```sh\ndate \\\n  --utc\n```\nThe end.\n";
        assert_eq!(commands(page), ["ls", "date \\\n  --utc"]);
    }
}
