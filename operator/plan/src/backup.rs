//! What becomes of one backup: Pending, Running, then Succeeded or Failed, and that is final.
//!
//! Its Job carries the work. A Job that was there and is gone is a loss that is said, never begun again: whoever wants
//! another backup asks for another one. And nothing waits for ever: the deadline counts from the moment the backup was
//! asked for.

use std::fmt;

use jiff::Timestamp;

/// After its deadline a Job ends by itself; one that has not by then has no controller that ends it.
const GRACE_S: i64 = 60;

/// What was seen of one backup.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    pub deadline: Timestamp,
    /// Whether its Job was seen earlier.
    pub started: bool,
    pub job: JobState,
    pub ensemble: EnsembleState<'a>,
    /// The backup that comes first on the same claim, from [`ahead_of`].
    pub ahead: Option<&'a str>,
}

/// A Job, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    Absent,
    /// There is one of this name that was made for somebody else.
    Foreign,
    Active,
    Succeeded,
    Failed,
}

#[derive(Clone, Debug)]
pub enum EnsembleState<'a> {
    Missing,
    /// It has never served a client, so there is nothing to keep.
    NotInitialized,
    NotAvailable,
    Available(&'a [Source<'a>]),
}

/// A member from which a backup could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    pub pod: &'a str,
    /// A voter that is in sync and serves.
    pub in_sync: bool,
    pub leads: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It cannot begin yet.
    Wait(Waiting<'a>),
    /// Make the Job, with this member as its source.
    Start(&'a str),
    Running,
    /// The Job has ended well; its report says what was made.
    Succeeded,
    Failed(Failure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting<'a> {
    EnsembleMissing,
    NotInitialized,
    NotAvailable,
    NoSource,
    Turn { ahead: &'a str },
    JobNameTaken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The Job is gone, and whatever it knew with it.
    Lost,
    DeadlineExceeded,
    /// The Job has failed; it says why.
    Job,
}

pub fn judge<'a>(attempt: &Attempt<'a>, now: Timestamp) -> Verdict<'a> {
    match attempt.job {
        JobState::Succeeded => return Verdict::Succeeded,
        JobState::Failed => return Verdict::Failed(Failure::Job),
        JobState::Active => {
            let over_s = now.as_second().saturating_sub(attempt.deadline.as_second());
            return if over_s > GRACE_S {
                Verdict::Failed(Failure::DeadlineExceeded)
            } else {
                Verdict::Running
            };
        }
        JobState::Absent | JobState::Foreign if attempt.started => return Verdict::Failed(Failure::Lost),
        JobState::Absent | JobState::Foreign => {}
    }
    if now >= attempt.deadline {
        return Verdict::Failed(Failure::DeadlineExceeded);
    }
    let sources = match attempt.ensemble {
        EnsembleState::Missing => return Verdict::Wait(Waiting::EnsembleMissing),
        EnsembleState::NotInitialized => return Verdict::Wait(Waiting::NotInitialized),
        EnsembleState::NotAvailable => return Verdict::Wait(Waiting::NotAvailable),
        EnsembleState::Available(sources) => sources,
    };
    let Some(source) = prefer_follower(sources) else { return Verdict::Wait(Waiting::NoSource) };
    match attempt.ahead {
        Some(ahead) => Verdict::Wait(Waiting::Turn { ahead }),
        None if attempt.job == JobState::Foreign => Verdict::Wait(Waiting::JobNameTaken),
        None => Verdict::Start(source),
    }
}

/// The last follower that is in sync, so that the leader has nothing more to do; the leader when there is no other.
fn prefer_follower<'a>(sources: &[Source<'a>]) -> Option<&'a str> {
    sources.iter().filter(|source| source.in_sync).max_by_key(|source| !source.leads).map(|source| source.pod)
}

/// Another backup that goes to the same claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival<'a> {
    pub name: &'a str,
    pub created: Timestamp,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for its ensemble, and holds up nobody meanwhile.
    Aside,
    InLine,
    Running,
}

/// Which of the others comes first: one that runs, else the oldest in line. Should two begin in the same moment all
/// the same, they share the volume's bandwidth and nothing else: no two archives have the same name.
pub fn ahead_of<'a>(created: Timestamp, name: &str, rivals: &[Rival<'a>]) -> Option<&'a str> {
    let running = rivals.iter().find(|rival| rival.standing == Standing::Running);
    let oldest = || {
        let in_line = rivals.iter().filter(|rival| rival.standing == Standing::InLine);
        let first = in_line.min_by_key(|rival| (rival.created, rival.name));
        first.filter(|rival| (rival.created, rival.name) < (created, name))
    };
    running.or_else(oldest).map(|rival| rival.name)
}

