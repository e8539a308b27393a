//! A span of time as it stands in a spec.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A whole number of milliseconds, seconds, minutes or hours, written `500ms`, `2s`, `5m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    ms: u64,
}

/// Nine digits of hours still fit into 64 bits of milliseconds.
const PATTERN: &str = "^[0-9]{1,9}(ms|s|m|h)$";

impl Duration {
    pub const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    pub const fn as_ms(self) -> u64 {
        self.ms
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        Some(Self { ms: number.parse::<u64>().ok()?.checked_mul(unit_ms)? })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ms {
            ms if ms % 3_600_000 == 0 && ms > 0 => write!(formatter, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 && ms > 0 => write!(formatter, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(formatter, "{}s", ms / 1_000),
            ms => write!(formatter, "{ms}ms"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no duration: write 500ms, 2s, 5m or 1h")))
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 11,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{PATTERN}')"),
                "message": "must be a whole number and a unit: for example 500ms, 2s, 5m or 1h",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (text, ms) in [("0s", 0), ("500ms", 500), ("2s", 2_000), ("5m", 300_000), ("1h", 3_600_000)] {
            let duration: Duration = serde_json::from_value(text.into()).unwrap();
            assert_eq!(duration.as_ms(), ms);
            assert_eq!(duration.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "2", "s", "-1s", "1.5s", "2 s", "99999999999999999999h", "18446744073709551615h"] {
            assert!(serde_json::from_value::<Duration>(text.into()).is_err(), "{text:?}");
        }
    }
}
