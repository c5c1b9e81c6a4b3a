//! How things are written for people: times, types, paths, data, access control lists.

use std::fmt::Write;

use ringkeeper_engine::txn::{AclList, Multi, Txn, kind};
use serde_json::{Value, json};

/// RFC 3339 in UTC, of milliseconds since 1970.
pub fn time(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = date(days);
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the calendar of eras of 400 years that begin in March.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// All types with their names.
const KINDS: [(i32, &str); 14] = [
    (kind::CLOSE_SESSION, "closeSession"),
    (kind::CREATE_SESSION, "createSession"),
    (kind::ERROR, "error"),
    (kind::CREATE, "create"),
    (kind::DELETE, "delete"),
    (kind::SET_DATA, "setData"),
    (kind::SET_ACL, "setACL"),
    (kind::CHECK, "check"),
    (kind::MULTI, "multi"),
    (kind::CREATE2, "create2"),
    (kind::RECONFIG, "reconfig"),
    (kind::CREATE_CONTAINER, "createContainer"),
    (kind::DELETE_CONTAINER, "deleteContainer"),
    (kind::CREATE_TTL, "createTTL"),
];

/// The name of a transaction's type.
pub fn kind_name(kind: i32) -> String {
    let known = KINDS.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("type {kind}"), |(_, name)| (*name).to_owned())
}

/// The type of this name, in any case, or number.
pub fn kind_named(text: &str) -> Result<i32, String> {
    let known = KINDS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
    if let Some((number, _)) = known {
        return Ok(*number);
    }
    let names: Vec<&str> = KINDS.iter().map(|(_, name)| *name).collect();
    text.parse().map_err(|_| format!("no type of transactions; there are {}", names.join(", ")))
}

/// Calls `each` with all paths that a transaction changes or checks.
pub fn each_path<'a>(txn: &Txn<'a>, each: &mut dyn FnMut(&'a str)) {
    match txn {
        Txn::CloseSession { paths: Some(paths) } => paths.iter().for_each(each),
        Txn::Multi(multi) => multi.iter().for_each(|part| each_path(&part.txn, each)),
        simple => simple.path().into_iter().for_each(each),
    }
}

/// Whether `path` is `top` or below it.
pub fn is_within(path: &str, top: &str) -> bool {
    let top = top.trim_end_matches('/');
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a transaction does, in some words: paths, flags, versions, and data as `data` shows it.
pub fn what(kind: i32, txn: &Txn<'_>, data: Option<Data>) -> String {
    let shown = |bytes: Option<&[u8]>| match (data, bytes) {
        (Some(data), Some(bytes)) => format!(" data {}", data.show(bytes)),
        (Some(_), None) => " data null".to_owned(),
        (None, _) => String::new(),
    };
    let name = kind_name(kind);
    match *txn {
        Txn::CreateSession { timeout } => format!("{name} timeout {timeout} ms"),
        Txn::CloseSession { paths } => match paths {
            Some(paths) if !paths.is_empty() => {
                format!("{name} deletes {}", paths.iter().map(escaped_path).collect::<Vec<_>>().join(" "))
            }
            _ => name,
        },
        Txn::Error { err } => format!("{name} {err}"),
        Txn::Create { path, data, ephemeral, .. } => {
            let flag = if ephemeral { " ephemeral" } else { "" };
            format!("{name} {}{flag}{}", escaped_path(path), shown(data))
        }
        Txn::CreateContainer { path, data, .. } => format!("{name} {}{}", escaped_path(path), shown(data)),
        Txn::CreateTtl { path, data, ttl, .. } => {
            format!("{name} {} ttl {ttl} ms{}", escaped_path(path), shown(data))
        }
        Txn::Delete { path } => format!("{name} {}", escaped_path(path)),
        Txn::SetData { path, data, version } => {
            format!("{name} {} version {version}{}", escaped_path(path), shown(data))
        }
        Txn::SetAcl { path, acl, version } => {
            format!("{name} {} version {version} acl {}", escaped_path(path), acl_text(&acl))
        }
        Txn::Check { path, version } => format!("{name} {} version {version}", escaped_path(path)),
        Txn::Multi(multi) => {
            let parts: Vec<String> = multi.iter().map(|part| what(part.kind, &part.txn, data)).collect();
            format!("{name} of {}{} [{}]", multi.len(), failed(&multi), parts.join("; "))
        }
    }
}

fn failed(multi: &Multi<'_>) -> &'static str {
    if multi.failed() { ", failed" } else { "" }
}

/// The same as fields of a JSON object.
pub fn what_json(kind: i32, txn: &Txn<'_>, data: Option<Data>) -> Value {
    let mut fields = json!({ "type": kind_name(kind) });
    if let Some(path) = txn.path() {
        fields["path"] = json!(path);
    }
    let bytes = match *txn {
        Txn::Create { data, .. }
        | Txn::CreateContainer { data, .. }
        | Txn::CreateTtl { data, .. }
        | Txn::SetData { data, .. } => Some(data),
        _ => None,
    };
    if let (Some(how), Some(bytes)) = (data, bytes) {
        fields["data"] = bytes.map_or(Value::Null, |bytes| json!(how.show(bytes)));
    }
    match *txn {
        Txn::CreateSession { timeout } => fields["timeout"] = json!(timeout),
        Txn::CloseSession { paths } => {
            fields["paths"] = paths.map_or(Value::Null, |paths| json!(paths.iter().collect::<Vec<_>>()));
        }
        Txn::Error { err } => fields["error"] = json!(err),
        Txn::Create { ephemeral, .. } => fields["ephemeral"] = json!(ephemeral),
        Txn::CreateTtl { ttl, .. } => fields["ttl"] = json!(ttl),
        Txn::SetData { version, .. } | Txn::Check { version, .. } => fields["version"] = json!(version),
        Txn::SetAcl { acl, version, .. } => {
            fields["version"] = json!(version);
            fields["acl"] = json!(acl_text(&acl));
        }
        Txn::Multi(multi) => {
            fields["failed"] = json!(multi.failed());
            let parts = multi.iter().map(|part| what_json(part.kind, &part.txn, data));
            fields["parts"] = parts.collect();
        }
        Txn::CreateContainer { .. } | Txn::Delete { .. } => {}
    }
    fields
}

/// How data are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Data {
    /// As text, everything that is not printable ASCII escaped.
    Text,
    /// As hexadecimal digits.
    Hex,
}

impl Data {
    /// The bytes in this form; text is quoted.
    pub fn show(self, bytes: &[u8]) -> String {
        match self {
            Data::Text => format!("\"{}\"", bytes.escape_ascii()),
            Data::Hex => bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
                write!(text, "{byte:02x}").expect("a string takes everything");
                text
            }),
        }
    }
}

