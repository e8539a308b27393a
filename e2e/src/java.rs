//! Java programs from their sources and Maven Central, built once per machine and state of the sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::checkout::{cache, key, make_once};
use crate::packages;
use crate::program::{Program, find};
use crate::progress::Progress;

/// Downloads of some twenty megabytes, and a compiler.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// What each of these programs comes with on Debian.
const NEEDS: [(&str, &str); 3] =
    [("java", "default-jre-headless"), ("javac", "default-jdk-headless"), ("mvn", "maven")];

/// A compiled project with all the libraries it needs.
#[derive(Clone, Debug)]
pub struct Java {
    folder: PathBuf,
}

impl Java {
    /// Builds the Maven project in `project`, unless that was done before.
    pub fn build(project: &Path, progress: &Progress) -> Result<Self> {
        install_missing(progress)?;
        let sources = sources(project)?;
        let parts = sources.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_slice()]);
        let folder = cache()?.join(format!("java-{}", key(parts)));
        if !folder.is_dir() {
            progress.step(&format!("build {} with Maven", project.display()), |_| {
                make_once(&folder, |folder| build(folder, &sources))
            })?;
        }
        Ok(Self { folder })
    }

    /// A call of a class of the project: a small heap and no late compiler, for programs that live for seconds.
    pub fn arguments(&self, class: &str) -> Vec<String> {
        let classes = self.folder.join("target/classes");
        let libraries = self.folder.join("target/dependency/*");
        let path = format!("{}:{}", classes.display(), libraries.display());
        let flags =
            ["-Xmx128m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"];
        flags.into_iter().map(str::to_owned).chain([path, class.to_owned()]).collect()
    }
}

fn install_missing(progress: &Progress) -> Result<()> {
    let missing = || -> Vec<&str> {
        NEEDS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect()
    };
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    progress.step(&format!("install {}", packages.join(", ")), |_| packages::install(&packages))?;
    match missing().first() {
        Some(package) => bail!("{package} was installed and its program is still missing"),
        None => Ok(()),
    }
}

/// The project's files, by their names below it, in an order of their own. What Maven made there is none of them.
fn sources(project: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut folders = vec![project.join("src")];
    let mut files = vec![project.join("pom.xml")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("look into {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("look into {}", folder.display()))?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let read = |file: PathBuf| {
        let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        let name = file.strip_prefix(project).unwrap_or(&file).display().to_string();
        Ok((name, text))
    };
    files.into_iter().map(read).collect()
}

/// With the commands that a reader is told to type.
fn build(folder: &Path, sources: &[(String, Vec<u8>)]) -> Result<()> {
    for (name, text) in sources {
        let file = folder.join(name);
        let parent = file.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Program::new("mvn")
        .directory(folder)
        .args(["--batch-mode", "--quiet", "compile", "dependency:copy-dependencies"])
        .within(BUILD_LIMIT)
        .run()
}
