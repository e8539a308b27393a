//! `envi`, and the version that all answers begin with.

use std::{env, fs};

/// What comes before the comma is the ZooKeeper whose behaviour clients may expect, then which one this really is.
/// Clients take the first part apart to decide what they can ask for.
const VERSION: &str = concat!("3.9.5-zkd-", env!("CARGO_PKG_VERSION"));

/// Reproducible builds know no time; a release may name its own.
const BUILT_ON: &str = match option_env!("ZKD_BUILT_ON") {
    Some(time) => time,
    None => "1970-01-01 00:00 UTC",
};

pub fn version() -> String {
    format!("{VERSION}, built on {BUILT_ON}")
}

pub fn text() -> String {
    let lines = environment().into_iter().map(|(name, value)| format!("{name}={value}\n"));
    format!("Environment:\n{}", lines.collect::<String>())
}

/// As much of Java's as there is without Java: kazoo learns the server's version here. What the system does not tell
/// is left out.
pub fn environment() -> Vec<(&'static str, String)> {
    let kernel = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
        Some(text.trim().to_owned())
    };
    let (free, total) = memory_mb();
    let found = [
        ("zookeeper.version", Some(version())),
        ("host.name", kernel("hostname")),
        ("os.name", kernel("ostype")),
        ("os.arch", Some(env::consts::ARCH.to_owned())),
        ("os.version", kernel("osrelease")),
        ("user.name", env::var("USER").ok()),
        ("user.home", env::var("HOME").ok()),
        ("user.dir", env::current_dir().ok().map(|dir| dir.display().to_string())),
        ("os.memory.free", free.map(|mb| format!("{mb}MB"))),
        ("os.memory.total", total.map(|mb| format!("{mb}MB"))),
    ];
    found.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Of the machine, free and total: there is no heap with a size of its own.
fn memory_mb() -> (Option<u64>, Option<u64>) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let find = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kb: u64 = line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kb / 1024)
    };
    (find("MemAvailable"), find("MemTotal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envi() {
        let text = text();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("Environment:"));
        let version = format!("zookeeper.version=3.9.5-zkd-{}, built on ", env!("CARGO_PKG_VERSION"));
        assert!(lines.next().is_some_and(|line| line.starts_with(&version)), "{text}");
        for name in ["host.name", "os.name", "os.arch", "os.version", "user.dir", "os.memory.total"] {
            assert!(text.contains(&format!("\n{name}=")), "{name} is missing in {text}");
        }
    }
}
