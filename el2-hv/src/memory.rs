//! EL2's memory at large: frames, the memory table of `hv info`, and notes.

use hv_abi::Status;
use hv_abi::call::{NOTE_MAX, NOTES};
use hv_arch::frames::Frames;
use hv_arch::lock::{Mutex, MutexGuard};
use hv_core::frames::Owner;

use crate::FRAMES;

/// All of RAM, locked.
pub fn frames() -> MutexGuard<'static, Frames> {
    match FRAMES.get() {
        Some(frames) => Mutex::lock(frames),
        None => panic!("RAM is not described yet"),
    }
}

/// Bytes that `owner` has.
pub fn bytes_of(owner: Owner) -> u64 {
    frames().table().bytes_of(owner)
}

/// A global note: bytes that EL2 keeps over the service partition's lives and never reads.
struct Note {
    bytes: [u8; NOTE_MAX],
    length: usize,
    version: u64,
}

/// The global notes.
pub struct Notes {
    notes: [Note; NOTES],
}

impl Notes {
    /// Empty notes of version 0.
    pub const fn new() -> Self {
        Self { notes: [const { Note { bytes: [0; NOTE_MAX], length: 0, version: 0 } }; NOTES] }
    }

    /// The bytes and version of a note.
    pub fn get(&self, note: u64) -> Result<(&[u8], u64), Status> {
        let note = usize::try_from(note).ok().and_then(|note| self.notes.get(note)).ok_or(Status::InvalidArgument)?;
        Ok((&note.bytes[..note.length], note.version))
    }

    /// Room for a new version of a note that still has `version`.
    pub fn replace(&mut self, note: u64, length: u64, version: u64) -> Result<NewNote<'_>, Status> {
        let note =
            usize::try_from(note).ok().and_then(|note| self.notes.get_mut(note)).ok_or(Status::InvalidArgument)?;
        let length =
            usize::try_from(length).ok().filter(|length| *length <= NOTE_MAX).ok_or(Status::InvalidArgument)?;
        if note.version != version {
            return Err(Status::Conflict);
        }
        Ok(NewNote { note, length })
    }
}

/// A note that is being replaced.
pub struct NewNote<'n> {
    note: &'n mut Note,
    length: usize,
}

impl NewNote<'_> {
    /// Where the bytes go.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.note.bytes[..self.length]
    }

    /// The new version holds from now on.
    pub fn finish(self) -> u64 {
        self.note.length = self.length;
        self.note.version += 1;
        self.note.version
    }
}
