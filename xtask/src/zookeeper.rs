//! Apache ZooKeeper as it is released, from Maven Central; fetched once per machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use zke_e2e::checkout::{cache, make_once};
use zke_e2e::program::Program;
use zke_e2e::progress::Progress;

pub const VERSION: &str = "3.9.5";
/// Programs that this and the server need, and the packages that bring them.
pub const NEEDS: [(&str, &str); 2] = [("java", "default-jre-headless"), ("mvn", "maven")];
const FETCH_LIMIT: Duration = Duration::from_secs(900);

/// The server's own dependencies, and those that its package names for the one who runs it: the metrics library, snappy
/// and a log.
const ARTIFACTS: [(&str, &str, &str); 4] = [
    ("org.apache.zookeeper", "zookeeper", VERSION),
    ("io.dropwizard.metrics", "metrics-core", "4.1.12.1"),
    ("org.xerial.snappy", "snappy-java", "1.1.10.5"),
    ("org.slf4j", "slf4j-simple", "2.0.13"),
];

/// A folder of jars.
pub fn fetch(progress: &Progress) -> Result<PathBuf> {
    let folder = cache()?.join(format!("zookeeper-{VERSION}"));
    if !folder.is_dir() {
        progress.step(&format!("get Apache ZooKeeper {VERSION} from Maven Central"), |_| {
            make_once(&folder, copy_jars)
        })?;
    }
    Ok(folder)
}

fn copy_jars(folder: &Path) -> Result<()> {
    let pom = folder.join("pom.xml");
    fs::write(&pom, project()).with_context(|| format!("write {}", pom.display()))?;
    Program::new("mvn")
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .within(FETCH_LIMIT)
        .run()
}

fn project() -> String {
    let dependencies: String = ARTIFACTS
        .iter()
        .map(|(group, artifact, version)| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>\n"
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<modelVersion>4.0.0</modelVersion>\n\
         <groupId>dev.zkensemble</groupId><artifactId>peer</artifactId><version>1</version>\n\
         <dependencies>\n{dependencies}</dependencies>\n</project>\n"
    )
}
