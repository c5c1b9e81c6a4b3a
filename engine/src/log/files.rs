//! The directory as recovery, cuts and stops see it: [`Volume`] with a listing at hand and errors that name the
//! file. Blocking; the hot path does not come here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::error::LogError;
use crate::io::Volume;

/// A listing of the directory and the door to it.
pub(crate) struct Files<'v> {
    vol: &'v dyn Volume,
    lengths: BTreeMap<String, u64>,
}

impl<'v> Files<'v> {
    /// Lists the directory.
    pub fn list(vol: &'v dyn Volume) -> Result<Files<'v>, LogError> {
        let list = vol.list().map_err(|source| file_error("listing", directory(vol), source))?;
        Ok(Files { vol, lengths: list.into_iter().map(|entry| (entry.name, entry.len)).collect() })
    }

    pub fn volume(&self) -> &'v dyn Volume {
        self.vol
    }

    pub fn directory(&self) -> PathBuf {
        directory(self.vol)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.vol.path(name)
    }

    /// Names and lengths, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.lengths.iter().map(|(name, &len)| (name.as_str(), len))
    }

    pub fn exists(&self, name: &str) -> bool {
        self.lengths.contains_key(name)
    }

    pub fn len_of(&self, name: &str) -> Option<u64> {
        self.lengths.get(name).copied()
    }

    pub fn read(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>, LogError> {
        read(self.vol, name, offset, len)
    }

    pub fn create(&mut self, name: &str, len: u64) -> Result<(), LogError> {
        create(self.vol, name, len)?;
        self.lengths.insert(name.to_owned(), len);
        Ok(())
    }

    pub fn remove(&mut self, name: &str) -> Result<(), LogError> {
        self.vol.remove(name).map_err(|source| file_error("removing", self.path(name), source))?;
        self.lengths.remove(name);
        Ok(())
    }

    pub fn sync(&self, name: &str) -> Result<(), LogError> {
        sync(self.vol, name)
    }

    pub fn sync_dir(&self) -> Result<(), LogError> {
        sync_dir(self.vol)
    }
}

pub(crate) fn read(vol: &dyn Volume, name: &str, offset: u64, len: usize) -> Result<Vec<u8>, LogError> {
    vol.read_at(name, offset, len).map_err(|source| LogError::Io {
        doing: "reading",
        path: vol.path(name),
        offset,
        len: len as u64,
        source,
    })
}

/// Writes whole blocks, durable when it returns; `doing` begins the error's text.
pub(crate) fn write(
    vol: &dyn Volume,
    doing: &'static str,
    name: &str,
    offset: u64,
    data: &[u8],
) -> Result<(), LogError> {
    let len = data.len() as u64;
    vol.write_at(name, offset, data).map_err(|source| LogError::Io {
        doing,
        path: vol.path(name),
        offset,
        len,
        source,
    })
}

pub(crate) fn create(vol: &dyn Volume, name: &str, len: u64) -> Result<(), LogError> {
    vol.create_zeroed(name, len).map_err(|source| file_error("creating", vol.path(name), source))
}

pub(crate) fn sync(vol: &dyn Volume, name: &str) -> Result<(), LogError> {
    vol.sync_file(name).map_err(|source| file_error("flushing", vol.path(name), source))
}

pub(crate) fn sync_dir(vol: &dyn Volume) -> Result<(), LogError> {
    vol.sync_dir().map_err(|source| file_error("flushing the directory", directory(vol), source))
}

pub(crate) fn file_error(doing: &'static str, path: PathBuf, source: io::Error) -> LogError {
    LogError::File { doing, path, source }
}

/// The directory itself, for messages and for the hot path, which attaches files by path.
pub(crate) fn directory(vol: &dyn Volume) -> PathBuf {
    vol.path("marks").parent().map(Path::to_path_buf).unwrap_or_default()
}
