//! What a member of Apache's has promised (`acceptedEpoch`, `currentEpoch`) and who it is (`myid`).
//!
//! The rules are those of the reference at its start: a file that is missing says the epoch of the last transaction; a
//! `currentEpoch` that was written and not renamed counts if the log is ahead; promises that contradict the log or
//! each other are an error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::log::Epochs;

use super::damage::io_error;
use super::directory::VERSION_2;
use crate::error::InspectError;

/// The promises in a dataDir, or in the `version-2` of one, beside a log that ends with `last`.
pub fn read_epochs(dir: &Path, last: Zxid) -> Result<Epochs, InspectError> {
    let below = dir.join(VERSION_2);
    let dir = if below.is_dir() { below } else { dir.to_owned() };
    let said = |name| {
        read_number(&dir.join(name)).and_then(|number| number.map(|n| epoch(&dir, name, n)).transpose())
    };
    let mut current = said("currentEpoch")?.unwrap_or(last.epoch());
    if last.epoch() > current {
        current = said("currentEpoch.tmp")?.unwrap_or(current);
    }
    let accepted = said("acceptedEpoch")?.unwrap_or(last.epoch());
    if last.epoch() > current || current > accepted {
        let what = format!(
            "acceptedEpoch {accepted}, currentEpoch {current} and the last transaction {last} contradict each other"
        );
        return Err(InspectError::Damaged { path: dir, offset: 0, what });
    }
    Ok(Epochs { accepted, current, nonvoting: false })
}

/// The file that says who the member is, if there is one in this dataDir.
pub fn myid(dir: &Path) -> Option<PathBuf> {
    let beside_version_2 =
        dir.parent().filter(|_| dir.ends_with(VERSION_2)).map(|parent| parent.join("myid"));
    [Some(dir.join("myid")), beside_version_2].into_iter().flatten().find(|path| path.is_file())
}

fn read_number(path: &Path) -> Result<Option<i64>, InspectError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error("reading", path))?,
    };
    let first = text.lines().next().unwrap_or_default().trim();
    first.parse().map(Some).map_err(|_| InspectError::Damaged {
        path: path.to_owned(),
        offset: 0,
        what: format!("{first:?} is not a number"),
    })
}

fn epoch(dir: &Path, name: &str, number: i64) -> Result<Epoch, InspectError> {
    u32::try_from(number).map(Epoch).map_err(|_| InspectError::Damaged {
        path: dir.join(name),
        offset: 0,
        what: format!("{number} is not an epoch"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)], last: i64) -> Result<Epochs, InspectError> {
        let dir = tempfile::tempdir().unwrap();
        let version_2 = dir.path().join(VERSION_2);
        fs::create_dir(&version_2).unwrap();
        files.iter().for_each(|(name, text)| fs::write(version_2.join(name), text).unwrap());
        let read = read_epochs(dir.path(), Zxid::from_raw(last));
        assert_eq!(read.as_ref().ok(), read_epochs(&version_2, Zxid::from_raw(last)).ok().as_ref());
        read
    }

    #[test]
    fn promises_are_read_by_the_rules_of_the_reference() {
        let said = |accepted, current| Epochs {
            accepted: Epoch(accepted),
            current: Epoch(current),
            nonvoting: false,
        };
        assert_eq!(of(&[], 0x3_0000_0001).unwrap(), said(3, 3));
        assert_eq!(
            of(&[("acceptedEpoch", "5"), ("currentEpoch", "4\n")], 0x3_0000_0001).unwrap(),
            said(5, 4)
        );
        let unnamed = [("acceptedEpoch", "4"), ("currentEpoch", "3"), ("currentEpoch.tmp", "4")];
        assert_eq!(of(&unnamed, 0x4_0000_0001).unwrap(), said(4, 4));
        assert_eq!(of(&unnamed, 0x3_0000_0001).unwrap(), said(4, 3));
        for bad in [
            &[("acceptedEpoch", "3"), ("currentEpoch", "4")][..],
            &[("acceptedEpoch", "4"), ("currentEpoch", "2")],
            &[("acceptedEpoch", "x")],
            &[("acceptedEpoch", "-1")],
            &[("acceptedEpoch", "99999999999")],
        ] {
            assert!(of(bad, 0x3_0000_0001).is_err(), "{bad:?}");
        }
    }
}
