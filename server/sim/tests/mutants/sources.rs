//! Where the product asks whether it is to be wrong, read from the sources.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

const SOURCES: [&str; 3] = ["server/tree/src", "server/storage/src", "server/consensus/src"];
const ASKS: &str = "is_on(\"";

/// The names that it asks for.
pub fn mutants_asked_for() -> io::Result<BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut names = BTreeSet::new();
    for folder in SOURCES {
        read(&root.join(folder), &mut names)?;
    }
    Ok(names)
}

fn read(folder: &Path, names: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read(&path, names)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let asked = text.split(ASKS).skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(asked.map(str::to_owned));
        }
    }
    Ok(())
}
