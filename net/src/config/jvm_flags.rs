//! Settings that images and scripts pass to the reference as JVM flags: `-Dzookeeper.<key>=<value>` and the few
//! properties without that prefix. They count less than the file, as in the reference, where the file is read last.
//!
//! Flags that are about the JVM itself (`-Xmx`, `-Dcom.sun...`, `-Dlog4j...`) say nothing to us and are passed over.

use super::keys::{self, Scope};

/// The variables that zkServer.sh puts on the command line, weakest first.
pub(super) const VARIABLES: [&str; 2] = ["SERVER_JVMFLAGS", "JVMFLAGS"];

/// The settings in one variable: key as it would stand in the file, and value.
pub(super) fn settings(flags: &str) -> impl Iterator<Item = (&str, &str)> {
    flags.split_ascii_whitespace().filter_map(|flag| {
        let (name, value) = flag.strip_prefix("-D")?.split_once('=')?;
        let (key, scope) = match name.strip_prefix("zookeeper.") {
            Some(key) => (key, Scope::Property),
            None => (name, Scope::Bare),
        };
        let known = keys::find(key).is_some_and(|row| row.scope == scope);
        known.then_some((key, value.trim_matches(['"', '\''])))
    })
}
