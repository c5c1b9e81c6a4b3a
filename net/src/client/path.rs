//! The path rules of the client protocol: what a node may be called, and who its parent is.
//!
//! Different operations apply different checks and some apply none (client-protocol reference 4.4). Nothing
//! here looks at the tree.

use ringkeeper_engine::tree::BUILT_IN;

/// Full validation: the rule for the final path of a create, and for setData, setACL and check.
///
/// The reference counts UTF-16 units, so every character outside the basic plane falls under its ban of
/// surrogates.
pub fn is_valid(path: &str) -> bool {
    let bytes = path.as_bytes();
    match bytes {
        [] => return false,
        [b'/'] => return true,
        [b'/', .., b'/'] => return false,
        [b'/', ..] => {}
        _ => return false,
    }
    let mut start = 1;
    let mut ascii = true;
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b'/' => {
                if !component_is_valid(&bytes[start..at]) {
                    return false;
                }
                start = at + 1;
            }
            0..=0x1f | 0x7f => return false,
            0x80.. => ascii = false,
            _ => {}
        }
    }
    component_is_valid(&bytes[start..]) && (ascii || path.chars().all(char_is_allowed))
}

fn component_is_valid(component: &[u8]) -> bool {
    !matches!(component, [] | [b'.'] | [b'.', b'.'])
}

fn char_is_allowed(c: char) -> bool {
    !matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// The weak check with which create and delete begin: a parent can be told, and no NUL.
pub fn has_parent(path: &str) -> bool {
    let mut slash = false;
    for &byte in path.as_bytes() {
        match byte {
            0 => return false,
            b'/' => slash = true,
            _ => {}
        }
    }
    slash
}

/// The text before the last slash; `""`, the root's other name, for a top-level node.
///
/// Only to be asked for a path that [`has_parent`].
pub fn parent_of(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..at])
}

/// Whether the node is one of the four that cannot be deleted.
pub fn is_system(path: &str) -> bool {
    BUILT_IN.contains(&path)
}

/// The one key of a node in the maps kept by path: the root is `""` there, never `/`.
pub fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// How clients are told a path: the root as `/`.
pub fn shown(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_but_legal_names_pass() {
        for path in ["/", "/a", "/a/b", "/.a", "/a..", "/...", "/with space", "/é/ü", "/a.b", "/\u{d7ff}"] {
            assert!(is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn every_forbidden_form_is_refused() {
        for path in [
            "",
            "a",
            "a/b",
            "//",
            "/a/",
            "/a//b",
            "/.",
            "/..",
            "/a/.",
            "/a/./b",
            "/a/../b",
            "/\0",
            "/a\u{1}",
            "/a\u{1f}",
            "/a\u{7f}",
            "/a\u{80}",
            "/a\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{ffff}",
            "/\u{fffd}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn the_weak_check_wants_a_slash_and_no_nul() {
        for (path, ok) in
            [("/a", true), ("a/b", true), ("/a//", true), ("", false), ("a", false), ("/\0", false)]
        {
            assert_eq!(has_parent(path), ok, "{path:?}");
        }
    }

    #[test]
    fn parents_are_textual() {
        for (path, parent) in [("/a", ""), ("/a/b", "/a"), ("/a//b", "/a/"), ("/a/", "/a"), ("/", "")] {
            assert_eq!(parent_of(path), parent, "{path:?}");
        }
    }
}