impl Waiting<'_> {
    /// The CamelCase word for conditions and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EnsembleMissing => "EnsembleMissing",
            Self::NotInitialized => "EnsembleNotInitialized",
            Self::NotAvailable => "EnsembleNotAvailable",
            Self::NoSource => "NoMemberInSync",
            Self::Turn { .. } => "WaitingForTurn",
            Self::JobNameTaken => "JobNameTaken",
        }
    }

    /// How one that waits for this stands in the way of others, by its name.
    pub fn standing(name: &str) -> Standing {
        let ensemble = [Self::EnsembleMissing, Self::NotInitialized, Self::NotAvailable, Self::NoSource];
        let aside = ensemble.iter().any(|waiting| waiting.name() == name);
        if aside { Standing::Aside } else { Standing::InLine }
    }
}

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnsembleMissing => formatter.write_str("there is no ZkEnsemble of this name"),
            Self::NotInitialized => formatter.write_str("the ensemble has not served a client yet"),
            Self::NotAvailable => formatter.write_str("the ensemble has no leader and quorum that serve"),
            Self::NoSource => formatter.write_str("no member of the ensemble is in sync"),
            Self::Turn { ahead } => write!(formatter, "backup {ahead} comes first on the same claim"),
            Self::JobNameTaken => formatter
                .write_str("a Job of the same name belongs to somebody else: waiting until it is gone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: &[Source<'_>] = &[
        Source { pod: "a-0", in_sync: true, leads: false },
        Source { pod: "a-1", in_sync: true, leads: true },
        Source { pod: "a-2", in_sync: false, leads: false },
    ];

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn attempt(job: JobState, started: bool) -> Attempt<'static> {
        let ensemble = EnsembleState::Available(SOURCES);
        Attempt { deadline: at(1000), started, job, ensemble, ahead: None }
    }

    #[test]
    fn it_starts_at_a_follower_and_at_the_leader_only_when_there_is_no_other() {
        assert_eq!(judge(&attempt(JobState::Absent, false), at(10)), Verdict::Start("a-0"));
        let alone = EnsembleState::Available(&SOURCES[1..]);
        let attempt = Attempt { ensemble: alone, ..attempt(JobState::Absent, false) };
        assert_eq!(judge(&attempt, at(10)), Verdict::Start("a-1"));
    }

    #[test]
    fn it_waits_for_what_it_needs_but_not_beyond_its_deadline() {
        let nobody = EnsembleState::Available(&SOURCES[2..]);
        for (ensemble, waiting) in [
            (EnsembleState::Missing, Waiting::EnsembleMissing),
            (EnsembleState::NotInitialized, Waiting::NotInitialized),
            (EnsembleState::NotAvailable, Waiting::NotAvailable),
            (nobody, Waiting::NoSource),
        ] {
            let attempt = Attempt { ensemble, ..attempt(JobState::Absent, false) };
            assert_eq!(judge(&attempt, at(999)), Verdict::Wait(waiting));
            assert_eq!(judge(&attempt, at(1000)), Verdict::Failed(Failure::DeadlineExceeded));
        }
        let second = Attempt { ahead: Some("other"), ..attempt(JobState::Absent, false) };
        assert_eq!(judge(&second, at(10)), Verdict::Wait(Waiting::Turn { ahead: "other" }));
        let taken = attempt(JobState::Foreign, false);
        assert_eq!(judge(&taken, at(10)), Verdict::Wait(Waiting::JobNameTaken));
    }

    #[test]
    fn a_job_that_was_there_and_is_gone_is_lost() {
        for job in [JobState::Absent, JobState::Foreign] {
            assert_eq!(judge(&attempt(job, true), at(10)), Verdict::Failed(Failure::Lost));
        }
    }

    #[test]
    fn what_the_job_says_counts_also_after_the_deadline() {
        assert_eq!(judge(&attempt(JobState::Succeeded, true), at(5000)), Verdict::Succeeded);
        assert_eq!(judge(&attempt(JobState::Failed, true), at(5000)), Verdict::Failed(Failure::Job));
        // Made, but its creator died before it could say so.
        assert_eq!(judge(&attempt(JobState::Active, false), at(10)), Verdict::Running);
        assert_eq!(judge(&attempt(JobState::Active, true), at(1000)), Verdict::Running);
        let late = judge(&attempt(JobState::Active, true), at(1061));
        assert_eq!(late, Verdict::Failed(Failure::DeadlineExceeded));
    }

    #[test]
    fn one_at_a_time_on_a_claim_the_oldest_first() {
        let rival = |name, created, standing| Rival { name, created: at(created), standing };
        let ahead = |rivals: &[Rival<'static>]| ahead_of(at(50), "me", rivals);
        assert_eq!(ahead(&[]), None);
        assert_eq!(ahead(&[rival("young", 60, Standing::InLine)]), None);
        assert_eq!(ahead(&[rival("young", 60, Standing::Running)]), Some("young"));
        assert_eq!(ahead(&[rival("old", 40, Standing::InLine)]), Some("old"));
        assert_eq!(ahead(&[rival("old", 40, Standing::Aside)]), None);
        assert_eq!(ahead(&[rival("a-name", 50, Standing::InLine)]), Some("a-name"));
        assert_eq!(ahead(&[rival("z-name", 50, Standing::InLine)]), None);
        let all = [rival("old", 40, Standing::InLine), rival("young", 60, Standing::Running)];
        assert_eq!(ahead(&all), Some("young"));
    }

    #[test]
    fn whoever_waits_for_its_ensemble_stands_aside() {
        assert_eq!(Waiting::standing(Waiting::NotAvailable.name()), Standing::Aside);
        assert_eq!(Waiting::standing(Waiting::Turn { ahead: "x" }.name()), Standing::InLine);
        assert_eq!(Waiting::standing("anything new"), Standing::InLine);
    }
}
