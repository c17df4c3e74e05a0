//! The global notes: bytes that EL2 keeps over the service partition's lives and never reads.
//!
//! A note is replaced whole or not at all: what comes is gathered in a spare buffer, which then changes places with
//! the old one.

use hv_abi::Status;
use hv_abi::call::{NOTE_MAX, NOTES};

#[derive(Clone, Copy, Debug)]
struct Note {
    /// Which buffer holds it: its own, or the one that was spare, and so on.
    buffer: Buffer,
    length: usize,
    version: u64,
}

/// A buffer's number, by its difference to the one that the owner began with. So empty notes are all zero, and
/// the image's file need not hold them.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    moved: usize,
}

impl Buffer {
    const fn number(self, first: usize) -> usize {
        self.moved ^ first
    }

    const fn new(number: usize, first: usize) -> Self {
        Self { moved: number ^ first }
    }
}

/// The notes.
#[derive(Debug)]
pub struct Notes {
    notes: [Note; NOTES],
    buffers: [[u8; NOTE_MAX]; NOTES + 1],
    /// The buffer that holds none; the last at first.
    spare: Buffer,
}

impl Notes {
    /// Empty notes of version 0.
    pub const fn new() -> Self {
        let own = Buffer { moved: 0 };
        let note = Note { buffer: own, length: 0, version: 0 };
        Self { notes: [note; NOTES], buffers: [[0; NOTE_MAX]; NOTES + 1], spare: own }
    }

    fn place(note: u64) -> Result<usize, Status> {
        usize::try_from(note).ok().filter(|note| *note < NOTES).ok_or(Status::InvalidArgument)
    }

    /// The bytes and version of a note.
    ///
    /// # Errors
    /// `InvalidArgument`: there is no such note.
    pub fn get(&self, note: u64) -> Result<(&[u8], u64), Status> {
        let place = Self::place(note)?;
        let note = self.notes[place];
        Ok((&self.buffers[note.buffer.number(place)][..note.length], note.version))
    }

    /// Room for the next version of a note that still has `version`.
    ///
    /// # Errors
    /// `InvalidArgument`: there is no such note, or none is so long. `Conflict`: it has another version.
    pub fn replace(&mut self, note: u64, length: u64, version: u64) -> Result<NewNote<'_>, Status> {
        let note = Self::place(note)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= NOTE_MAX);
        let length = length.ok_or(Status::InvalidArgument)?;
        if self.notes[note].version != version {
            return Err(Status::Conflict);
        }
        Ok(NewNote { notes: self, note, length })
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self::new()
    }
}

/// A version that is being gathered. Dropped, it leaves the old one.
#[derive(Debug)]
pub struct NewNote<'n> {
    notes: &'n mut Notes,
    note: usize,
    length: usize,
}

impl NewNote<'_> {
    /// Where the bytes go.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.notes.buffers[self.notes.spare.number(NOTES)][..self.length]
    }

    /// It holds from now on. Returns its version.
    pub fn finish(self) -> u64 {
        let Self { notes, note: place, length } = self;
        let note = &mut notes.notes[place];
        let (new, old) = (notes.spare.number(NOTES), note.buffer.number(place));
        (note.buffer, notes.spare) = (Buffer::new(new, place), Buffer::new(old, NOTES));
        note.length = length;
        note.version += 1;
        note.version
    }
}

#[cfg(test)]
mod tests;
