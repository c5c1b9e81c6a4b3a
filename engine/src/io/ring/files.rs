//! The ring as a [`Disk`]: O_DIRECT writes through registered files and buffers where the kernel grants them.
//!
//! A write holds its buffer, its file stays open, until the kernel has answered. Every write reports its own
//! result, and nothing here ever repeats one: what a failed write left behind is unknown.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use super::Ring;
use super::piece_buffers::REGISTERED;
use super::queue::{Cqe, Kind, Queue, user_data};
use super::slots::{Key, Slots};
use crate::io::aligned::{Home, Shelf};
use crate::io::{AlignedBuf, BLOCK, Disk, FileId, WriteDone, WriteOp};

/// Entries of the table of registered files: log segments and the mark files of one node.
const FILE_TABLE: u32 = 64;
/// Entries of the table of registered buffers that are for writes; those for pieces of files follow.
pub(super) const BUFFER_TABLE: u16 = 64;

/// All that the ring keeps for its files.
pub(super) struct Files {
    attached: Slots<Attached>,
    writes: Slots<Write>,
    done: Vec<WriteDone>,
    file_table: bool,
    buffers: WriteBuffers,
}

struct Attached {
    file: File,
    /// Whether the file is in the table of registered files, at its slot's index.
    fixed: bool,
    /// Length at the time of attaching, in bytes; `None` for what is not a regular file.
    len: Option<u64>,
    in_flight: usize,
    detached: bool,
}

struct Write {
    op: WriteOp,
    file: Key,
}

/// The table of registered buffers. They are registered once and come back to the shelf when dropped.
struct WriteBuffers {
    table: bool,
    /// Address of the buffer registered at each index.
    registered: Vec<usize>,
    shelf: Arc<Shelf>,
    limit: usize,
    registered_bytes: usize,
    /// Whether a buffer was handed out unregistered.
    overflowed: bool,
}

impl Files {
    pub(super) fn new(queue: &Queue, registered_bytes: usize, file_table: bool) -> Files {
        let submitter = queue.ring().submitter();
        let file_table = file_table && submitter.register_files_sparse(FILE_TABLE).is_ok();
        let entries = u32::from(BUFFER_TABLE) + REGISTERED as u32;
        let table = registered_bytes > 0 && submitter.register_buffers_sparse(entries).is_ok();
        let buffers = WriteBuffers {
            table,
            registered: Vec::new(),
            shelf: Arc::default(),
            limit: registered_bytes,
            registered_bytes: 0,
            overflowed: false,
        };
        Files { attached: Slots::new(), writes: Slots::new(), done: Vec::new(), file_table, buffers }
    }

    pub(super) fn has_file_table(&self) -> bool {
        self.file_table
    }

    /// Whether there is a table of registered buffers.
    pub(super) fn has_buffer_table(&self) -> bool {
        self.buffers.table
    }

    /// Bytes of registered buffers, and whether there are unregistered ones.
    pub(super) fn buffer_bytes(&self) -> (usize, bool) {
        (self.buffers.registered_bytes, self.buffers.overflowed)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.writes.len()
    }

