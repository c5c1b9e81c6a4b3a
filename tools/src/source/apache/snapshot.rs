//! Reads a snapshot of Apache's, plain or compressed, in one pass and constant memory, and says what is damaged.
//!
//! ```text
//! | magic "ZKSN" | version | dbid | sessions, ACLs, nodes, the path "/" | seals and trailers, see `seals` |
//! 0              4         8      16                                                            big-endian
//! ```
//!
//! One checksum covers all of the nodes, so that damage in them has no narrower range than all of them; where the
//! bytes stop to make sense is told beside. In compressed files nothing is narrower than the file. Whether the nodes
//! have the digest that stands behind them is no matter of damage: see `Contents::is_exact`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringkeeper_engine::id::Zxid;
use ringkeeper_engine::inspect::{Body, Item, NodeItem};
use ringkeeper_engine::snapshot::SnapshotError;
use ringkeeper_engine::tree::digest;
use simd_adler32::Adler32;

use super::codec::Codec;
use super::damage::{Damage, DamageKind, io_error};
use super::seals::{self, SealFault, Trailer};
use super::window::{self, Window};
use crate::error::InspectError;
use crate::out::Progress;
use crate::source::ItemSink;

/// Magic, version 2, database -1: always the same.
pub(super) const HEADER: [u8; 16] = *b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff";
/// An item that is longer than this, in bytes, is not believed.
const LONGEST_ITEM: usize = 264 << 20;
/// Bytes that are looked at once for zeros.
const PIECE: usize = 64 << 10;

/// What is in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Bytes before compression.
    pub bytes: u64,
    /// Sessions.
    pub sessions: u64,
    /// Access control lists.
    pub acls: u64,
    /// Nodes.
    pub nodes: u64,
    /// The digest of the nodes.
    pub digest: u64,
    /// What the trailers say.
    pub trailer: Trailer,
    /// What is damaged, in order.
    pub damage: Vec<Damage>,
}

impl Contents {
    /// Whether it is certain that no transaction was applied while the snapshot of this zxid was written. The zxid
    /// beside the digest does not prove that: the reference changes nodes before it notes what it applied.
    pub fn is_exact(&self, zxid: Zxid) -> bool {
        self.trailer.digest == Some((zxid, self.digest)) && zxid != Zxid::ZERO
    }
}

/// Why a pass ends early.
enum Stop {
    Bytes(SnapshotError),
    TooLong,
    Io(io::Error),
    Sink(InspectError),
}

impl From<SnapshotError> for Stop {
    fn from(error: SnapshotError) -> Stop {
        Stop::Bytes(error)
    }
}

/// Where the nodes end.
enum Nodes {
    /// Here.
    End(u64),
    /// They cannot be followed beyond the item that begins here.
    Broken { at: u64, why: Why },
}

/// Why items cannot be followed.
enum Why {
    /// The bytes are at their end.
    Unfinished,
    /// They make no sense.
    Nonsense(String),
}

/// Takes the bytes between header and seals, piece by piece.
pub(super) type RawSink<'a> = dyn FnMut(&[u8]) -> Result<(), InspectError> + 'a;

/// Reads the file from front to back. Damage is in the result; an error is of the file system or of a sink.
pub(super) fn read(
    path: &Path,
    codec: Codec,
    progress: &Progress,
    items: &mut ItemSink<'_>,
    raw: &mut RawSink<'_>,
) -> Result<Contents, InspectError> {
    let (file, file_len) = window::open(path)?;
    let read = Arc::new(AtomicU64::new(0));
    let counted = Counted { file: file.try_clone().map_err(io_error("opening", path))?, read: read.clone() };
    // How long it is when expanded is not known.
    let expanded = if codec == Codec::Plain { file_len } else { u64::MAX };
    let window = Window::new(codec.reader(counted), expanded);
    let mut pass =
        Pass { window, given: 0, adler: Adler32::new(), tail: Vec::new(), raw, read, told: 0, progress };
    let mut contents = Contents::default();
    match pass.run(&file, file_len, codec, items, &mut contents) {
        Ok(()) => {}
        Err(Stop::Io(error)) if codec != Codec::Plain && is_of_bytes(&error) => {
            let compressed_at = pass.read.load(Ordering::Relaxed).min(file_len);
            let what = DamageKind::Compression { compressed_at, why: error.to_string() };
            contents.damage.push(Damage::of(0..file_len, what));
        }
        Err(Stop::Io(error)) => return Err(io_error("reading", path)(error)),
        Err(Stop::Sink(error)) => return Err(error),
        Err(Stop::Bytes(_) | Stop::TooLong) => unreachable!("the pass makes damage of them"),
    }
    pass.tell();
    if codec != Codec::Plain {
        contents.damage.truncate(1);
        contents.damage.iter_mut().for_each(|damage| damage.range = 0..file_len);
    }
    Ok(contents)
}

