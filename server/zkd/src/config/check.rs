//! `zkd check FILE`: what a `zoo.cfg` means here, line by line, before anybody relies on it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::keys::{self, Effect};
use super::properties::Property;
use super::settings::{HIDDEN, Origin, Settings, is_secret};
use super::{ConfigError, properties, read_dynamic_file, read_myid, zoo_cfg};

/// Of a key that other lines would have to ask for, or that only begins as one of ours.
const NOT_ASKED_FOR: &str = "nothing in this configuration takes it";

/// What stands in a file, and in the one with its servers, and what becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    lines: Vec<Line>,
    /// What is missing or wrong that no line stands for.
    problem: Option<String>,
    /// Whether a server would start from the file.
    pub starts: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    place: String,
    setting: String,
    verdict: Verdict,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Differs(&'static str),
    Ignored(&'static str),
    Unknown,
    Refused(String),
}

/// Checks `file`, which need not be on the machine that it is meant for: without a `myid` it is read as for the first
/// of its servers.
///
/// # Errors
/// [`ConfigError`] if a file cannot be read.
pub fn check(file: &Path) -> Result<Report, ConfigError> {
    let text =
        fs::read_to_string(file).map_err(|source| ConfigError::Read { path: file.to_owned(), source })?;
    let mut settings = Settings::new(&[]);
    settings.add_file(file, &text);
    let mut stated = stated(file, &text);
    let servers = settings.peek("dynamicConfigFile").map(PathBuf::from);
    let first = |stated: &[(PathBuf, Property)]| {
        let number = stated.iter().find_map(|(_, property)| property.key.strip_prefix("server."));
        number.unwrap_or("1").to_owned()
    };
    let read = read_dynamic_file(&mut settings).and_then(|()| {
        if let Some(servers) = servers {
            let text = fs::read_to_string(&servers);
            let text = text.map_err(|source| ConfigError::Read { path: servers.clone(), source })?;
            stated.extend(self::stated(&servers, &text));
        }
        let myid = |dir: &Path| read_myid(dir).or_else(|_| Ok(first(&stated)));
        zoo_cfg::config(&mut settings, file, Some("zoo-0"), myid).map(|_| ())
    });
    let (refused, problem) = match read {
        Ok(()) => (None, None),
        Err(ConfigError::Refused { origin, problem }) => (Some((origin, problem)), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let starts = refused.is_none() && problem.is_none();
    let left = settings.into_left();
    let lines = stated.into_iter().map(|(file, property)| {
        let key = property.key.strip_prefix("zookeeper.").unwrap_or(&property.key);
        let stands_here = |origin: &Origin| matches!(origin, Origin::Line { file: at, line } if **at == *file && *line == property.line);
        let refusal = refused.as_ref().filter(|(origin, _)| stands_here(origin));
        // If a line was refused, those behind it were not looked at.
        let is_left = left.iter().any(|setting| stands_here(&setting.origin));
        let verdict = match (refusal, keys::effect(key)) {
            (Some((_, problem)), _) => Verdict::Refused(problem.clone()),
            (None, Some(Effect::NotNeeded(why) | Effect::NotServed(why))) if is_left => Verdict::Ignored(why),
            (None, Some(Effect::Honoured)) if is_left && starts => Verdict::Ignored(NOT_ASKED_FOR),
            (None, Some(Effect::Differs(how))) => Verdict::Differs(how),
            (None, None) if is_left => Verdict::Unknown,
            (None, _) => Verdict::Same,
        };
        let value = if is_secret(&property.key) { HIDDEN } else { &property.value };
        let setting = format!("{}={value}", property.key);
        Line { place: format!("{}:{}", file.display(), property.line), setting, verdict }
    });
    Ok(Report { lines: lines.collect(), problem, starts })
}

/// What stands in a file.
fn stated(file: &Path, text: &str) -> Vec<(PathBuf, Property)> {
    properties::parse(text).into_iter().map(|property| (file.to_owned(), property)).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { place, setting, verdict } in &self.lines {
            // Values are shown as they would be in a log: nothing in them moves a cursor.
            let setting: String = setting.escape_debug().collect();
            match verdict {
                Verdict::Same => writeln!(f, "{place}: {setting}: as in ZooKeeper")?,
                Verdict::Differs(how) => writeln!(f, "{place}: {setting}: DIFFERS: {how}")?,
                Verdict::Ignored(why) => writeln!(f, "{place}: {setting}: NO EFFECT: {why}")?,
                Verdict::Unknown => {
                    writeln!(f, "{place}: {setting}: UNKNOWN: no key of ZooKeeper 3.9 or of zkd")?
                }
                Verdict::Refused(problem) => writeln!(f, "{place}: REFUSED: {}", problem.escape_debug())?,
            }
        }
        if let Some(problem) = &self.problem {
            writeln!(f, "REFUSED: {problem}")?;
        }
        let end =
            if self.starts { "a server starts from this file" } else { "no server starts from this file" };
        writeln!(f, "{end}")
    }
}