    pub(super) fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    fn open(&mut self, queue: &Queue, path: &Path) -> io::Result<FileId> {
        let open = |flags: i32| OpenOptions::new().write(true).custom_flags(flags).open(path);
        let file = match open(libc::O_DIRECT | libc::O_NOFOLLOW) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                tracing::warn!(path = %path.display(), "no O_DIRECT on this file system, writing through the cache");
                open(libc::O_NOFOLLOW)?
            }
            other => other?,
        };
        let metadata = file.metadata()?;
        let len = metadata.is_file().then_some(metadata.len());
        self.keep(queue, file, len)
    }

    /// Puts a file into a slot and, if there is one, into the kernel's table.
    fn keep(&mut self, queue: &Queue, file: File, len: Option<u64>) -> io::Result<FileId> {
        let descriptor = file.as_raw_fd();
        let key = self.attached.insert(Attached { file, fixed: false, len, in_flight: 0, detached: false });
        let Some(id) = file_id(key) else {
            self.attached.remove(key);
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        };
        let fixed = self.file_table
            && key.index < FILE_TABLE
            && queue.ring().submitter().register_files_update(key.index, &[descriptor]).is_ok();
        if let Some(entry) = self.attached.get_mut(key) {
            entry.fixed = fixed;
        }
        Ok(id)
    }

    fn detach(&mut self, queue: &Queue, id: FileId) {
        let Some(key) = self.find(id) else { return };
        if let Some(entry) = self.attached.get_mut(key) {
            entry.detached = true;
        }
        self.close_if_idle(queue, key);
    }

    fn close_if_idle(&mut self, queue: &Queue, key: Key) {
        let idle = |entry: &Attached| entry.detached && entry.in_flight == 0;
        if !self.attached.get(key).is_some_and(idle) {
            return;
        }
        if let Some(entry) = self.attached.remove(key)
            && entry.fixed
            && let Err(error) = queue.ring().submitter().register_files_update(key.index, &[-1])
        {
            // The next file at this index replaces the entry.
            tracing::warn!(%error, "a closed log file stays in the ring's table");
        }
    }

    fn find(&self, id: FileId) -> Option<Key> {
        let key = self.attached.key_at(id.0 & 0xffff)?;
        (file_id(key) == Some(id)).then_some(key)
    }

    /// Checks the operation against its file. `Ok` is where to write.
    fn admit(&mut self, op: &WriteOp) -> io::Result<(Key, Target)> {
        let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let (offset, len, block) = (op.offset, op.len as u64, BLOCK as u64);
        if len == 0 || !len.is_multiple_of(block) || !offset.is_multiple_of(block) || op.len > op.buf.len() {
            let held = op.buf.len();
            return invalid(format!(
                "{len} bytes at offset {offset} of a buffer of {held}: not whole blocks of it"
            ));
        }
        let Some(key) = self.find(op.file) else { return Err(io::Error::from_raw_os_error(libc::EBADF)) };
        let Some(entry) = self.attached.get_mut(key) else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        if entry.detached {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let end = offset.saturating_add(len);
        if entry.len.is_some_and(|known| end > known) {
            // It may have grown since it was attached.
            let now = entry.file.metadata()?.len();
            entry.len = Some(now);
            if end > now {
                return invalid(format!(
                    "{len} bytes at offset {offset} reach past the end of a file of {now} bytes"
                ));
            }
        }
        entry.in_flight += 1;
        let target =
            if entry.fixed { Target::Fixed(key.index) } else { Target::Plain(entry.file.as_raw_fd()) };
        Ok((key, target))
    }

    fn submit(&mut self, queue: &mut Queue, op: WriteOp) {
        let (file, target) = match self.admit(&op) {
            Ok(admitted) => admitted,
            Err(error) => return self.done.push(WriteDone { tag: op.tag, result: Err(error) }),
        };
        let entry = self.buffers.write(target, &op);
        let key = self.writes.insert(Write { op, file });
        // SAFETY: the slot holds a reference to the buffer, so that nobody can write to it, and counts in
        // the file's `in_flight`, so that it stays open, until the completion. `admit` checked the length.
        unsafe { queue.push(entry.user_data(user_data(Kind::Write, key))) }
    }

    pub(super) fn on_write(&mut self, queue: &Queue, cqe: Cqe) {
        let Some(Write { op, file }) = self.writes.remove(cqe.key) else { return };
        if let Some(entry) = self.attached.get_mut(file) {
            entry.in_flight -= 1;
        }
        self.close_if_idle(queue, file);
        let result = match cqe.checked() {
            Ok(written) if written == op.len => Ok(()),
            Ok(written) => Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("only {written} of {} bytes were written", op.len),
            )),
            Err(error) => Err(error),
        };
        self.done.push(WriteDone { tag: op.tag, result });
    }

    /// Leaks the buffers of writes in flight, for a ring that cannot wait for them.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::replace(&mut self.writes, Slots::new()));
    }
}