/// What decoders say of bytes that they cannot expand.
fn is_of_bytes(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Counts what is read of the file itself.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(out)?;
        self.read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// One pass over a file.
struct Pass<'p, 's> {
    window: Window,
    /// Bytes of the window that were given to who takes items apart.
    given: usize,
    /// Of everything before the window but `tail`.
    adler: Adler32,
    /// The last bytes before the window, at least as many as can stand behind the nodes, unless there are fewer.
    tail: Vec<u8>,
    raw: &'p mut RawSink<'s>,
    /// Bytes of the file that were read, and told to `progress`.
    read: Arc<AtomicU64>,
    told: u64,
    progress: &'p Progress,
}

impl Pass<'_, '_> {
    fn run(
        &mut self,
        file: &File,
        file_len: u64,
        codec: Codec,
        items: &mut ItemSink<'_>,
        contents: &mut Contents,
    ) -> Result<(), Stop> {
        let header_len = HEADER.len() as u64;
        if !self.window.fill(HEADER.len()).map_err(Stop::Io)? {
            contents.bytes = self.window.bytes().len() as u64;
            contents.damage.push(Damage::of(0..contents.bytes, DamageKind::Cut));
            return Ok(());
        }
        if self.window.bytes()[..HEADER.len()] != HEADER {
            contents.damage.push(Damage::of(0..header_len, DamageKind::Header));
        }
        // It is always the same: so the seals still tell of the rest if it is damaged.
        self.adler.write(&HEADER);
        self.window.advance(HEADER.len());
        match self.nodes(items, contents)? {
            Nodes::End(end) => {
                self.take((end - self.window.offset()) as usize)?;
                self.window.fill(seals::MOST + 1).map_err(Stop::Io)?;
                if seals::may_be(self.adler(), self.window.bytes()) {
                    return self.behind(end, contents);
                }
                if self.window.bytes().len() < seals::ALL {
                    contents.bytes = end + self.window.bytes().len() as u64;
                    contents.damage.push(Damage::of(end..contents.bytes, DamageKind::Cut));
                    return Ok(());
                }
                let why = nonsense("the nodes end here");
                self.broken(file, file_len, codec, end, why, contents)
            }
            Nodes::Broken { at, why } => self.broken(file, file_len, codec, at, why, contents),
        }
    }

    /// Follows the items to the end of the nodes.
    fn nodes(&mut self, items: &mut ItemSink<'_>, contents: &mut Contents) -> Result<Nodes, Stop> {
        let mut body = Body::new(|held: &mut Vec<u8>| self.more(held));
        loop {
            let at = HEADER.len() as u64 + body.position();
            let item = match body.next() {
                Ok(Some(item)) => item,
                Ok(None) if contents.nodes > 0 => {
                    return Ok(Nodes::End(HEADER.len() as u64 + body.position()));
                }
                Ok(None) => return Ok(Nodes::Broken { at, why: nonsense("there is no root node") }),
                Err(Stop::Bytes(SnapshotError::Unfinished { .. })) => {
                    return Ok(Nodes::Broken { at, why: Why::Unfinished });
                }
                Err(Stop::Bytes(error)) => {
                    return Ok(Nodes::Broken { at, why: nonsense(&error.to_string()) });
                }
                Err(Stop::TooLong) => return Ok(Nodes::Broken { at, why: nonsense("an item is too long") }),
                Err(other) => return Err(other),
            };
            match item {
                Item::Session { .. } => contents.sessions += 1,
                Item::Acl { .. } => contents.acls += 1,
                Item::Node(node) => {
                    let is_root = node.path.is_empty();
                    if is_root != (contents.nodes == 0) || !is_root && !node.path.starts_with('/') {
                        let why = nonsense(&format!("no node can be called {:?} there", node.path));
                        return Ok(Nodes::Broken { at, why });
                    }
                    contents.nodes += 1;
                    contents.digest = contents.digest.wrapping_add(hash(&node));
                }
            }
            items(item).map_err(Stop::Sink)?;
        }
    }

    /// Gives the next piece. That there is need of it says that the one before belongs to the nodes altogether.
    fn more(&mut self, held: &mut Vec<u8>) -> Result<bool, Stop> {
        if held.len() > LONGEST_ITEM {
            return Err(Stop::TooLong);
        }
        let given = std::mem::take(&mut self.given);
        self.take(given)?;
        self.tell();
        let more = self.window.fill(1).map_err(Stop::Io)?;
        held.extend_from_slice(self.window.bytes());
        self.given = self.window.bytes().len();
        Ok(more)
    }

    /// So many bytes of the window belong to the nodes.
    fn take(&mut self, n: usize) -> Result<(), Stop> {
        (self.raw)(&self.window.bytes()[..n]).map_err(Stop::Sink)?;
        self.pass_over(n);
        Ok(())
    }

    /// Counts so many bytes of the window in, and leaves them behind.
    fn pass_over(&mut self, n: usize) {
        let bytes = &self.window.bytes()[..n];
        if n > seals::MOST {
            let (sealed, tail) = bytes.split_at(n - seals::MOST);
            self.adler.write(&self.tail);
            self.adler.write(sealed);
            self.tail.clear();
            self.tail.extend_from_slice(tail);
        } else {
            self.tail.extend_from_slice(bytes);
            let needless = self.tail.len().saturating_sub(seals::MOST);
            self.adler.write(&self.tail[..needless]);
            self.tail.drain(..needless);
        }
        self.window.advance(n);
    }

    /// The checksum of everything before the window.
    fn adler(&self) -> u32 {
        let mut adler = self.adler.clone();
        adler.write(&self.tail);
        adler.finish()
    }

    fn tell(&mut self) {
        let read = self.read.load(Ordering::Relaxed);
        self.progress.advance(read - self.told);
        self.told = read;
    }

    /// Judges what stands behind the nodes, which end at `end`.
    fn behind(&mut self, end: u64, contents: &mut Contents) -> Result<(), Stop> {
        let rest = self.window.bytes();
        let (trailer, faults) = seals::judge(self.adler(), &rest[..rest.len().min(seals::MOST)]);
        let len = rest.len();
        self.window.advance(len);
        self.skip()?;
        contents.bytes = self.window.offset();
        contents.trailer = trailer;
        for fault in faults {
            let mut damage = place(fault, end);
            if len > seals::MOST && damage.range.end == end + seals::MOST as u64 {
                damage.range.end = contents.bytes;
            }
            contents.damage.push(damage);
        }
        Ok(())
    }

    /// Reads to the end of the file.
    fn skip(&mut self) -> Result<(), Stop> {
        self.window.advance_to(u64::MAX).map_err(Stop::Io)?;
        self.tell();
        Ok(())
    }

    /// Looks for the end of nodes that make no sense from `at` on, to say how much of the file is in doubt.
    fn broken(
        &mut self,
        file: &File,
        file_len: u64,
        codec: Codec,
        at: u64,
        why: Why,
        contents: &mut Contents,
    ) -> Result<(), Stop> {
        while self.window.fill(1).map_err(Stop::Io)? {
            self.pass_over(self.window.bytes().len());
            self.tell();
        }
        let tail = &self.tail[..];
        contents.bytes = self.window.offset();
        if let Some(behind) = seals::find(tail) {
            let (of_nodes, rest) = tail.split_at(tail.len() - behind);
            let mut adler = self.adler.clone();
            adler.write(of_nodes);
            let (trailer, faults) = seals::judge(adler.finish(), rest);
            let end = contents.bytes - behind as u64;
            contents.trailer = trailer;
            let why = match why {
                Why::Unfinished => "an item does not end".into(),
                Why::Nonsense(why) => why,
            };
            contents.damage.push(Damage::of(HEADER.len() as u64..end, DamageKind::Structure { at, why }));
            let behind = faults.into_iter().filter(|fault| !matches!(fault, SealFault::Body { .. }));
            contents.damage.extend(behind.map(|fault| place(fault, end)));
            return Ok(());
        }
        // Numbers of nodes end in zeros too: these are no reason to doubt that the file was cut.
        let nonsense = codec == Codec::Plain && matches!(why, Why::Nonsense(_));
        let zeros = if nonsense { zeros_from(file, file_len).map_err(Stop::Io)? } else { file_len };
        contents.damage.push(if zeros < file_len {
            Damage::of(zeros..file_len, DamageKind::Zeroed)
        } else {
            Damage::of(at.min(contents.bytes)..contents.bytes, DamageKind::Cut)
        });
        Ok(())
    }
}

fn nonsense(why: &str) -> Why {
    Why::Nonsense(why.to_owned())
}

/// From where on the file has nothing but zeros.
fn zeros_from(file: &File, len: u64) -> io::Result<u64> {
    let mut end = len;
    let mut buf = vec![0; PIECE];
    while end > 0 {
        let start = end.saturating_sub(PIECE as u64);
        let piece = &mut buf[..(end - start) as usize];
        file.read_exact_at(piece, start)?;
        if let Some(last) = piece.iter().rposition(|&byte| byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// What a node adds to the digest.
fn hash(node: &NodeItem<'_>) -> u64 {
    if digest::excluded(node.path) {
        return 0;
    }
    digest::node_hash(digest::path_data_crc(node.path, node.data), &node.stat)
}

/// A fault of the seals as damage of the file, in which they begin at `end`.
fn place(fault: SealFault, end: u64) -> Damage {
    match fault {
        SealFault::Body { stored, found, upto } => {
            Damage::of(HEADER.len() as u64..end + upto as u64, DamageKind::Checksum { stored, found })
        }
        SealFault::Behind(range, what) => Damage::of(end + range.start as u64..end + range.end as u64, what),
    }
}
