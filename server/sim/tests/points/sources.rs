//! The points of persistence, read from the sources: every place where a program changes its disk.
//!
//! A point is a call of one of the methods that are `#[track_caller]` in `storage/src/disk.rs`, so it cannot be forgotten
//! to be one. What is told apart by text alone is kept tellable: a disk is called `disk`, and these methods are called,
//! never named. A form that this does not understand is an error that says so, not a point that is missed.
//!
//! The files under `storage/src/disk/` are the disks themselves and have none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What changes disks, from the root of the repository on.
const SOURCES: [&str; 3] = ["server/storage/src", "server/consensus/src", "server/zkd/src"];
/// Where nothing but disks has methods of these names.
const STRICT: &str = "server/storage/src";
const TRAITS: &str = "server/storage/src/disk.rs";
const DISKS: &str = "server/storage/src/disk/";
/// Compiled for tests and fuzzing only.
const HOSTILE: &str = "hostile.rs";
const TESTS: &str = "\n#[cfg(test)]\nmod tests {";

/// Of the whole repository, each as [`zke_storage::disk::Point`] is shown, or what could not be understood.
pub fn in_sources() -> io::Result<Result<BTreeSet<String>, Vec<String>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let methods = Methods::declared(&fs::read_to_string(root.join(TRAITS))?);
    let mut scan = Scan::default();
    for directory in SOURCES {
        for file in rust_files(&root.join(directory))? {
            let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
            if !name.starts_with(DISKS) && !name.ends_with(HOSTILE) {
                scan.read(&name, &fs::read_to_string(&file)?, &methods);
            }
        }
    }
    Ok(if scan.refused.is_empty() { Ok(scan.points) } else { Err(scan.refused) })
}

fn rust_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// What changes a disk.
#[derive(Debug, Default, PartialEq, Eq)]
struct Methods {
    of_disks: Vec<String>,
    of_files: Vec<String>,
}

impl Methods {
    fn declared(traits: &str) -> Methods {
        let (disk, file) = traits.split_once("pub trait DiskFile").unwrap_or((traits, ""));
        let marked = |text: &str| {
            let after = text.split("#[track_caller]").skip(1);
            let names = after.filter_map(|rest| rest.trim_start().strip_prefix("fn ")?.split('(').next());
            names.map(str::to_owned).collect()
        };
        Methods { of_disks: marked(disk), of_files: marked(file) }
    }
}

#[derive(Debug, Default)]
struct Scan {
    points: BTreeSet<String>,
    refused: Vec<String>,
}

impl Scan {
    fn read(&mut self, name: &str, text: &str, methods: &Methods) {
        let text = text.split(TESTS).next().unwrap_or_default();
        let code = Code::of(text);
        for method in &methods.of_files {
            for at in code.calls(method) {
                self.points.insert(format!("{name}:{}", code.line(at)));
            }
            for (at, _) in code.named(method) {
                self.refuse(name, code.line(at), method, "call it, so that the caller is known");
            }
        }
        for method in &methods.of_disks {
            for at in code.calls(method) {
                if code.before(at).ends_with("disk") {
                    self.points.insert(format!("{name}:{}", code.line(at)));
                } else if name.starts_with(STRICT) {
                    self.refuse(name, code.line(at), method, "is it a disk's? then call that `disk`");
                }
            }
            for (at, of) in code.named(method) {
                if of == "D" || of.ends_with("Disk") {
                    self.refuse(name, code.line(at), method, "call it, so that the caller is known");
                }
            }
        }
    }

    fn refuse(&mut self, name: &str, line: u32, method: &str, what: &str) {
        self.refused.push(format!("{name}:{line}: `{method}` is not understood here: {what}"));
    }
}

/// A text without white space, comments, and what stands in its strings.
struct Code {
    text: String,
    /// Of each byte of `text`.
    lines: Vec<u32>,
}

