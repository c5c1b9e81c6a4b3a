//! Chunks of files between leader and learners: whole and in order, two at a time, and what happens when they cannot be read.

use std::path::PathBuf;

use ringkeeper_engine::io::{FsVolume, PIECE, sim::SimDisk};

use super::quorum::{pair, pattern};
use super::*;
use ringkeeper_engine::io::Volume;

/// A directory with the file `body`.
struct Body {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Body {
    fn new(len: usize) -> Body {
        let binary = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(binary.parent().unwrap()).unwrap();
        let body = Body { dir, bytes: pattern(len) };
        body.write(&body.bytes);
        body
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("body")
    }

    fn write(&self, bytes: &[u8]) {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(4096), 0);
        std::fs::write(self.path(), padded).unwrap();
    }

    fn chunks(&self) -> Vec<FileChunk> {
        let path: Arc<Path> = self.path().into();
        let chunk = |(index, bytes): (usize, &[u8])| FileChunk {
            path: path.clone(),
            offset: (index * PIECE) as u64,
            len: bytes.len(),
            crc: crc32c::crc32c(bytes),
        };
        self.bytes.chunks(PIECE).enumerate().map(chunk).collect()
    }
}

/// A leader, a learner that has introduced itself, and what each calls the connection.
fn introduced(cluster: &Cluster) -> (Node, Node, [Link; 2]) {
    let (mut leader, mut learner, link) = pair(cluster);
    learner.say(link, Chunk::Own(vec![1]));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[0].script.received.len() == 1);
    let there = *leader.script.received.keys().next().unwrap();
    (leader, learner, [there, link])
}

#[test]
fn a_file_arrives_whole_between_other_bytes_and_is_closed_when_nobody_sends_it_any_more() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, [there, link]) = introduced(&cluster);
    let body = Body::new(5 * PIECE + 4321);
    leader.say(there, Chunk::Own(b"before".to_vec()));
    body.chunks().into_iter().for_each(|chunk| leader.say(there, Chunk::File(chunk)));
    leader.say(there, Chunk::Shared(Arc::new(b"behind".to_vec())));
    let wanted = [b"before", &body.bytes[..], b"behind"].concat();
    cluster.until(&mut [&mut leader, &mut learner], |nodes| {
        nodes[1].script.received.get(&link).is_some_and(|bytes| bytes.len() >= wanted.len())
    });
    assert!(learner.script.received[&link] == wanted);
    assert_eq!(leader.peers.quorum.open_sources(), 1, "another chunk may follow");
    leader.ahead += 3000;
    cluster.until(&mut [&mut leader], |nodes| nodes[0].peers.quorum.open_sources() == 0);
    // It is opened again when it is needed again.
    leader.say(there, Chunk::File(body.chunks().remove(0)));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| {
        nodes[1].script.received[&link].len() == wanted.len() + PIECE
    });
    leader.peers.end(&mut leader.ring);
    assert_eq!(leader.peers.quorum.open_sources(), 0);
}

#[test]
fn of_a_slow_reader_two_chunks_are_in_the_ring_and_the_file_stays_open() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, [there, link]) = introduced(&cluster);
    learner.script.deaf = true;
    let body = Body::new(2 * PIECE);
    const TIMES: usize = 12;
    for _ in 0..TIMES {
        body.chunks().into_iter().for_each(|chunk| leader.say(there, Chunk::File(chunk)));
    }
    let (mut left, mut still) = (usize::MAX, 0);
    while still < 200 {
        cluster.turn(&mut leader).unwrap();
        cluster.turn(&mut learner).unwrap();
        let now = leader.script.chunks[&there].len();
        still = if now == left { still + 1 } else { 0 };
        left = now;
    }
    assert!(left > 0, "everything was taken although nobody reads");
    leader.ahead += 30_000;
    for _ in 0..10 {
        cluster.turn(&mut leader).unwrap();
    }
    assert_eq!(leader.peers.quorum.open_sources(), 1, "it is in use however long it takes");
    learner.script.deaf = false;
    cluster.until(&mut [&mut leader, &mut learner], |nodes| {
        nodes[1].script.received.get(&link).is_some_and(|bytes| bytes.len() == 2 * TIMES * PIECE)
    });
    assert!(learner.script.received[&link].chunks(2 * PIECE).all(|bytes| bytes == body.bytes));
}

