use std::fs;
use std::io::Read;

use super::directory::open_dir;
use super::*;
use crate::out::Progress;
use crate::source::apache::damage::{Damage, DamageKind};
use crate::source::apache::snapshot::{self, Contents};

/// Bytes behind the nodes, with both trailers.
const BEHIND: usize = 67;

fn read(path: &Path, codec: Codec) -> Contents {
    snapshot::read(path, codec, &Progress::none(), &mut |_| Ok(()), &mut |_| Ok(())).unwrap()
}

#[test]
fn a_written_snapshot_is_read_back_whatever_it_is_packed_in() {
    let history = History::mixed(3000);
    for codec in [Codec::Plain, Codec::Gzip, Codec::Snappy] {
        let dir = temp();
        let path = history.snapshot(dir.path(), codec);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(Name::parse(name), Some(Name::Snapshot(history.last(), codec)));
        let contents = read(&path, codec);
        assert_eq!(contents.damage, []);
        assert_eq!((contents.sessions, contents.nodes), (1, history.tree.node_count() - 1));
        assert_eq!(contents.digest, history.tree.digest());
        assert_eq!(contents.trailer.digest, Some((history.last(), history.tree.digest())));
        assert_eq!(contents.trailer.last_zxid, Some(history.last()));
    }
}

#[test]
fn a_changed_byte_is_told_with_the_part_of_the_file_that_it_is_in() {
    let dir = temp();
    let history = History::mixed(5);
    let path = history.snapshot(dir.path(), Codec::Plain);
    let bytes = fs::read(&path).unwrap();
    let nodes_end = bytes.len() - BEHIND;
    // Header, nodes; then checksum, mark and trailer in turn; the last checksum cannot be told from what it covers.
    let mut parts = vec![0..16, 16..nodes_end];
    let mut at = nodes_end;
    for trailer in [20, 8] {
        parts.extend([at..at + 8, at + 8..at + 13, at + 13..at + 13 + trailer]);
        at += 13 + trailer;
    }
    parts.extend([at..at + 8, at + 8..at + 13]);
    for at in 0..bytes.len() {
        let with = [0x01, 0x80, 0xff][at % 3];
        let mut hurt = bytes.clone();
        hurt[at] ^= with;
        put(&path, &hurt);
        let damage = read(&path, Codec::Plain).damage;
        assert_eq!(damage.len(), 1, "byte {at} ^ {with:#x}: {damage:?}");
        let part = parts.iter().find(|part| part.contains(&at)).unwrap();
        let range = damage[0].range.start as usize..damage[0].range.end as usize;
        let b_and_its_seal = bytes.len() - 13 - 8..bytes.len() - 5;
        let either = b_and_its_seal.contains(&at) && range == b_and_its_seal;
        assert!(range == *part || either, "byte {at} ^ {with:#x}: {damage:?}, not {part:?}");
    }
}

#[test]
fn a_cut_is_told_wherever_it_is() {
    let dir = temp();
    let history = History::mixed(5);
    let path = history.snapshot(dir.path(), Codec::Plain);
    let bytes = fs::read(&path).unwrap();
    // Without B, as servers before 3.9 write it; without A too, as those without digests do.
    let whole = [bytes.len() - 21, bytes.len() - 21 - 33];
    for end in 0..bytes.len() {
        put(&path, &bytes[..end]);
        let damage = read(&path, Codec::Plain).damage;
        if whole.contains(&end) {
            assert_eq!(damage, [], "cut at {end}");
            continue;
        }
        assert_eq!(damage.len(), 1, "cut at {end}: {damage:?}");
        assert!(
            damage[0].range.end == end as u64 && damage[0].what == DamageKind::Cut,
            "cut at {end}: {damage:?}"
        );
    }
}

