//! What outlives a life of the service partition, in EL2's global notes.
//!
//! Note 0 holds the specs that `VmCreate` made, note 1 how VMs ended, note 2 until when they are to give memory up, note 3
//! which disks have grown. All are postcard, replaced whole by compare-and-set. They are read when they are asked for and never kept.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use hv_abi::Status;
use hv_abi::call::NOTE_MAX;
use hv_abi::message::{VmSpec, decode, encode};
use hv_abi::record::EndReason;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::hypervisor::Hypervisor;

/// Note of created specs: a `Vec<VmSpec>`.
const SPECS: u64 = 0;
/// Note of ends: a `Vec<LastEnd>`, oldest first.
pub const ENDS: u64 = 1;
/// Note of memory that VMs are to give up: a `Vec<Target>`.
const TARGETS: u64 = 2;
/// Note of disks that have grown: a `Vec<Grown>`.
const GROWN: u64 = 3;
/// Ends that are kept; the oldest gives way.
const ENDS_MAX: usize = 64;
/// How often a change is tried against others that change the note meanwhile.
const TRIES: u32 = 8;

/// How a VM's last life ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastEnd {
    /// The VM.
    pub name: String,
    /// An `EndReason`'s number.
    pub reason: u32,
    /// Nanoseconds from start to end.
    pub uptime_ns: u64,
    /// The life that ended, as a `VmHandle`.
    pub vm: u64,
    /// Times that it was started again by itself since somebody last started it.
    pub restarts: u32,
    /// The last of them that followed short lives in a row.
    pub in_row: u32,
    /// When its next life is to begin, as a count; `None` where it is not, or has begun.
    pub due: Option<u64>,
}

/// What a VM was asked for by its balloon. How much that is EL2 knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The VM.
    pub name: String,
    /// Its life, as a `VmHandle`.
    pub vm: u64,
    /// Bytes that it was to have before.
    pub before: u64,
    /// Until when, as a count; `None` where it has all time, or the time is over.
    pub due: Option<u64>,
    /// It was not there in time.
    pub missed: bool,
}

/// A disk of the description that has grown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grown {
    /// The VM.
    pub vm: String,
    /// The disk.
    pub disk: String,
    /// Its sectors; 0 is all up to the drive's end.
    pub sectors: u64,
}

impl LastEnd {
    /// How, without the name: "powered off after 12.345 s".
    pub fn how(&self) -> String {
        let millis = self.uptime_ns / 1_000_000;
        let (seconds, millis) = (millis / 1000, millis % 1000);
        match EndReason::from_number(self.reason) {
            Some(reason) => format!("{reason} after {seconds}.{millis:03} s"),
            None => format!("reason {} after {seconds}.{millis:03} s", self.reason),
        }
    }
}

impl core::fmt::Display for LastEnd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "vm {:?}: {}", self.name, self.how())
    }
}

/// The created specs.
///
/// # Errors
/// EL2's, or [`Error::Note`].
pub fn created<H: Hypervisor>(hypervisor: &mut H) -> Result<Vec<VmSpec>, Error> {
    read(hypervisor, SPECS).map(|(specs, _)| specs)
}

/// How VMs ended.
///
/// # Errors
/// EL2's, or [`Error::Note`].
pub fn ends<H: Hypervisor>(hypervisor: &mut H) -> Result<Vec<LastEnd>, Error> {
    read(hypervisor, ENDS).map(|(ends, _)| ends)
}

/// How `name` ended last, where that is known.
///
/// # Errors
/// EL2's, or [`Error::Note`].
pub fn last_end<H: Hypervisor>(hypervisor: &mut H, name: &str) -> Result<Option<LastEnd>, Error> {
    Ok(ends(hypervisor)?.into_iter().find(|end| end.name == name))
}

/// Changes what is known of how `name` ended last, where anything is.
///
/// # Errors
/// EL2's, or [`Error::Note`].
pub fn change_end<H: Hypervisor>(
    hypervisor: &mut H,
    name: &str,
    mut edit: impl FnMut(&mut LastEnd),
) -> Result<(), Error> {
    change(hypervisor, ENDS, |ends: &mut Vec<LastEnd>| {
        ends.iter_mut().filter(|known| known.name == name).for_each(&mut edit);
        Ok(())
    })
}

/// Adds a created spec.
///
/// # Errors
/// [`Error::Exists`], EL2's, [`Error::Note`] or [`Error::NoteFull`].
pub fn add_created<H: Hypervisor>(hypervisor: &mut H, spec: &VmSpec) -> Result<(), Error> {
    change(hypervisor, SPECS, |specs: &mut Vec<VmSpec>| {
        if specs.iter().any(|known| known.name == spec.name) {
            return Err(Error::Exists(spec.name.clone()));
        }
        specs.push(spec.clone());
        Ok(())
    })
}

