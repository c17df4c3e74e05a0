//! What can be wrong with the tool's input. Each message names the file and the place in it.

use std::path::PathBuf;

/// A reason to write nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// A file cannot be written.
    #[error("{path}: cannot be written: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    /// The input is no ELF file of the kind that is wanted.
    #[error("{path}: {problem}")]
    Elf { path: PathBuf, problem: String },
    /// A member of an archive cannot be named or stored so.
    #[error("archive member `{name}`: {problem}")]
    Member { name: String, problem: &'static str },
    /// A line of an initramfs manifest is wrong.
    #[error("{path}:{line}: {problem}")]
    Manifest { path: PathBuf, line: usize, problem: String },
    /// The disassembly uses FP or SIMD registers, or shows nothing that could be checked.
    #[error("{0}")]
    Disassembly(String),
}

/// Shorthand for this crate.
pub(crate) type Result<T> = std::result::Result<T, Error>;
