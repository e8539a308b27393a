//! The images of server and operator: static programs in one layer each, built without Docker.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use zke_e2e::checkout::Checkout;
use zke_e2e::image::Image;
use zke_e2e::program::Program;
use zke_e2e::progress::Progress;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A cold release build on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

pub struct Images {
    pub server: Image,
    pub operator: Image,
}

/// Builds both programs and describes their images.
pub fn build(checkout: &Checkout, progress: &Progress) -> Result<Images> {
    let programs = progress.step("build zkd and zke-operator (release, static)", |step| {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        // A folder of its own: the other flags would make every ordinary build start again.
        let folder = checkout.cargo_target().join("static");
        Program::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .directory(checkout.root())
            .args(["build", "--locked", "--release", "--package", "zkd", "--package", "zke-operator"])
            .args(["--target", &target])
            .arg("--target-dir")
            .arg(&folder)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .without_env("CARGO_ENCODED_RUSTFLAGS")
            .within(BUILD_LIMIT)
            .logged(&checkout.path("target/build-logs/static.log"), step)?;
        Ok(folder.join(target).join("release"))
    })?;
    Ok(Images { server: image(&programs, "zkd")?, operator: image(&programs, "zke-operator")? })
}

/// Builds both and writes `target/image/*.tar`; with `push_dir` also a folder in the OCI layout for each.
pub fn write(checkout: &Checkout, push_dir: Option<&Path>, progress: &Progress) -> Result<()> {
    let images = build(checkout, progress)?;
    let folder = checkout.images();
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for (name, image) in [("zkd", &images.server), ("zke-operator", &images.operator)] {
        let archive = image.archive()?;
        let tar: PathBuf = folder.join(format!("{name}.tar"));
        fs::write(&tar, &archive.bytes).with_context(|| format!("write {}", tar.display()))?;
        progress.say(&format!("{} {}\n  {}", image.name(), archive.digest, tar.display()));
        if let Some(push_dir) = push_dir {
            let layout = push_dir.join(name);
            archive.write_layout(&layout)?;
            progress.say(&format!("  {} (OCI layout)", layout.display()));
        }
    }
    Ok(())
}

fn image(programs: &Path, program: &str) -> Result<Image> {
    Image::of_program(&format!("ghcr.io/zkensemble/{program}:{VERSION}"), &programs.join(program))
}