#[test]
fn a_damaged_file_is_reported_and_ends_the_connection_behind_the_last_sound_chunk() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, [there, link]) = introduced(&cluster);
    let body = Body::new(3 * PIECE);
    let mut damaged = body.bytes.clone();
    damaged[2 * PIECE] ^= 4;
    body.write(&damaged);
    body.chunks().into_iter().for_each(|chunk| leader.say(there, Chunk::File(chunk)));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| {
        nodes[0].script.closed == [there] && nodes[1].script.closed == [link]
    });
    let [(at, error)] = &leader.script.unreadable[..] else { panic!("{:?}", leader.script.unreadable) };
    assert_eq!(*at, there);
    let told = format!("{}: the 1048576 bytes at offset 2097152 are damaged", body.path().display());
    assert!(error.starts_with(&told), "{error}");
    // The end may overtake what was sent before it, but nothing of the damaged chunk was.
    let got = learner.script.received.remove(&link).unwrap_or_default();
    assert!(body.bytes[..2 * PIECE].starts_with(&got));
    assert_eq!(leader.peers.connections().quorum, 0);
    cluster.until(&mut [&mut leader], |nodes| nodes[0].peers.quorum.open_sources() == 0);
}

#[test]
fn a_file_that_is_not_there_is_reported_and_ends_the_connection() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, [there, link]) = introduced(&cluster);
    let body = Body::new(10);
    let chunk = body.chunks().remove(0);
    std::fs::remove_file(body.path()).unwrap();
    leader.say(there, Chunk::File(chunk));
    cluster.until(&mut [&mut leader, &mut learner], |nodes| {
        nodes[0].script.closed == [there] && nodes[1].script.closed == [link]
    });
    let [(_, error)] = &leader.script.unreadable[..] else { panic!("{:?}", leader.script.unreadable) };
    assert!(error.ends_with("reading at offset 0: No such file or directory (os error 2)"), "{error}");
}

#[test]
fn closing_while_a_file_is_sent_frees_the_file() {
    let cluster = Cluster::new(2);
    let (mut leader, mut learner, [there, link]) = introduced(&cluster);
    learner.script.deaf = true;
    let body = Body::new(16 * PIECE);
    body.chunks().into_iter().for_each(|chunk| leader.say(there, Chunk::File(chunk)));
    for _ in 0..50 {
        cluster.turn(&mut leader).unwrap();
        cluster.turn(&mut learner).unwrap();
    }
    leader.peers.close(there);
    leader.script.chunks.clear();
    learner.script.deaf = false;
    cluster.until(&mut [&mut leader, &mut learner], |nodes| nodes[1].script.closed == [link]);
    assert!(leader.script.closed.is_empty() && leader.script.unreadable.is_empty());
    leader.ahead += 3000;
    cluster.until(&mut [&mut leader], |nodes| nodes[0].peers.quorum.open_sources() == 0);
}

#[test]
fn who_has_no_ring_reads_a_chunk_from_the_volume_by_its_name() {
    let body = Body::new(PIECE + 5);
    let volume = FsVolume::open(body.dir.path()).unwrap();
    let chunks = body.chunks();
    assert!(chunks[0].read(&volume).unwrap() == body.bytes[..PIECE]);
    assert!(*Chunk::File(chunks[1].clone()).bytes(&volume).unwrap() == body.bytes[PIECE..]);
    let damaged = FileChunk { crc: 1, ..chunks[1].clone() };
    assert!(matches!(damaged.read(&volume), Err(SendFileError::Damaged { offset: 0x10_0000, .. })));
    let short = FileChunk { len: PIECE, ..chunks[1].clone() };
    assert!(matches!(short.read(&volume), Err(SendFileError::Short { found: 4096, .. })));
    let disk = SimDisk::new(1);
    assert!(matches!(chunks[0].read(&disk), Err(SendFileError::Read { offset: 0, .. })));
    disk.create_zeroed("body", 8192).unwrap();
    let zeros = FileChunk { len: 5000, crc: crc32c::crc32c(&[0; 5000]), ..chunks[0].clone() };
    assert_eq!(zeros.read(&disk).unwrap(), [0; 5000]);
}
