//! Writes the CustomResourceDefinitions into the folder that is named. `cargo xtask crds` runs it.
//!
//! It is not a part of xtask itself, which would then need the whole Kubernetes client before it could say that a
//! machine lacks a loop device.

use std::path::PathBuf;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("the folder to write to must be named")?);
    for (name, content) in zke_api::render() {
        let file = folder.join(name);
        std::fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
        println!("{}", file.display());
    }
    Ok(())
}
