//! Taste, checked by machine: rules on our sources that the compiler does not know.
//!
//! Purely textual, so that it runs in milliseconds with no dependency. It never edits anything. The test at the end
//! runs it over the repository; everything else in here is a function of text and can be tested with text.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Lines that a source file may have.
pub const LONGEST_FILE: usize = 500;

/// Lines that a file of tests may have: a table of cases may be long.
pub const LONGEST_TEST_FILE: usize = 800;

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// One idea per file, and this one seems to hold several.
    #[error("{path}: {lines} lines, at most {limit}")]
    TooLong {
        /// Relative to the root of the repository.
        path: String,
        /// Its length.
        lines: usize,
        /// What it may have.
        limit: usize,
    },
    /// A file that does not say why it exists.
    #[error("{path}: does not begin with a module doc (`//!`)")]
    NoModuleDoc {
        /// Relative to the root of the repository.
        path: String,
    },
    /// `unsafe` outside the one room that may have it.
    #[error("{path}:{line}: unsafe outside engine::io")]
    Unsafe {
        /// Relative to the root of the repository.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// Something that was meant to be gone before the commit.
    #[error("{path}:{line}: {what} left behind")]
    LeftBehind {
        /// Relative to the root of the repository.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What it is.
        what: &'static str,
    },
    /// A path of somebody's machine.
    #[error("{path}:{line}: names {what}, a place that only one machine has")]
    OneMachine {
        /// Relative to the root of the repository.
        path: String,
        /// Counted from 1.
        line: usize,
        /// The beginning of the path.
        what: &'static str,
    },
}

/// Where sources are; all else at the top level is not ours to judge.
const ROOMS: [&str; 7] = ["engine", "net", "bench", "tools", "tests", "docs", ".ci"];

/// The only room that may have `unsafe`.
const UNSAFE_ROOM: &str = "engine/src/io/";

/// Words are put together here, so that this file does not find itself.
const LEFT_BEHIND: [&str; 3] = [concat!("db", "g!("), concat!("to", "do!("), concat!("FIX", "ME")];
const ONE_MACHINE: [&str; 3] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];
const UNSAFE: &str = concat!("un", "safe");

