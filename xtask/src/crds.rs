//! The CustomResourceDefinitions' files. A test in operator/api fails when they are stale.

use std::time::Duration;

use anyhow::{Result, bail};
use zke_e2e::checkout::Checkout;
use zke_e2e::program::Program;

/// The Kubernetes client's types take minutes to compile the first time.
const LIMIT: Duration = Duration::from_secs(1800);

pub fn write(checkout: &Checkout) -> Result<()> {
    let cargo = Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let writer = cargo
        .directory(checkout.root())
        .args(["run", "--quiet", "--package", "xtask", "--example", "crds", "--"])
        .arg(checkout.path("crds"))
        .within(LIMIT);
    if writer.shown()? { Ok(()) } else { bail!("crds/*.yaml could not be written") }
}