#[test]
fn a_zeroed_page_is_told() {
    let dir = temp();
    let history = History::mixed(400);
    let path = history.snapshot(dir.path(), Codec::Plain);
    let bytes = fs::read(&path).unwrap();
    let nodes_end = (bytes.len() - BEHIND) as u64;
    for start in (16..bytes.len()).step_by(1000) {
        let end = (start + 4096).min(bytes.len());
        let mut hurt = bytes.clone();
        hurt[start..end].fill(0);
        put(&path, &hurt);
        let damage = read(&path, Codec::Plain).damage;
        let from = damage.first().map(|first| first.range.start as usize);
        let to = damage.last().map(|last| last.range.end as usize);
        if end as u64 <= nodes_end {
            assert_eq!((from, to), (Some(16), Some(nodes_end as usize)), "zeros from {start}: {damage:?}");
        } else {
            // Nothing seals the nodes any more: what can be told is where the zeros are.
            assert!(from.unwrap() <= start && to == Some(bytes.len()), "zeros from {start}: {damage:?}");
        }
    }
}

#[test]
fn what_follows_a_snapshot_is_told() {
    let dir = temp();
    let history = History::mixed(5);
    let path = history.snapshot(dir.path(), Codec::Plain);
    let bytes = fs::read(&path).unwrap();
    for more in [1, 13, 100, 3000, 100_000] {
        put(&path, &[&bytes[..], &vec![7; more]].concat());
        let damage = read(&path, Codec::Plain).damage;
        let behind = bytes.len() as u64..(bytes.len() + more) as u64;
        assert_eq!(damage, [Damage::of(behind, DamageKind::GoesOn)]);
    }
}

#[test]
fn compressed_snapshots_hide_no_damage() {
    for codec in [Codec::Gzip, Codec::Snappy] {
        let dir = temp();
        let history = History::mixed(20);
        let path = history.snapshot(dir.path(), codec);
        let bytes = fs::read(&path).unwrap();
        let plain = fs::read(history.snapshot(dir.path(), Codec::Plain)).unwrap();
        for at in 0..bytes.len() {
            let mut hurt = bytes.clone();
            hurt[at] ^= 0x11;
            put(&path, &hurt);
            let damage = read(&path, codec).damage;
            // Some bytes mean nothing: a time in the header, a choice between two copies of the same.
            let same = |bytes: &[u8]| {
                let (mut expanded, bytes) = (Vec::new(), std::io::Cursor::new(bytes.to_vec()));
                codec.reader(bytes).read_to_end(&mut expanded).is_ok_and(|_| expanded == plain)
            };
            if !same(&hurt) {
                let all = 0..bytes.len() as u64;
                let told = matches!(&damage[..], [one] if one.range == all);
                assert!(told, "byte {at} of {codec:?}: {damage:?}");
            }
        }
        for end in 0..bytes.len() {
            put(&path, &bytes[..end]);
            assert_eq!(read(&path, codec).damage.len(), 1, "cut at {end} of {codec:?}");
        }
    }
}

#[test]
fn nodes_that_are_not_those_of_the_digest_are_told_though_every_checksum_holds() {
    let dir = temp();
    let history = History::mixed(5);
    let path = history.snapshot(dir.path(), Codec::Plain);
    let mut bytes = fs::read(&path).unwrap();
    let nodes_end = bytes.len() - BEHIND;
    let at = bytes.windows(7).position(|window| window == b"changed").unwrap();
    bytes[at] = b'C';
    bytes.truncate(nodes_end);
    let mut adler = simd_adler32::Adler32::new();
    adler.write(&bytes);
    bytes.extend(seals::write(adler.finish(), history.last(), history.tree.digest()));
    put(&path, &bytes);
    // Apache's servers write such snapshots too, where they are just about to note what they have applied. So it is the log
    // behind it that tells whether the nodes are right.
    let contents = read(&path, Codec::Plain);
    assert!(contents.damage.is_empty() && !contents.is_exact(history.last()), "{contents:?}");
    let Verdict::Differs { zxid, theirs, ours } =
        rebuild(&open_dir(dir.path()), history.last(), 1).unwrap().verdict
    else {
        panic!("the digest is another one");
    };
    assert_eq!((zxid, theirs, ours), (history.last(), history.tree.digest(), contents.digest));
}
