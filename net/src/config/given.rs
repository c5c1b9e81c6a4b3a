//! The settings that were given, by key, and the typed ways of reading one.
//!
//! Two manners, as in the reference: what its parser knows is strict and ends the start; what it reads from system
//! properties is lenient, and falls back to the default with a warning.

use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive};

use super::error::{ConfigError, Place, Severity, Warning};

/// One setting that counts.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub place: Place,
    pub key: String,
    pub value: String,
}

impl Entry {
    pub fn bad(&self, expected: impl Into<String>) -> ConfigError {
        ConfigError::BadValue {
            place: self.place.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            expected: expected.into(),
        }
    }

    pub fn refused(&self, why: impl Into<String>) -> ConfigError {
        ConfigError::Refused {
            place: self.place.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            why: why.into(),
        }
    }

    pub fn warning(&self, severity: Severity, text: impl Into<String>) -> Warning {
        Warning { place: self.place.clone(), key: self.key.clone(), text: text.into(), severity }
    }

    /// A decimal number in `range`. `what` names the kind of number, with its article.
    pub fn number<T: Bounded>(&self, what: &str, range: RangeInclusive<T>) -> Result<T, ConfigError> {
        decimal(&self.value)
            .and_then(|n| T::try_from(n).ok())
            .filter(|n| range.contains(n))
            .ok_or_else(|| self.bad(allowed(what, &range)))
    }

    /// `true` or `false` in any case.
    pub fn flag(&self) -> Result<bool, ConfigError> {
        if self.value.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if self.value.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(self.bad("true or false"))
        }
    }
}

/// The number types of the configuration.
pub(super) trait Bounded: TryFrom<i128> + PartialOrd + Display + Copy {}
impl<T: TryFrom<i128> + PartialOrd + Display + Copy> Bounded for T {}

fn allowed<T: Bounded>(what: &str, range: &RangeInclusive<T>) -> String {
    format!("{what} from {} to {}", range.start(), range.end())
}

/// As Java's `parseInt`: decimal digits with an optional sign.
fn decimal(text: &str) -> Option<i128> {
    text.parse().ok()
}

/// As Java's `Integer.decode`, which system properties go through: also `0x` and `#` for hexadecimal.
fn decoded(text: &str) -> Option<i128> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")).or(text.strip_prefix('#')) {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => {
            i128::from_str_radix(digits, 16).ok()
        }
        _ => decimal(text),
    }
}

/// All settings that `apply` has to look at, and the warnings so far.
#[derive(Default)]
pub(super) struct Given {
    entries: BTreeMap<String, Entry>,
    pub warnings: Vec<Warning>,
}

impl Given {
    /// Keeps an entry; one with the same key is replaced.
    pub fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.key.clone(), entry);
    }

    /// The entry of a key, which stays.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Removes the entry of a key, so that what `apply` forgot can be found.
    pub fn take(&mut self, key: &str) -> Option<Entry> {
        self.entries.remove(key)
    }

    /// Removes all entries whose key begins with `prefix`, in the order of their keys.
    pub fn take_all(&mut self, prefix: &str) -> Vec<Entry> {
        let (taken, kept) =
            std::mem::take(&mut self.entries).into_iter().partition(|(key, _)| key.starts_with(prefix));
        self.entries = kept;
        BTreeMap::into_values(taken).collect()
    }

    /// What nobody has taken.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub fn warn(&mut self, entry: &Entry, text: impl Into<String>) {
        self.warnings.push(entry.warning(Severity::Warning, text));
    }

    /// A strict number; `None` when the key was not given.
    pub fn strict<T: Bounded>(
        &mut self,
        key: &str,
        what: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.take(key).map(|entry| entry.number(what, range)).transpose()
    }

    /// A lenient number: what cannot be used is replaced by `default`, with a warning.
    pub fn lenient<T: Bounded>(&mut self, key: &str, what: &str, range: RangeInclusive<T>, default: T) -> T {
        let Some(entry) = self.take(key) else { return default };
        let number = decoded(&entry.value).and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
        if number.is_none() {
            let (allowed, value) = (allowed(what, &range), &entry.value);
            let text = format!("expected {allowed}, got {value:?}; the default {default} is used");
            self.warn(&entry, text);
        }
        number.unwrap_or(default)
    }

    /// A lenient switch: on if the value is `word` in any case, `default` when the key was not given.
    pub fn says_true(&mut self, key: &str, default: bool) -> bool {
        let Some(entry) = self.take(key) else { return default };
        let on = entry.value.eq_ignore_ascii_case("true");
        if !on && !entry.value.eq_ignore_ascii_case("false") {
            self.warn(&entry, "expected true or false; anything but true means false");
        }
        on
    }
}