impl Code {
    fn of(source: &str) -> Code {
        let (mut code, mut line) = (Code { text: String::new(), lines: Vec::new() }, 1);
        let mut rest = source;
        while let Some(first) = rest.chars().next() {
            let skipped = match first {
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                '"' => 1 + end_of_string(&rest[1..]),
                'r' if rest.starts_with("r#\"") && !code.is_in_word() => {
                    3 + rest[3..].find("\"#").map_or(rest.len() - 3, |end| end + 2)
                }
                '\'' => end_of_char(rest),
                _ => {
                    if !first.is_whitespace() {
                        code.text.push(first);
                        code.lines.extend(std::iter::repeat_n(line, first.len_utf8()));
                    }
                    first.len_utf8()
                }
            };
            line += rest[..skipped].matches('\n').count() as u32;
            rest = &rest[skipped..];
        }
        code
    }

    fn is_in_word(&self) -> bool {
        self.text.ends_with(is_of_word)
    }

    /// Where the method is called, at its name.
    fn calls(&self, method: &str) -> Vec<usize> {
        self.text.match_indices(&format!(".{method}(")).map(|(at, _)| at + 1).collect()
    }

    /// Where it is named as a path, at its name, and of what.
    fn named(&self, method: &str) -> Vec<(usize, &str)> {
        let path = format!("::{method}");
        let found = self.text.match_indices(&path).map(|(at, found)| (at, at + found.len()));
        let whole = found.filter(|(_, end)| !self.text[*end..].starts_with(is_of_word));
        whole.map(|(at, _)| (at + 2, word_at_end(&self.text[..at]))).collect()
    }

    /// What a method that stands there is called of.
    fn before(&self, at: usize) -> &str {
        &self.text[..at - 1]
    }

    fn line(&self, at: usize) -> u32 {
        self.lines[at]
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn word_at_end(text: &str) -> &str {
    &text[text.trim_end_matches(is_of_word).len()..]
}

/// How many bytes from behind the opening quotation mark to behind the closing one.
fn end_of_string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// How many bytes a literal of a character has; of a lifetime, the apostrophe.
fn end_of_char(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    match (letters.next(), letters.next()) {
        (Some((_, '\\')), Some((at, _))) => rest[at + 1..].find('\'').map_or(rest.len(), |end| at + end + 2),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(name: &str, text: &str) -> Scan {
        let methods = Methods {
            of_disks: ["create", "sync_dir"].map(str::to_owned).into(),
            of_files: vec!["write_at".to_owned()],
        };
        let mut scan = Scan::default();
        scan.read(name, text, &methods);
        scan
    }

    #[test]
    fn what_the_traits_mark_is_what_changes_a_disk() {
        let traits = "pub trait Disk {\n    /// x\n    #[track_caller]\n    fn create(&self);\n    fn list(&self);\n}\n\
                      pub trait DiskFile {\n    #[track_caller]\n    fn write_at(&self);\n}";
        let methods = Methods::declared(traits);
        assert_eq!(
            (methods.of_disks, methods.of_files),
            (vec!["create".to_owned()], vec!["write_at".to_owned()])
        );
    }

    #[test]
    fn calls_are_points_wherever_a_line_is_broken() {
        let text = "fn f() {\n    self.disk\n        .create(name)\n    a.b().write_at(\n1)?;\n\
                    // disk.create(\n let s = \"disk.create( \\\" disk.create(\"; let c = '\"'; disk.sync_dir();\n\
                    map.create(1); fn g<'a>() { file.write_at(0) }\n}\n\
                    #[cfg(test)]\nmod tests {\n disk.create(1);\n}";
        let found = scan("server/zkd/src/a.rs", text);
        let points: Vec<&str> = found.points.iter().map(|point| point.as_str()).collect();
        assert_eq!(points, [3, 4, 7, 8].map(|line| format!("server/zkd/src/a.rs:{line}")));
        assert!(found.refused.is_empty(), "{:?}", found.refused);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in
            ["a.map(D::create)", "(D::File::write_at)(f)", "SimDisk::sync_dir(&a)", "volume.create(n)"]
        {
            assert_eq!(scan("server/storage/src/a.rs", text).refused.len(), 1, "{text}");
        }
        for text in ["SnapshotWriter::create(a)", "self.spare.created(1)", "F::write_attempt(a)"] {
            assert!(scan("server/storage/src/a.rs", text).refused.is_empty(), "{text}");
        }
    }
}