/// Everything wrong in the repository, in the order of the paths.
///
/// # Errors
/// When a directory or file cannot be read.
pub fn faults_of_repository(root: &Path) -> io::Result<Vec<Fault>> {
    let mut files = Vec::new();
    for room in ROOMS {
        let dir = root.join(room);
        if dir.is_dir() {
            collect(&dir, &mut files)?;
        }
    }
    files.extend(
        ["README.md", "CHANGELOG.md", "Cargo.toml"]
            .map(|name| root.join(name))
            .into_iter()
            .filter(|p| p.is_file()),
    );
    files.sort();
    let mut faults = Vec::new();
    for file in files {
        let path = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        // What is not text is not ours to judge.
        if let Ok(text) = String::from_utf8(fs::read(&file)?) {
            faults.extend(faults_of_file(&path, &text));
        }
    }
    Ok(faults)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let generated =
            ["target", "corpus", "artifacts", "__pycache__"].iter().any(|name| path.ends_with(name));
        if kind.is_dir() && !generated {
            collect(&path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// Everything wrong in one file. `path` is relative to the root of the repository.
pub fn faults_of_file(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    if path.ends_with(".rs") {
        faults.extend(too_long(path, text));
        // A sibling file of tests is explained by the file it tests.
        if !path.ends_with("tests.rs") {
            faults.extend(no_module_doc(path, text));
        }
    }
    for (number, line) in text.lines().enumerate() {
        let line_number = number + 1;
        if path.ends_with(".rs") {
            if !path.starts_with(UNSAFE_ROOM) && is_unsafe(line) {
                faults.push(Fault::Unsafe { path: path.into(), line: line_number });
            }
            let left = LEFT_BEHIND.into_iter().find(|what| line.contains(what));
            faults.extend(left.map(|what| Fault::LeftBehind { path: path.into(), line: line_number, what }));
        }
        let place = ONE_MACHINE.into_iter().find(|what| line.contains(what));
        faults.extend(place.map(|what| Fault::OneMachine { path: path.into(), line: line_number, what }));
    }
    faults
}

fn too_long(path: &str, text: &str) -> Option<Fault> {
    let of_tests = path.ends_with("tests.rs") || path.starts_with("tests/tests/");
    let limit = if of_tests { LONGEST_TEST_FILE } else { LONGEST_FILE };
    let lines = text.lines().count();
    (lines > limit).then(|| Fault::TooLong { path: path.into(), lines, limit })
}

/// The first line that is not blank, a licence comment or a crate attribute must be a module doc.
fn no_module_doc(path: &str, text: &str) -> Option<Fault> {
    let first = text.lines().map(str::trim_start).find(|line| {
        let module_doc = line.starts_with("//!");
        module_doc || !(line.is_empty() || line.starts_with("//") || line.starts_with("#!["))
    });
    (!first.is_some_and(|line| line.starts_with("//!"))).then(|| Fault::NoModuleDoc { path: path.into() })
}

/// The keyword in code, as opposed to the word in a comment, in a text or in the name of a lint.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    // Every second part between quotation marks is a text.
    let outside_texts = code.split('"').step_by(2);
    let mut words = outside_texts.flat_map(|part| part.split(|c: char| !(c.is_alphanumeric() || c == '_')));
    words.any(|word| word == UNSAFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tools lies in the repository");
        let faults = faults_of_repository(root).expect("reading the repository");
        let list: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        assert!(faults.is_empty(), "{} faults:{list}", faults.len());
    }

    fn said(path: &str, text: &str) -> Vec<String> {
        faults_of_file(path, text).iter().map(Fault::to_string).collect()
    }

    #[test]
    fn clean_file_has_no_faults() {
        assert_eq!(said("net/src/a.rs", "// licence\n\n#![forbid(x)]\n//! Why.\nfn main() {}\n"), [""; 0]);
    }

    #[test]
    fn long_file_is_found_and_tests_may_be_longer() {
        let text = format!("//! Why.\n{}", "\n".repeat(LONGEST_FILE));
        assert_eq!(said("net/src/a.rs", &text), ["net/src/a.rs: 501 lines, at most 500"]);
        assert_eq!(said("net/src/tests.rs", &text), [""; 0]);
    }

    #[test]
    fn missing_module_doc_is_found() {
        assert_eq!(said("a.rs", "use x;\n//! late\n"), ["a.rs: does not begin with a module doc (`//!`)"]);
        assert_eq!(said("a.rs", ""), ["a.rs: does not begin with a module doc (`//!`)"]);
    }

    #[test]
    fn unsafe_is_found_outside_its_room_only() {
        let code = format!("//! Why.\n{UNSAFE} {{ x() }}\n");
        assert_eq!(said("net/src/a.rs", &code), [format!("net/src/a.rs:2: {UNSAFE} outside engine::io")]);
        assert_eq!(said("engine/src/io/a.rs", &code), [""; 0]);
        let words =
            format!("//! Why.\n#![deny({UNSAFE}_code)]\nlet s = \"{UNSAFE}\"; // {UNSAFE} is a word\n");
        assert_eq!(said("net/src/a.rs", &words), [""; 0]);
    }

    #[test]
    fn leftovers_and_places_of_one_machine_are_found() {
        let text = format!("//! Why.\n{}x)\nlet p = \"{}me\";\n", LEFT_BEHIND[0], ONE_MACHINE[0]);
        let (left, place) = (LEFT_BEHIND[0], ONE_MACHINE[0]);
        let expected = [
            format!("a.rs:2: {left} left behind"),
            format!("a.rs:3: names {place}, a place that only one machine has"),
        ];
        assert_eq!(said("a.rs", &text), expected);
    }
}
