//! `zkd inspect` on disks that a server has left behind: whole, damaged, in use, and of nobody.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::program::{Server, text, turn, zkd};
use crate::{backup, fill, raw};

/// Exit code 0 or not, what it printed, and what it complained of.
fn inspect(directory: &Path, more: &[&str]) -> (bool, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_zkd")).arg("inspect").arg(directory).args(more).output().unwrap();
    let words = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), words(output.stdout), words(output.stderr))
}

fn bytes_of(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.is_file());
    files.map(|file| (text(&file).to_owned(), fs::read(&file).unwrap())).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for (name, bytes) in bytes_of(from) {
        fs::write(to.join(Path::new(&name).file_name().unwrap()), bytes).unwrap();
    }
}

#[test]
fn a_disk_is_read_from_end_to_end_and_not_changed() {
    let _turn = turn();
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let mut server = Server::start(&data_dir);
    let mut client = fill(server.clients());
    let artifact = backup(&server.socket(), "now", temp.path()).succeeded();
    client.call(raw::set("/kept", "third")).unwrap();
    let (succeeded, _, error) = inspect(&data_dir, &[]);
    assert!(!succeeded && error.contains("is in use by another process"), "{error}");
    server.kill();

    let before = bytes_of(&data_dir);
    let (succeeded, printed, error) = inspect(&data_dir, &["--entries"]);
    assert!(succeeded, "{error}");
    for words in
        ["identity: member ", "records from 1, entries up to", "vote: term 1 for", "everything is whole\n"]
    {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    assert!(printed.contains("setData \"/kept\" 5 bytes"), "{printed}");
    assert!(!printed.contains("third"), "data of clients are nobody's to see: {printed}");
    assert!(before == bytes_of(&data_dir), "a look changes nothing");

    // One that began with an archive has a snapshot too.
    let restored = temp.path().join("restored");
    let archive = temp.path().join(artifact["path"].as_str().unwrap());
    zkd(&["restore", text(&archive), "--data-dir", text(&restored)]).succeeded();
    // A part of a snapshot is in nobody's way, at a start or later.
    let partial = restored.join("partial-00000000000fffff-0000000000000007-0000000000000100-0000000a");
    fs::write(&partial, "what was received of it").unwrap();
    let mut server = Server::start(&restored);
    server.kill();
    let (succeeded, printed, error) = inspect(&restored, &[]);
    let told = "partial: of the snapshot of entry 7 of term 1048575, 256 bytes";
    assert!(partial.exists() && printed.contains(told), "{printed}");
    assert!(succeeded, "{error}");
    assert!(
        printed.contains("snapshot: entry 1 of term ") && printed.contains("purged up to 1 of term"),
        "{printed}"
    );

    let flip = |directory: &Path, name: &str, offset: usize| {
        let file = bytes_of(directory).into_keys().find(|file| file.contains(&format!("/{name}"))).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes[offset] ^= 1;
        fs::write(&file, bytes).unwrap();
    };
    for (name, offset, complaint) in [
        ("log-", 300, "is corrupt at byte"),
        ("snapshot-", 200, "is corrupt at byte"),
        ("identity", 12, "identity is corrupt"),
    ] {
        let damaged = temp.path().join(format!("with-damaged-{name}"));
        copy(&restored, &damaged);
        flip(&damaged, name, offset);
        let (succeeded, printed, error) = inspect(&damaged, &[]);
        assert!(!succeeded && error.contains(complaint) && error.contains(name), "{name}: {printed}{error}");
    }
    let orphan = temp.path().join("orphan");
    copy(&restored, &orphan);
    fs::remove_file(orphan.join("identity")).unwrap();
    let (succeeded, _, error) = inspect(&orphan, &[]);
    assert!(!succeeded && error.contains("identity is missing"), "{error}");
    let snapshot = bytes_of(&restored).into_keys().find(|file| file.contains("snapshot-")).unwrap();
    fs::remove_file(snapshot).unwrap();
    let (succeeded, _, error) = inspect(&restored, &[]);
    assert!(!succeeded && error.contains("no snapshot goes as far"), "{error}");
    let (succeeded, printed, _) = inspect(temp.path(), &[]);
    assert!(succeeded && printed.starts_with("no member's disk"), "{printed}");
}
