use super::*;

fn pairs(text: &[u8]) -> Vec<(u32, String, String)> {
    parse(text).unwrap().into_iter().map(|p| (p.line, p.key, p.value)).collect()
}

fn one(text: &[u8]) -> (String, String) {
    let mut all = pairs(text);
    assert_eq!(all.len(), 1, "{all:?}");
    let (_, key, value) = all.remove(0);
    (key, value)
}

#[test]
fn equals_colon_and_blank_all_separate_key_and_value() {
    for text in ["k=v", "k:v", "k v", "k = v", "  k\t:  v  ", "k\x0cv", "\tk =v\r\n"] {
        assert_eq!(one(text.as_bytes()), ("k".into(), "v".into()), "{text:?}");
    }
}

#[test]
fn only_the_first_separator_counts() {
    assert_eq!(one(b"a==b"), ("a".into(), "=b".into()));
    assert_eq!(one(b"a = :b"), ("a".into(), ":b".into()));
    assert_eq!(one(b"server.1=h:1:2;3"), ("server.1".into(), "h:1:2;3".into()));
    assert_eq!(one(b"alone"), ("alone".into(), "".into()));
    assert_eq!(one(b"= x"), ("".into(), "x".into()));
}

#[test]
fn comments_and_blank_lines_hold_no_entry_but_count_as_lines() {
    let text = b"# c = d\r\n\r\n  ! e = f \\\na=1\n\n   \t\nb=2 # not a comment\r\rc=3";
    assert_eq!(
        pairs(text),
        [
            (4, "a".into(), "1".into()),
            (7, "b".into(), "2 # not a comment".into()),
            (9, "c".into(), "3".into())
        ]
    );
}

#[test]
fn a_backslash_at_the_end_joins_lines_and_drops_the_indentation() {
    assert_eq!(
        pairs(b"k = one,\\\n    two,\\\r\n\tthree\nnext=1"),
        [(1, "k".into(), "one,two,three".into()), (4, "next".into(), "1".into())]
    );
    // Two backslashes are one escaped backslash, no continuation.
    assert_eq!(pairs(b"k=a\\\\\nl=b"), [(1, "k".into(), "a\\".into()), (2, "l".into(), "b".into())]);
    // A comment sign on a continuation line is data, a blank line ends the entry.
    assert_eq!(one(b"k=a\\\n#b"), ("k".into(), "a#b".into()));
    assert_eq!(pairs(b"k=a\\\n\nl=b"), [(1, "k".into(), "a".into()), (3, "l".into(), "b".into())]);
    assert_eq!(one(b"k=a\\"), ("k".into(), "a".into()));
    // Java makes an empty key of a lone backslash at the end of a file. It would have no effect either.
    assert_eq!(pairs(b"\\"), []);
}

#[test]
fn escapes_are_undone_in_keys_and_values() {
    assert_eq!(one(br"a\:b\ c\=d = x\ty\\z\q"), ("a:b c=d".into(), "x\ty\\zq".into()));
    assert_eq!(one(br"k=\u00e9\u20AC"), ("k".into(), "\u{e9}\u{20ac}".into()));
    // A surrogate pair is one character, half of one is the replacement character.
    assert_eq!(one(br"k=\ud83d\ude00"), ("k".into(), "\u{1f600}".into()));
    assert_eq!(one(br"k=\ud83d"), ("k".into(), "\u{fffd}".into()));
}

#[test]
fn a_unicode_escape_needs_four_hexadecimal_digits() {
    for text in [&br"k=\u12"[..], br"k=\u12g4", br"\u=1", br"k=\u+123"] {
        assert_eq!(parse(&[b"a=1\n", text].concat()), Err(MalformedEscape { line: 2 }), "{text:?}");
    }
}

#[test]
fn bytes_are_latin_1() {
    let parsed = parse(b"k=caf\xe9\nplain=1\n").unwrap();
    assert_eq!((parsed[0].value.as_str(), parsed[0].high_bytes), ("caf\u{e9}", true));
    assert!(!parsed[1].high_bytes);
}

#[test]
fn key_and_value_are_trimmed_even_of_escaped_blanks() {
    assert_eq!(one(b"\\ k\\t = \\u0001 v \\n \n"), ("k".into(), "v".into()));
}

#[test]
fn duplicates_are_kept_in_order() {
    assert_eq!(pairs(b"a=1\na=2"), [(1, "a".into(), "1".into()), (2, "a".into(), "2".into())]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_parse_without_panic(bytes in proptest::collection::vec(proptest::sample::select(
        b"ab=: \\u04e\n\r\t#!\x0c\xe9,".to_vec()), 0..200)) {
        fuzz(&bytes);
    }

    #[test]
    fn a_quoted_pair_comes_back(key in "[a-zA-Z0-9._=: #!\\\\]{1,20}", value in "[ -~]{0,40}") {
        let quote = |text: &str| text.chars().flat_map(|c| match c {
            '=' | ':' | ' ' | '\\' | '#' | '!' => vec!['\\', c],
            _ => vec![c],
        }).collect::<String>();
        let text = format!("{} = {}", quote(&key), quote(&value));
        let parsed = one(text.as_bytes());
        proptest::prop_assert_eq!(parsed, (key.trim().to_owned(), value.trim().to_owned()));
    }
}
