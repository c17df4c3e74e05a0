//! Whole files in and out. A result appears under its name only when it is complete.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// A file in memory that still knows its name, for messages.
pub(crate) struct Input {
    /// Where it came from.
    pub(crate) path: PathBuf,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
}

impl Input {
    /// Reads the whole file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self { path: path.to_owned(), bytes }),
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    /// An error about this file as an ELF.
    pub(crate) fn elf_error(&self, problem: impl Into<String>) -> Error {
        Error::Elf { path: self.path.clone(), problem: problem.into() }
    }
}

/// Writes `bytes` to `path` by way of a neighbor, so that an interrupted run leaves no half file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    std::fs::write(&partial, bytes)
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|source| Error::Write { path: path.to_owned(), source })
}
