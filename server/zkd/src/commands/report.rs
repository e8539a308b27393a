//! What a command tells of its outcome: a sentence for a person, and the same for the operator as JSON.

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use zke_storage::ArchiveHeader;
use zke_storage::archive::FORMAT_VERSION;

/// Kubernetes cuts a container's termination message at 4096 bytes.
const REPORT_BYTES_MAX: usize = 4_000;

/// The outcome in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Succeeded,
    /// The volume or its quota is full.
    NoSpace,
    /// The archive's own checksums do not fit, or it is cut or too long.
    Corrupt,
    /// It is a good archive, but not the one that was meant.
    ChecksumMismatch,
    /// A newer version wrote it.
    NewerFormat,
    NotFound,
    /// The member answered, and does not do it.
    MemberRefused,
    /// Nobody answered, or not in time: worth another attempt.
    MemberSilent,
    /// The place for the data holds some already.
    DiskNotBlank,
    IoFailed,
    /// Another process works in the same folder.
    InUse,
    /// The command line asks for something that is never done.
    InvalidRequest,
}

/// An archive that was read from end to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Below the folder that was named, or as the file was named.
    pub path: String,
    pub size_bytes: u64,
    /// Of the whole file, lower-case hex.
    pub sha256: String,
    pub header: ArchiveHeader,
}

/// A command's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub reason: Reason,
    /// One sentence for a person.
    pub message: String,
    pub artifact: Option<Artifact>,
}

/// Why a command did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: Reason,
    pub message: String,
    pub artifact: Option<Artifact>,
}

/// Boxed, since it is rare and large.
pub type Outcome<T> = Result<T, Box<Failure>>;

impl Failure {
    pub fn new(reason: Reason, message: impl Into<String>) -> Box<Failure> {
        Box::new(Failure { reason, message: message.into(), artifact: None })
    }

    /// `attempt` completes "cannot …".
    pub fn io(attempt: impl std::fmt::Display, error: &io::Error) -> Box<Failure> {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::NoSpace,
            io::ErrorKind::NotFound => Reason::NotFound,
            _ => Reason::IoFailed,
        };
        Failure::new(reason, format!("cannot {attempt}: {error}"))
    }
}

impl From<Failure> for Report {
    fn from(Failure { reason, message, artifact }: Failure) -> Report {
        Report { reason, message, artifact }
    }
}

impl Artifact {
    pub fn to_json(&self) -> Value {
        let header = &self.header;
        json!({
            "path": self.path,
            "sizeBytes": self.size_bytes,
            "sha256": self.sha256,
            "formatVersion": FORMAT_VERSION,
            "index": header.last.index,
            "term": header.last.term,
            "zxid": header.zxid.to_string(),
            "ensembleID": header.ensemble.to_string(),
            "memberID": header.member.to_string(),
            "serverVersion": header.server_version,
        })
    }
}

impl Report {
    /// Says it on stderr, and writes it to `file` if there is one; false if that failed.
    pub fn tell(&self, file: Option<&Path>) -> bool {
        eprintln!("{:?}: {}", self.reason, self.message);
        let Some(file) = file else { return true };
        match std::fs::write(file, self.to_json()) {
            Ok(()) => true,
            Err(error) => {
                eprintln!("cannot write the report to {}: {error}", file.display());
                false
            }
        }
    }

    /// At most 4,000 bytes: the message gives way, and then what is known of the archive.
    pub fn to_json(&self) -> String {
        let mut report = self.clone();
        loop {
            let text = report.whole_json().to_string();
            if text.len() <= REPORT_BYTES_MAX {
                return text;
            }
            if report.message.len() > 100 {
                let half = report.message.floor_char_boundary(report.message.len() / 2);
                report.message.truncate(half);
            } else {
                report.artifact = None;
            }
        }
    }

    fn whole_json(&self) -> Value {
        let result = if self.reason == Reason::Succeeded { "Succeeded" } else { "Failed" };
        let mut report =
            json!({ "result": result, "reason": format!("{:?}", self.reason), "message": self.message });
        if let Some(artifact) = &self.artifact {
            report["artifact"] = artifact.to_json();
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use zke_storage::LogId;
    use zke_tree::{EnsembleId, MemberId};
    use zke_wire::Zxid;

    use super::*;

    fn artifact(path: &str) -> Artifact {
        let header = ArchiveHeader {
            ensemble: EnsembleId([0xe5; 16]),
            member: MemberId(0xab),
            last: LogId { term: 12, index: 918_200 },
            zxid: Zxid(0xc_000e_02b8),
            created_ms: 5,
            server_version: "0.1.0".to_owned(),
        };
        Artifact { path: path.to_owned(), size_bytes: 7, sha256: "ff".repeat(32), header }
    }

    #[test]
    fn the_operator_reads_what_was_agreed() {
        let report = Report {
            reason: Reason::Succeeded,
            message: "done".to_owned(),
            artifact: Some(artifact("e5/n.zks")),
        };
        let expected = json!({
            "result": "Succeeded", "reason": "Succeeded", "message": "done",
            "artifact": {
                "path": "e5/n.zks", "sizeBytes": 7, "sha256": "ff".repeat(32), "formatVersion": 1,
                "index": 918_200, "term": 12, "zxid": "0xc000e02b8",
                "ensembleID": "e5".repeat(16), "memberID": "00000000000000ab", "serverVersion": "0.1.0",
            },
        });
        assert_eq!(serde_json::from_str::<Value>(&report.to_json()).expect("JSON"), expected);
        let failed = Report { reason: Reason::NoSpace, message: "full".to_owned(), artifact: None };
        let expected = json!({ "result": "Failed", "reason": "NoSpace", "message": "full" });
        assert_eq!(serde_json::from_str::<Value>(&failed.to_json()).expect("JSON"), expected);
    }

    #[test]
    fn no_report_is_too_long() {
        for (message, path) in
            [("é\"\n".repeat(5_000), "p".to_owned()), (String::new(), "\u{1}".repeat(5_000))]
        {
            let report = Report { reason: Reason::Corrupt, message, artifact: Some(artifact(&path)) };
            let text = report.to_json();
            assert!(text.len() <= REPORT_BYTES_MAX, "{}", text.len());
            assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")["reason"], "Corrupt");
        }
    }
}
