//! A page that says "shown by" names tests: they are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Pages whose backticked names with at least two underscores are tests.
const PAGES: [&str; 2] = ["docs/consistency.md", "docs/security.md"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 2
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut files = Vec::new();
    for folder in ["server", "operator", "e2e", "xtask"] {
        sources(&root.join(folder), &mut files);
    }
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("a source")).collect();
    for page in PAGES {
        let content = fs::read_to_string(root.join(page)).expect("a page");
        let named: BTreeSet<&str> =
            content.split('`').skip(1).step_by(2).filter(|word| is_test_name(word)).collect();
        assert!(named.len() > 5, "{page} names {named:?}");
        let missing: Vec<_> = named.iter().filter(|name| !text.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "{page} names tests that are not there: {missing:?}");
    }
}
