//! All that was set, and from where: each setting is taken once, and what nobody takes is what has no effect.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zke_wire::{Host, parse_port};

use super::ConfigError;
use super::keys::{self, Effect};
use super::properties;

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Line {
        file: Arc<Path>,
        line: usize,
    },
    /// `-D` on the command line, with its full name.
    Property {
        name: String,
    },
    /// A variable of the environment, with its full name.
    Variable {
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Property { name } => write!(f, "-D{name}"),
            Self::Variable { name } => write!(f, "{name} in the environment"),
        }
    }
}

/// One value that somebody set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

impl Setting {
    /// The error that this value cannot be used; `problem` says why and what to do.
    pub fn refused(&self, problem: impl fmt::Display) -> ConfigError {
        let value = if is_secret(&self.key) { HIDDEN } else { &self.value };
        let problem = format!("{}={value}: {problem}", self.key);
        ConfigError::Refused { origin: self.origin.clone(), problem }
    }

    /// A number from 1 on.
    pub fn positive(&self) -> Result<i32, ConfigError> {
        let number = self.value.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| self.refused("write a whole number above 0"))
    }

    pub fn port(&self) -> Result<u16, ConfigError> {
        parse_port(&self.value).ok_or_else(|| self.refused("write a port from 1 to 65535"))
    }

    pub fn host(&self) -> Result<Host, ConfigError> {
        Host::parse(&self.value).ok_or_else(|| self.refused("write a host name or an IP address"))
    }

    pub fn bool(&self) -> Result<bool, ConfigError> {
        match self.value.to_ascii_lowercase().as_str() {
            "true" | "yes" => Ok(true),
            "false" | "no" => Ok(false),
            _ => Err(self.refused("write true or false")),
        }
    }

    pub fn path(&self) -> Result<PathBuf, ConfigError> {
        if self.value.is_empty() {
            Err(self.refused("name a directory"))
        } else {
            Ok(PathBuf::from(&self.value))
        }
    }
}

/// What is shown in the place of a secret.
pub(super) const HIDDEN: &str = "(hidden)";

/// Whether a value is nobody's to see: passwords and what passwords can be found from.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "digest", "secret", "passwd", "token"].iter().any(|word| key.contains(word))
        && !["digestalg", "enabled", "path", "file"].iter().any(|end| key.ends_with(end))
}

/// Variables of the environment that are settings begin so.
const VARIABLE_PREFIX: &str = "ZKD_";
/// Those that are none: how the log looks, and what Kubernetes tells a pod of a Service named zkd.
const OTHER_VARIABLES: [&str; 4] = ["LOG", "PORT", "PORT_", "SERVICE_"];

/// The settings that nobody has taken yet. Of several for one key the last counts: a file's count more than the command
/// line's, as in ZooKeeper, and the environment's more than both.
#[derive(Debug)]
pub(super) struct Settings {
    left: Vec<Setting>,
    shown_file: Option<String>,
}

impl Settings {
    /// Begins with the properties of the command line. ZooKeeper makes `zookeeper.x` of a key `x` in its file, so
    /// both names mean one setting.
    pub fn new(properties: &[(String, String)]) -> Self {
        let setting = |(name, value): &(String, String)| Setting {
            key: name.strip_prefix("zookeeper.").unwrap_or(name).to_owned(),
            value: value.trim().to_owned(),
            origin: Origin::Property { name: name.clone() },
        };
        Self { left: properties.iter().map(setting).collect(), shown_file: None }
    }

    /// Adds the settings of a file.
    pub fn add_file(&mut self, file: &Path, text: &str) {
        let file: Arc<Path> = file.into();
        let properties = properties::parse(text);
        let shown = properties.iter().map(|property| {
            let value = if is_secret(&property.key) { HIDDEN } else { &property.value };
            format!("{}={value}\n", property.key)
        });
        let shown: String = shown.collect();
        self.shown_file.get_or_insert(shown);
        self.left.extend(properties.into_iter().map(|property| Setting {
            key: property.key.strip_prefix("zookeeper.").unwrap_or(&property.key).to_owned(),
            value: property.value,
            origin: Origin::Line { file: file.clone(), line: property.line },
        }));
    }

    /// Adds what the environment sets: `ZKD_` and the key, with `_` for whatever is no letter or digit.
    pub fn add_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            let is_other = |other: &&str| rest == *other || other.ends_with('_') && rest.starts_with(*other);
            let key = match keys::of_variable(rest) {
                Some(key) => key,
                None if OTHER_VARIABLES.iter().any(is_other) => continue,
                None => rest.to_owned(),
            };
            self.left.push(Setting {
                key,
                value: value.trim().to_owned(),
                origin: Origin::Variable { name },
            });
        }
    }

    pub fn prefixed(&self, prefix: &str) -> impl Iterator<Item = &Setting> {
        self.left.iter().filter(move |setting| setting.key.starts_with(prefix))
    }

    /// The value of a key that [`take`](Self::take) would take.
    pub fn peek(&self, key: &str) -> Option<&str> {
        self.left.iter().rev().find(|setting| setting.key == key).map(|setting| setting.value.as_str())
    }

    pub fn into_left(self) -> Vec<Setting> {
        self.left
    }

    /// What the file says, a line each, without comments and without the values of secrets.
    pub fn shown_file(&self) -> Option<String> {
        self.shown_file.clone()
    }

    pub fn take(&mut self, key: &str) -> Option<Setting> {
        self.take_all(|candidate| candidate == key).pop()
    }

    /// Takes every setting whose key begins with `prefix`, in order.
    pub fn take_prefixed(&mut self, prefix: &str) -> Vec<Setting> {
        self.take_all(|candidate| candidate.starts_with(prefix))
    }

    /// Takes every setting that `wanted` says yes to, in order.
    pub fn take_matching(&mut self, wanted: impl Fn(&Setting) -> bool) -> Vec<Setting> {
        self.left.extract_if(.., |setting| wanted(setting)).collect()
    }

    /// Takes a setting and reads it; `None` if it is not set.
    pub fn take_as<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&Setting) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.take(key).as_ref().map(read).transpose()
    }

    /// A sentence for each setting that nobody has taken.
    pub fn into_warnings(self) -> Vec<String> {
        let warning = |Setting { key, origin, .. }: Setting| match keys::effect(&key) {
            Some(Effect::NotNeeded(why) | Effect::NotServed(why)) => {
                format!("{origin}: {key} has no effect here: {why}")
            }
            Some(Effect::Honoured | Effect::Differs(_)) => format!("{origin}: {key} has no effect here"),
            None => format!("{origin}: {key} has no effect here: it is no key of ZooKeeper 3.9 or of zkd"),
        };
        self.left.into_iter().map(warning).collect()
    }

    fn take_all(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<Setting> {
        self.take_matching(|setting| wanted(&setting.key))
    }
}