/// Changes a created spec, where there is one of that name.
///
/// # Errors
/// EL2's, [`Error::Note`] or [`Error::NoteFull`].
pub fn change_created<H: Hypervisor>(
    hypervisor: &mut H,
    name: &str,
    mut edit: impl FnMut(&mut VmSpec),
) -> Result<(), Error> {
    change(hypervisor, SPECS, |specs: &mut Vec<VmSpec>| {
        specs.iter_mut().filter(|known| known.name == name).for_each(&mut edit);
        Ok(())
    })
}

/// Until when VMs are to give memory up, and who has not.
///
/// # Errors
/// EL2's, or [`Error::Note`].
pub fn targets<H: Hypervisor>(hypervisor: &mut H) -> Result<Vec<Target>, Error> {
    read(hypervisor, TARGETS).map(|(targets, _)| targets)
}

/// Changes that list.
///
/// # Errors
/// EL2's, [`Error::Note`] or [`Error::NoteFull`].
pub fn change_targets<H: Hypervisor>(hypervisor: &mut H, mut edit: impl FnMut(&mut Vec<Target>)) -> Result<(), Error> {
    change(hypervisor, TARGETS, |targets| {
        edit(targets);
        Ok(())
    })
}

/// Puts the sizes into a spec that disks of it have grown to.
///
/// # Errors
/// EL2's, or [`Error::Note`].
pub fn apply_grown<H: Hypervisor>(hypervisor: &mut H, spec: &mut VmSpec) -> Result<(), Error> {
    if spec.disks.is_empty() {
        return Ok(());
    }
    let (grown, _): (Vec<Grown>, u64) = read(hypervisor, GROWN)?;
    for grown in grown.iter().filter(|grown| grown.vm == spec.name) {
        let disk = spec.disks.iter_mut().find(|disk| disk.name == grown.disk);
        disk.into_iter().for_each(|disk| disk.sectors = grown.sectors);
    }
    Ok(())
}

/// Notes that a disk of the description has grown.
///
/// # Errors
/// EL2's, [`Error::Note`] or [`Error::NoteFull`].
pub fn add_grown<H: Hypervisor>(hypervisor: &mut H, new: &Grown) -> Result<(), Error> {
    change(hypervisor, GROWN, |grown: &mut Vec<Grown>| {
        grown.retain(|known| (&known.vm, &known.disk) != (&new.vm, &new.disk));
        grown.push(new.clone());
        Ok(())
    })
}

/// Forgets a created spec and how it ended last. A name that is not there is no error.
///
/// # Errors
/// EL2's, or [`Error::Note`].
pub fn forget<H: Hypervisor>(hypervisor: &mut H, name: &str) -> Result<(), Error> {
    change(hypervisor, SPECS, |specs: &mut Vec<VmSpec>| {
        specs.retain(|known| known.name != name);
        Ok(())
    })?;
    change(hypervisor, ENDS, |ends: &mut Vec<LastEnd>| {
        ends.retain(|known| known.name != name);
        Ok(())
    })
}

/// Notes how `end.name` ended, in place of what was known of its earlier lives.
///
/// # Errors
/// EL2's, or [`Error::Note`].
pub fn record_end<H: Hypervisor>(hypervisor: &mut H, end: &LastEnd) -> Result<(), Error> {
    change(hypervisor, ENDS, |ends: &mut Vec<LastEnd>| {
        ends.retain(|known| known.name != end.name);
        if ends.len() >= ENDS_MAX {
            // What is still to be done is kept.
            ends.remove(ends.iter().position(|known| known.due.is_none()).unwrap_or(0));
        }
        ends.push(end.clone());
        Ok(())
    })
}

/// A note's list and its version. A note that was never set is an empty list.
fn read<H: Hypervisor, T: DeserializeOwned + Default>(hypervisor: &mut H, note: u64) -> Result<(T, u64), Error> {
    let found = hypervisor.note_get(note).map_err(|status| Error::Call { call: "sos_note_get", status })?;
    if found.bytes.is_empty() {
        return Ok((T::default(), found.version));
    }
    let list = decode_owned(&found.bytes).ok_or(Error::Note(note))?;
    Ok((list, found.version))
}

fn decode_owned<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    decode(bytes).ok()
}

/// Changes a note's list until no other change comes in between. An unchanged list is not written.
fn change<H: Hypervisor, T: Serialize + DeserializeOwned + Default + Clone + PartialEq>(
    hypervisor: &mut H,
    note: u64,
    mut edit: impl FnMut(&mut T) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut status = Status::Conflict;
    for _ in 0..TRIES {
        let (before, version): (T, u64) = read(hypervisor, note)?;
        let mut list = before.clone();
        edit(&mut list)?;
        if list == before {
            return Ok(());
        }
        let bytes = encode(&list);
        if bytes.len() > NOTE_MAX {
            return Err(Error::NoteFull { note, bytes: bytes.len() });
        }
        match hypervisor.note_set(note, &bytes, version) {
            Ok(_) => return Ok(()),
            Err(Status::Conflict) => {}
            Err(other) => {
                status = other;
                break;
            }
        }
    }
    Err(Error::Call { call: "sos_note_set", status })
}
