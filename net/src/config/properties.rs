//! The file format of zoo.cfg: Java properties, read as the reference server reads them.
//!
//! Byte for byte the same rules as `java.util.Properties`: bytes are Latin-1; a line ends with LF, CR or CR LF;
//! blanks (space, tab, form feed) before a line are dropped; `#` and `!` begin a comment; an odd number of
//! backslashes at the end of a line joins the next one; the key ends at the first `=`, `:` or blank that has no
//! backslash before it; `\t \n \r \f` and `\uXXXX` are escapes and any other `\c` is `c`. Key and value are then
//! trimmed of everything up to U+0020, which the reference does after loading.
//!
//! It knows no key and never looks at the disk. Only [`super::load`] and [`super::parse`] call it.

use std::iter;

/// One `key = value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Line on which the entry begins, counted from 1. A continued line counts where it starts.
    pub line: u32,
    /// The key, unescaped and trimmed. May be empty (a line such as `=x`).
    pub key: String,
    /// The value, unescaped and trimmed. May be empty.
    pub value: String,
    /// The entry holds bytes above 0x7f. They were read as Latin-1, which is rarely what the author of a UTF-8
    /// file meant.
    pub high_bytes: bool,
}

/// What makes a whole file unreadable, with the line of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedEscape {
    /// Line on which the entry begins, counted from 1.
    pub line: u32,
}

/// Reads a whole file. Entries come in file order; duplicates are kept, so that the caller can name them (the
/// last one counts).
///
/// # Errors
/// `\u` without four hexadecimal digits behind it is the only thing that can be wrong with a properties file.
pub fn parse(bytes: &[u8]) -> Result<Vec<Property>, MalformedEscape> {
    let mut found = Vec::new();
    let mut logical: Vec<u8> = Vec::new();
    let mut begins = 0;
    let mut continued = false;
    for (line, natural) in iter::zip(1u32.., natural_lines(bytes)) {
        let text = after_blanks(natural);
        if logical.is_empty() {
            if matches!(text.first(), None | Some(b'#' | b'!')) {
                continue;
            }
            begins = line;
        }
        let slashes = text.iter().rev().take_while(|&&b| b == b'\\').count();
        continued = slashes % 2 == 1;
        logical.extend_from_slice(if continued {
            text.split_last().map_or(text, |(_, head)| head)
        } else {
            text
        });
        if !continued {
            found.push(entry(begins, &logical)?);
            logical.clear();
        }
    }
    if continued && !logical.is_empty() {
        found.push(entry(begins, &logical)?);
    }
    Ok(found)
}

/// The lines of a file without their terminators.
fn natural_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        rest = tail.strip_prefix(b"\r\n").or_else(|| tail.get(1..)).unwrap_or_default();
        Some(line)
    })
}

/// Not `trim_ascii_start`: that knows other white space.
fn after_blanks(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&b| !is_blank(b)).unwrap_or(bytes.len());
    bytes.split_at(start).1
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// Splits one logical line. After the key: blanks, then at most one `=` or `:`, then blanks.
fn entry(line: u32, logical: &[u8]) -> Result<Property, MalformedEscape> {
    let mut escaped = false;
    let end_of_key = logical.iter().position(|&b| {
        let separates = !escaped && (matches!(b, b'=' | b':') || is_blank(b));
        escaped = b == b'\\' && !escaped;
        separates
    });
    let (key, rest) = logical.split_at(end_of_key.unwrap_or(logical.len()));
    let mut value = after_blanks(rest);
    if let Some((b'=' | b':', tail)) = value.split_first() {
        value = after_blanks(tail);
    }
    let malformed = MalformedEscape { line };
    Ok(Property {
        line,
        key: unescape(key).ok_or(malformed)?,
        value: unescape(value).ok_or(malformed)?,
        high_bytes: !key.is_ascii() || !value.is_ascii(),
    })
}

/// Latin-1 with escapes to text, trimmed. `None`: a `\u` that is not followed by four hexadecimal digits.
fn unescape(bytes: &[u8]) -> Option<String> {
    // Java strings are UTF-16: two escapes may form one character, and half of a pair is no character at all.
    let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        let Some((&code, tail)) = rest.split_first() else { break };
        rest = tail;
        units.push(match code {
            b't' => 0x09,
            b'n' => 0x0a,
            b'f' => 0x0c,
            b'r' => 0x0d,
            b'u' => {
                let (digits, tail) = rest.split_at_checked(4)?;
                rest = tail;
                digits.iter().try_fold(0u16, |unit, &digit| {
                    let value = char::from(digit).to_digit(16)?;
                    Some(unit << 4 | u16::try_from(value).ok()?)
                })?
            }
            other => u16::from(other),
        });
    }
    let text = String::from_utf16_lossy(&units);
    Some(text.trim_matches(|c| c <= ' ').to_owned())
}

/// Fuzz entry: feeds arbitrary bytes to the parser and checks what must hold for any input.
///
/// # Panics
/// When an entry lies outside the file, entries are out of order, or more text comes out than went in.
pub fn fuzz(bytes: &[u8]) {
    let Ok(entries) = parse(bytes) else { return };
    let last_line = natural_lines(bytes).count();
    let mut before = 0;
    let mut chars = 0;
    for entry in &entries {
        assert!(entry.line > before, "line {} after line {before}", entry.line);
        before = entry.line;
        chars += entry.key.chars().count() + entry.value.chars().count();
        for text in [&entry.key, &entry.value] {
            assert_eq!(text.trim_matches(|c| c <= ' '), text, "trimmed");
        }
    }
    assert!(usize::try_from(before).is_ok_and(|line| line <= last_line), "line {before} of {last_line}");
    assert!(chars <= bytes.len(), "{chars} characters out of {} bytes", bytes.len());
}

#[cfg(test)]
#[path = "properties_tests.rs"]
mod tests;
