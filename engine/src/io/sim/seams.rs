//! [`SimDisk`] as the two seams know it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::image::Image;
use super::names::NameOp;
use super::plan::next_random;
use super::{Completion, Event, InFlight, SimDisk, SimOp};
use crate::io::{AlignedBuf, BLOCK, Disk, FileEntry, FileId, Volume, WriteDone, WriteOp};

impl Disk for SimDisk {
    fn alloc(&mut self, len: usize) -> Arc<AlignedBuf> {
        Arc::new(AlignedBuf::zeroed(len))
    }

    fn attach(&mut self, path: &Path) -> io::Result<FileId> {
        let mut state = self.state();
        state.attempt(SimOp::Attach)?;
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let inode = state.inode(name)?;
        state.attached.push(Some(inode));
        Ok(FileId(state.attached.len() as u32 - 1))
    }

    fn detach(&mut self, file: FileId) {
        self.state().attached[file.0 as usize] = None;
    }

    fn submit(&mut self, op: WriteOp) {
        let mut state = self.state();
        let aligned = op.offset.is_multiple_of(BLOCK as u64) && op.len.is_multiple_of(BLOCK) && op.len > 0;
        assert!(aligned && op.len <= op.buf.len(), "not a direct write: {} at {}", op.len, op.offset);
        let inode = state.attached[op.file.0 as usize].expect("the file is attached");
        state.change();
        let file = state.name_of(inode);
        state.trace.push(Event::Submit { file, offset: op.offset, len: op.len, sync: op.sync });
        let data = Arc::from(&op.buf[..op.len]);
        let WriteOp { offset, sync, tag, .. } = op;
        state.in_flight.push(InFlight { inode, offset, data, sync, tag, buf: Some(op.buf) });
    }

    fn reap(&mut self, out: &mut Vec<WriteDone>) {
        let mut state = self.state();
        match state.completion {
            Completion::Manual => {}
            Completion::InOrder => {
                while !state.in_flight.is_empty() {
                    state.finish(0);
                }
            }
            Completion::Seeded => {
                let waiting = state.in_flight.len() as u64;
                let finish = if waiting == 0 { 0 } else { 1 + next_random(&mut state.random) % waiting };
                for _ in 0..finish {
                    let i = next_random(&mut state.random) % state.in_flight.len() as u64;
                    state.finish(i as usize);
                }
            }
        }
        out.append(&mut state.done);
    }
}

impl Volume for SimDisk {
    fn path(&self, name: &str) -> PathBuf {
        Path::new("sim").join(name)
    }

    fn list(&self) -> io::Result<Vec<FileEntry>> {
        let mut state = self.state();
        state.attempt(SimOp::Read)?;
        let entry = |(name, &inode): (&String, &usize)| FileEntry {
            name: name.clone(),
            len: state.images[inode].len() as u64,
        };
        Ok(state.names.live.iter().map(entry).collect())
    }

    fn read_at(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.attempt(SimOp::Read)?;
        let inode = state.inode(name)?;
        Ok(state.images[inode].read(offset, len))
    }

    fn write_at(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(name)?;
        let aligned = offset.is_multiple_of(BLOCK as u64) && data.len().is_multiple_of(BLOCK);
        assert!(aligned, "not a direct write: {} at {offset}", data.len());
        // Two changes, as for a submitted write: a cut before it, in the middle of it and after it differ.
        state.change();
        state.in_flight.push(InFlight {
            inode,
            offset,
            data: Arc::from(data),
            sync: true,
            tag: 0,
            buf: None,
        });
        state.change();
        state.in_flight.pop();
        state.trace.push(Event::Write { file: name.to_owned(), offset, len: data.len() });
        state.store(inode, offset, data, true)
    }

    fn append(&self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(name)?;
        let aligned = offset.is_multiple_of(BLOCK as u64) && data.len().is_multiple_of(BLOCK);
        assert!(aligned, "not a direct write: {} at {offset}", data.len());
        state.change();
        state.trace.push(Event::Write { file: name.to_owned(), offset, len: data.len() });
        let end = offset as usize + data.len();
        let longer = end.saturating_sub(state.images[inode].len()) as u64;
        if state.used().saturating_add(longer) > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.images[inode].lengthen(end);
        state.store(inode, offset, data, false)
    }

    fn create_zeroed(&self, name: &str, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if state.names.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change();
        let used = state.used();
        let mut result = state.attempt(SimOp::Create);
        let mut got = if result.is_ok() { len } else { len / 2 };
        if result.is_ok() && used.saturating_add(len) > state.capacity {
            got = state.capacity.saturating_sub(used);
            result = Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.images.len();
        state.images.push(Image::zeroed(got as usize));
        state.names.apply(NameOp::Create { name: name.to_owned(), inode });
        state.trace.push(Event::Create(name.to_owned(), got));
        result
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(name)?;
        state.change();
        state.trace.push(Event::Sync(name.to_owned()));
        let result = state.attempt(SimOp::Sync);
        match &result {
            Ok(()) => state.images[inode].flush(),
            Err(_) => state.images[inode].fail_flush(),
        }
        result
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.change();
        state.trace.push(Event::SyncDir);
        state.attempt(SimOp::SyncDir)?;
        state.names.sync();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.inode(from)?;
        if state.names.live.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change();
        state.attempt(SimOp::Rename)?;
        state.names.apply(NameOp::Rename { from: from.to_owned(), to: to.to_owned() });
        state.trace.push(Event::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.inode(name)?;
        state.change();
        state.attempt(SimOp::Remove)?;
        state.names.apply(NameOp::Remove { name: name.to_owned() });
        state.trace.push(Event::Remove(name.to_owned()));
        Ok(())
    }
}