/// A path on one line, `/` for the root, whose path is empty in snapshots.
pub fn escaped_path(path: &str) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    let plain = |c: char| !c.is_control() && c != ' ' && c != '\\';
    if path.chars().all(plain) {
        return path.to_owned();
    }
    path.chars()
        .map(|c| if plain(c) { c.to_string() } else { format!("\\u{{{:x}}}", u32::from(c)) })
        .collect()
}

/// `scheme:id:cdrwa` of each entry, as the clients write it.
pub fn acl_text(list: &AclList<'_>) -> String {
    if list.is_null() {
        return "open".to_owned();
    }
    let entry = |acl: ringkeeper_engine::txn::AclRef<'_>| {
        let letters = [(4, 'c'), (8, 'd'), (1, 'r'), (2, 'w'), (16, 'a')];
        let perms: String =
            letters.into_iter().filter(|(bit, _)| acl.perms & bit != 0).map(|(_, letter)| letter).collect();
        format!("{}:{}:{perms}", acl.scheme.escape_ascii(), acl.id.escape_ascii())
    };
    let entries: Vec<String> = list.iter().map(entry).collect();
    if entries.is_empty() { "closed".to_owned() } else { entries.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper_engine::txn::Acl;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(1_793_881_217_005), "2026-11-05T12:20:17.005Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(time(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn types_have_names_in_any_case_or_numbers() {
        for (number, name) in KINDS {
            assert_eq!(kind_named(name), Ok(number));
            assert_eq!(kind_named(&name.to_lowercase()), Ok(number));
            assert_eq!(kind_name(number), name);
        }
        assert_eq!((kind_named("-11"), kind_name(99).as_str()), (Ok(-11), "type 99"));
        assert!(kind_named("creat").unwrap_err().contains("createTTL"));
    }

    #[test]
    fn only_whole_names_are_within() {
        assert!(is_within("/a", "/a") && is_within("/a/b", "/a") && is_within("/a/b", "/a/"));
        assert!(is_within("/a", "/") && is_within("", "/"));
        assert!(!is_within("/ab", "/a") && !is_within("/", "/a"));
    }

    #[test]
    fn what_is_not_printable_is_escaped() {
        assert_eq!(Data::Text.show(b"a\"\n\xff"), "\"a\\\"\\n\\xff\"");
        assert_eq!(Data::Hex.show(b"a\n\xff"), "610aff");
        assert_eq!(escaped_path("/a b\n"), "/a\\u{20}b\\u{a}");
        assert_eq!((escaped_path(""), escaped_path("/ä")), ("/".to_owned(), "/ä".to_owned()));
        let mut encoded = Vec::new();
        let list = [Acl::world(Acl::READ), Acl { perms: 31, scheme: "ip".into(), id: "10.0.0.1".into() }];
        assert_eq!(acl_text(&AclList::encode(&list, &mut encoded)), "world:anyone:r,ip:10.0.0.1:cdrwa");
        assert_eq!(acl_text(&AclList::NULL), "open");
    }
}
