//! Histories written by hand: `good*.jsonl` pass, and each other one is refused for the reasons in the `.txt` beside it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use zke_check::{History, HistoryError, Options, Oracle, Report, Verdict, check};

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

/// Else an oracle could as well be left out.
#[test]
fn each_oracle_refuses_a_history_that_no_other_one_refuses() {
    let mut alone = BTreeSet::new();
    for path in histories() {
        let found: BTreeSet<Oracle> = judge(&path).findings.iter().map(|finding| finding.oracle).collect();
        alone.extend(found.first().filter(|_| found.len() == 1));
    }
    assert_eq!(alone, BTreeSet::from(Oracle::ALL));
}

fn invoke(id: u64, op: &str) -> String {
    format!(r#"{{"event":"invoke","at_us":{id},"process":"c{id}","id":{id},"op":{op}}}"#)
}

fn returned(id: u64, zxid: i64, result: &str) -> String {
    format!(r#"{{"event":"return","at_us":{id},"process":"c{id}","id":{id},"zxid":{zxid},{result}}}"#)
}

/// A node that was created, twelve writes of unknown outcome, and a read of what none of them wrote: every order of
/// them would have to be tried.
fn hard_to_refuse() -> String {
    let mut lines = vec![
        invoke(1, r#"{"create":{"path":"/job","data":"begun"}}"#),
        returned(1, 4294967297, r#""ok":{"path":"/job"}"#),
    ];
    lines.extend((2..14).map(|id| invoke(id, &format!(r#"{{"setData":{{"path":"/job","data":"{id}"}}}}"#))));
    lines.push(invoke(20, r#"{"getData":{"path":"/job"}}"#));
    lines.push(returned(20, 4294967400, r#""ok":{"data":"never written"}"#));
    lines.join("\n")
}

/// What a client does that loses its connection forty times: each create is asked again, and had happened. All is read
/// at the end.
fn asked_again() -> String {
    let mut lines =
        vec![invoke(1, r#"{"create":{"path":"/job"}}"#), returned(1, 4294967297, r#""ok":{"path":"/job"}"#)];
    let mut zxid = 4294967297;
    for id in (2..200).step_by(5) {
        let create = format!(r#"{{"create":{{"path":"/job/{id}","data":"{id}"}}}}"#);
        zxid += 2;
        lines.extend([invoke(id, &create), invoke(id + 1, &create)]);
        lines.push(returned(id + 1, zxid, r#""error":{"code":"NodeExists"}"#));
    }
    for id in (2..200).step_by(5) {
        lines.push(invoke(200 + id, &format!(r#"{{"getData":{{"path":"/job/{id}"}}}}"#)));
        lines.push(returned(200 + id, zxid, &format!(r#""ok":{{"data":"{id}"}}"#)));
    }
    lines.join("\n")
}

#[test]
fn creates_that_are_asked_again_need_no_long_search() {
    let history = History::read(asked_again().as_bytes()).unwrap();
    let report = check(&history, &Options { search_steps: 1000, ..Options::default() });
    assert_eq!(report.verdict(), Verdict::Right, "{report}");
    let wrong = asked_again().replace(r#"{"data":"52"}"#, r#"{"data":"53"}"#);
    let report = check(&History::read(wrong.as_bytes()).unwrap(), &Options::default());
    assert_ne!(report.verdict(), Verdict::Right, "{report}");
}

#[test]
fn a_search_that_reaches_its_bound_is_no_approval() {
    let history = History::read(hard_to_refuse().as_bytes()).unwrap();
    for (search_steps, expected) in [(1, Verdict::Undecided), (2_000_000, Verdict::Wrong)] {
        let report = check(&history, &Options { search_steps, ..Options::default() });
        assert_eq!(report.verdict(), expected, "{search_steps} steps:\n{report}");
        if expected == Verdict::Undecided {
            let said = report.to_string();
            assert!(said.contains("/job with 12 open and 2 known operations, within 1 steps"), "{said}");
            assert!(said.ends_with("verdict: undecided"), "{said}");
        }
    }
}

/// Nobody waits for the end of a client that asks for nothing else.
#[test]
fn the_end_of_a_client_ends_no_gap() {
    let lines = [
        invoke(1, r#"{"create":{"path":"/a"}}"#),
        returned(1, 4294967297, r#""ok":{"path":"/a"}"#),
        invoke(2, r#"{"create":{"path":"/b"}}"#),
        returned(2, 4294967298, r#""ok":{"path":"/b"}"#),
        invoke(5_000_000, r#"{"close":{}}"#),
        returned(5_000_000, 4294967299, r#""ok":{}"#),
    ];
    let history = History::read(lines.join("\n").as_bytes()).unwrap();
    let report = check(&history, &Options { max_gap_ms: Some(1000), ..Options::default() });
    assert_eq!(report.verdict(), Verdict::Right, "{report}");
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