enum Target {
    Fixed(u32),
    Plain(i32),
}

/// A file's handle: generation in the high 16 bits, index in the low 16.
fn file_id(key: Key) -> Option<FileId> {
    (key.index <= 0xffff).then_some(FileId(key.generation << 16 | key.index))
}

impl WriteBuffers {
    fn alloc(&mut self, queue: &Queue, len: usize) -> AlignedBuf {
        if let Some(mut buf) = self.shelf.take(len) {
            buf.fill(0);
            return buf;
        }
        let mut buf = AlignedBuf::zeroed(len);
        let index = self.registered.len() as u16;
        let fits = self.table && index < BUFFER_TABLE && self.registered_bytes + len <= self.limit;
        let vector = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: len };
        // SAFETY: the memory is valid now, which is when the kernel pins its pages. When the buffer is
        // dropped it goes to the shelf instead of the allocator while the ring lives.
        let update =
            || unsafe { queue.ring().submitter().register_buffers_update(index.into(), &[vector], None) };
        if !fits || update().is_err() {
            self.overflowed = true;
            return buf;
        }
        self.registered_bytes += len;
        self.registered.push(buf.as_ptr() as usize);
        buf.set_home(Home::new(index, &self.shelf));
        buf
    }

    fn write(&self, target: Target, op: &WriteOp) -> squeue::Entry {
        let (address, len) = (op.buf.as_ptr(), op.len as u32);
        let flags = if op.sync { libc::RWF_DSYNC } else { 0 };
        // A buffer may come from another ring, where its index means something else.
        let index = op.buf.registered_index();
        let index = index.filter(|&i| self.registered.get(usize::from(i)) == Some(&(address as usize)));
        match index {
            Some(index) => match target {
                Target::Fixed(file) => opcode::WriteFixed::new(types::Fixed(file), address, len, index),
                Target::Plain(file) => opcode::WriteFixed::new(types::Fd(file), address, len, index),
            }
            .offset(op.offset)
            .rw_flags(flags)
            .build(),
            None => match target {
                Target::Fixed(file) => opcode::Write::new(types::Fixed(file), address, len),
                Target::Plain(file) => opcode::Write::new(types::Fd(file), address, len),
            }
            .offset(op.offset)
            .rw_flags(flags)
            .build(),
        }
    }
}

impl Ring {
    /// Keeps `file` open for as long as the kernel works for this ring, even after the end of the process.
    ///
    /// After a SIGKILL the kernel takes a ring down in its own time: writes that were in flight still reach the
    /// disk, and listening sockets stay bound. The table of registered files goes last, so whoever waits for the
    /// lock on a file held here has waited for all of that. Without such a table the file is only held by the process;
    /// a warning says so.
    pub fn hold(&mut self, file: File) -> io::Result<()> {
        let id = self.files.keep(&self.queue, file, None)?;
        let kept = self.files.find(id).and_then(|key| self.files.attached.get_mut(key));
        if !kept.is_some_and(|entry| entry.fixed) {
            tracing::warn!(
                "the ring has no table of registered files, so the lock on the data directory ends with the process: \
                 after a kill, wait until its writes have ended (a second or so) before starting another node there"
            );
        }
        Ok(())
    }
}

impl Disk for Ring {
    fn alloc(&mut self, len: usize) -> Arc<AlignedBuf> {
        Arc::new(self.files.buffers.alloc(&self.queue, len))
    }

    fn attach(&mut self, path: &Path) -> io::Result<FileId> {
        self.files.open(&self.queue, path)
    }

    fn detach(&mut self, file: FileId) {
        self.files.detach(&self.queue, file);
    }

    fn submit(&mut self, op: WriteOp) {
        self.files.submit(&mut self.queue, op);
    }

    /// Hands out what [`Ring::next_completion`] has set aside: call that until it is empty first.
    fn reap(&mut self, out: &mut Vec<WriteDone>) {
        out.append(&mut self.files.done);
    }
}
