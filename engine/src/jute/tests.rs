use super::*;

#[test]
fn what_is_written_is_read_back() {
    let mut out = Vec::new();
    put_bool(&mut out, true);
    put_i32(&mut out, -7);
    put_i64(&mut out, i64::MIN);
    put_buffer(&mut out, None);
    put_buffer(&mut out, Some(b""));
    put_ustring(&mut out, "/a");
    put_len(&mut out, 0);
    let mut reader = Reader::new(&out);
    assert_eq!(reader.bool(), Ok(true));
    assert_eq!(reader.i32(), Ok(-7));
    assert_eq!(reader.i64(), Ok(i64::MIN));
    assert_eq!(reader.buffer(), Ok(None));
    assert_eq!(reader.buffer(), Ok(Some(&b""[..])));
    assert_eq!(reader.ustring(), Ok(Some(&b"/a"[..])));
    assert_eq!(reader.count(4), Ok(Some(0)));
    assert_eq!((reader.remaining(), reader.rest()), (0, &b""[..]));
}

#[test]
fn any_non_zero_byte_is_true() {
    assert_eq!(Reader::new(&[0x80]).bool(), Ok(true));
    assert_eq!(Reader::new(&[0]).bool(), Ok(false));
}

#[test]
fn a_length_is_believed_only_as_far_as_bytes_are_present() {
    let bytes = [0x7f, 0xff, 0xff, 0xff, 1, 2];
    assert_eq!(
        Reader::new(&bytes).buffer(),
        Err(JuteError::Truncated { at: 4, need: i32::MAX as usize, have: 2 })
    );
    let bytes = (-2i32).to_be_bytes();
    assert_eq!(Reader::new(&bytes).buffer(), Err(JuteError::NegativeLength { at: 0, len: -2 }));
    assert_eq!(Reader::new(&[0, 0]).i32(), Err(JuteError::Truncated { at: 0, need: 4, have: 2 }));
}

#[test]
fn a_vector_count_is_null_empty_possible_or_an_error() {
    let with = |count: i32, items: usize| {
        let mut bytes = count.to_be_bytes().to_vec();
        bytes.resize(4 + items * 4, 0);
        bytes
    };
    assert_eq!(Reader::new(&with(-1, 0)).count(4), Ok(None));
    assert_eq!(Reader::new(&with(-2, 0)).count(4), Ok(Some(0)));
    assert_eq!(Reader::new(&with(i32::MIN, 0)).count(4), Ok(Some(0)));
    assert_eq!(Reader::new(&with(3, 3)).count(4), Ok(Some(3)));
    assert_eq!(
        Reader::new(&with(4, 3)).count(4),
        Err(JuteError::ImpossibleCount { at: 0, count: 4, have: 12 })
    );
    assert_eq!(
        Reader::new(&with(i32::MAX, 3)).count(usize::MAX),
        Err(JuteError::ImpossibleCount { at: 0, count: i32::MAX, have: 12 })
    );
}

#[test]
fn errors_name_offset_and_sizes() {
    let error = Reader::new(&[0, 0, 0, 9, 1]).buffer().unwrap_err();
    assert_eq!(error.to_string(), "9 bytes needed at offset 4, 1 left");
}
