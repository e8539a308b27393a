//! Histories written by hand: `good*.jsonl` pass, and each other one is refused for the reasons in the `.txt` beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use zke_check::{History, HistoryError, Options, Report, Verdict, check};

fn histories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut histories: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|it| it == "jsonl")).collect();
    histories.sort();
    histories
}

fn judge(path: &Path) -> Report {
    let history = History::read(BufReader::new(File::open(path).unwrap())).unwrap();
    // Only the history that is about it has a gap to speak of.
    let max_gap_ms = path.ends_with("long-gap.jsonl").then_some(2000);
    check(&history, &Options { max_gap_ms, ..Options::default() })
}

#[test]
fn each_history_has_its_verdict() {
    let histories = histories();
    assert!(histories.len() > 20, "{histories:?}");
    for path in histories {
        let report = judge(&path);
        let is_good = path.file_name().unwrap().to_str().unwrap().starts_with("good");
        if is_good {
            assert_eq!(report.verdict(), Verdict::Right, "{}:\n{report}", path.display());
            continue;
        }
        assert_eq!(report.verdict(), Verdict::Wrong, "{}", path.display());
        let said: String = report
            .findings
            .iter()
            .map(|finding| format!("{}: {}\n", finding.oracle, finding.message))
            .collect();
        let expected = path.with_extension("txt");
        assert_eq!(said, fs::read_to_string(&expected).unwrap(), "{}", expected.display());
    }
}

fn error_of(text: &str) -> HistoryError {
    History::read(text.as_bytes()).unwrap_err()
}

#[test]
fn a_damaged_line_is_named() {
    let good = r#"{"event":"invoke","at_us":5,"process":"a","id":1,"op":{"sync":{"path":"/"}}}"#;
    let cut = &good[..40];
    for (text, expected) in [
        (format!("{good}\n\n{cut}"), "line 3 is not an event"),
        (format!("{good}\n{good}"), "line 2 cannot be: two invocations with one id"),
        (
            format!("{good}\n{}", r#"{"event":"return","at_us":6,"process":"a","id":2,"ok":{}}"#),
            "line 2 cannot be: a return without its invocation",
        ),
        (
            format!("{good}\n{}", r#"{"event":"return","at_us":4,"process":"a","id":1,"ok":{}}"#),
            "line 2 cannot be: a return before its invocation",
        ),
        (
            format!("{good}\n{}", r#"{"event":"return","at_us":6,"process":"a","id":1}"#),
            "line 2 cannot be: a return needs one of ok, error and unknown",
        ),
        (good.replace("\"id\"", "\"idd\""), "line 1 is not an event"),
    ] {
        let error = error_of(&text).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_line_without_an_end_is_not_read_whole() {
    let endless = std::iter::repeat_n(b' ', 20 << 20).collect::<Vec<u8>>();
    let error = History::read(endless.as_slice()).unwrap_err();
    assert!(matches!(error, HistoryError::TooLong { line: 1 }), "{error}");
}

#[test]
fn a_process_stands_in_one_file() {
    let line =
        r#"{"event":"session","at_us":5,"process":"a","session":1,"state":"connected","timeout_ms":9}"#;
    let mut history = History::read(line.as_bytes()).unwrap();
    let error = history.append(line.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("a process that stands in an earlier file"), "{error}");
}
