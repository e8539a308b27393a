//! Where things are: this checkout, its state, and the caches that all checkouts share.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// One clone of the repository.
#[derive(Clone, Debug)]
pub struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// The checkout that the running `cargo` command belongs to, else the one around the working directory.
    pub fn find() -> Result<Self> {
        let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(package) => PathBuf::from(package),
            None => std::env::current_dir().context("ask for the working directory")?,
        };
        for directory in start.ancestors() {
            if directory.join("xtask/Cargo.toml").is_file() && directory.join("Cargo.lock").is_file() {
                let root =
                    directory.canonicalize().with_context(|| format!("resolve {}", directory.display()))?;
                return Ok(Self { root });
            }
        }
        bail!("{} is not inside a checkout of zkensemble; change into one", start.display())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// The local cluster's state and logs. Always here, wherever Cargo puts its own output.
    pub fn local(&self) -> PathBuf {
        self.path("target/local")
    }

    /// The image archives.
    pub fn images(&self) -> PathBuf {
        self.path("target/image")
    }

    /// Cargo's output folder, as Cargo itself would choose it.
    pub fn cargo_target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.path("target"), PathBuf::from)
    }
}

/// The folder for what is built once per machine, whatever the number of checkouts.
pub fn cache() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => Path::new(&home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME is set; set one to say where build caches may go"),
    };
    Ok(base.join("zkensemble"))
}

/// Makes `directory` whole or not at all: `fill` works in a folder beside it, which takes the name at the end.
/// Does nothing if `directory` is there. Two processes may do this at once; the first to finish wins.
pub fn make_once(directory: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let unfinished = directory.with_extension(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished).with_context(|| format!("create {}", unfinished.display()))?;
    let filled = fill(&unfinished).and_then(|()| take_name(&unfinished, directory));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("remove {}", unfinished.display()))?;
    }
    filled
}

#[expect(clippy::disallowed_methods, reason = "a cache entry lost in a power cut is built again")]
fn take_name(unfinished: &Path, directory: &Path) -> Result<()> {
    match fs::rename(unfinished, directory) {
        Err(_) if directory.is_dir() => Ok(()),
        outcome => outcome.with_context(|| format!("put {} in its place", directory.display())),
    }
}

/// A short name for a build from everything that goes into it.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())[..16].to_owned()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_where_one_part_ends() {
        assert_ne!(key([b"ab".as_slice(), b"c"]), key([b"a".as_slice(), b"bc"]));
        assert_eq!(key([b"ab".as_slice()]).len(), 16);
    }

    #[test]
    fn a_failed_fill_leaves_nothing() {
        let base = std::env::temp_dir().join(format!("zke-make-once-{}", std::process::id()));
        let target = base.join("entry");
        assert!(make_once(&target, |_| bail!("no")).is_err());
        assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
        make_once(&target, |folder| Ok(fs::write(folder.join("file"), "x")?)).unwrap();
        make_once(&target, |_| bail!("must not run again")).unwrap();
        assert_eq!(fs::read(target.join("file")).unwrap(), b"x");
        fs::remove_dir_all(base).unwrap();
    }
}
