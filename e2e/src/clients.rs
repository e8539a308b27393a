//! The Python clients of `e2e/clients`, on this machine and as an image for pods.
//!
//! There is no registry to take a Python image from, so the image is this machine's own interpreter: its standard
//! library, the shared libraries that it loads, kazoo, and the scripts, each at the path it has here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::checkout::Checkout;
use crate::image::Image;
use crate::program::Program;
use crate::python::Python;

/// The image's name in the local cluster.
pub const IMAGE: &str = "zkensemble.dev/clients:1";

/// Where the image keeps the scripts.
pub const SCRIPTS: &str = "/opt/clients";

/// How a program in the image calls Python, wherever the interpreter itself lies.
pub const PYTHON: &str = "/usr/local/bin/zke-python";

const SITE: &str = "/opt/site";

/// Parts of the standard library that no client needs; half of its size.
const LEFT_OUT: [&str; 11] = [
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "dist-packages",
];

const DESCRIBE: &str = "
import json, os, sys, sysconfig, kazoo
print(json.dumps({
    'interpreter': os.path.realpath(sys.executable),
    'library': sysconfig.get_path('stdlib'),
    'kazoo': os.path.dirname(kazoo.__file__),
}))";

#[derive(Deserialize)]
struct Description {
    interpreter: PathBuf,
    library: PathBuf,
    kazoo: PathBuf,
}

/// A script of `e2e/clients`, to be run on this machine.
pub fn script(checkout: &Checkout, python: &Python, name: &str) -> Program {
    python.script(&checkout.path("e2e/clients").join(name)).env("PYTHONDONTWRITEBYTECODE", "1")
}

/// The image for pods. Its entry point is the interpreter, in the scripts' folder.
pub fn image(checkout: &Checkout, python: &Python) -> Result<Image> {
    let text = Program::new(python.program()).args(["-c", DESCRIBE]).output()?;
    let description: Description =
        serde_json::from_str(&text).context("understand what Python says of itself")?;
    let mut files = BTreeMap::new();
    collect(&description.library, &description.library, &mut files)?;
    collect(&description.kazoo, &Path::new(SITE).join("kazoo"), &mut files)?;
    collect(&checkout.path("e2e/clients"), Path::new(SCRIPTS), &mut files)?;
    files.insert(description.interpreter.clone(), description.interpreter.clone());
    let binaries = files.values().filter(|file| is_binary(file, &description.interpreter));
    for library in shared_libraries(binaries)? {
        files.insert(library.clone(), library);
    }
    let interpreter = description.interpreter.to_str().context("a path that is not UTF-8")?;
    let image = Image::new(IMAGE, interpreter)
        .env(&format!("PYTHONPATH={SITE}:{SCRIPTS}"))
        .env("PYTHONDONTWRITEBYTECODE=1")
        .env("PYTHONUNBUFFERED=1")
        .link(PYTHON, &description.interpreter);
    Ok(files.iter().fold(image, |image, (inside, source)| image.file(&inside.to_string_lossy(), source)))
}

/// Adds every file below `folder`, as path in the image to file here.
fn collect(folder: &Path, inside: &Path, files: &mut BTreeMap<PathBuf, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if LEFT_OUT.contains(&name) || name.starts_with("config-") {
            continue;
        }
        let target = inside.join(name);
        if path.is_dir() {
            collect(&path, &target, files)?;
        } else if path.is_file() {
            files.insert(target, path);
        }
    }
    Ok(())
}

fn is_binary(file: &Path, interpreter: &Path) -> bool {
    file == interpreter || file.extension().is_some_and(|extension| extension == "so")
}

/// What the dynamic loader would load for `binaries`, the loader itself included.
fn shared_libraries<'a>(binaries: impl Iterator<Item = &'a PathBuf>) -> Result<Vec<PathBuf>> {
    let text = Program::new("ldd").args(binaries).output().context("ask which libraries Python loads")?;
    // `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)`, and the loader without an arrow.
    let library = |line: &str| {
        let line = line.trim();
        let path = line.split_once(" => ").map_or(line, |(_, path)| path).split(" (0x").next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    let mut libraries: Vec<_> =
        text.lines().filter(|line| line.contains(" (0x")).filter_map(library).collect();
    libraries.sort();
    libraries.dedup();
    Ok(libraries)
}
