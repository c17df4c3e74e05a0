//! Consoles that are watched from other VMs: bytes go between a VM's line and who watches it, and wake nobody else.
//!
//! [`hv_core::watch`] knows who watches whom. An answer goes when there is something to say and room for it: at once, when
//! the VM says something, when it ends, or when the watcher makes room. What is copied to a watcher is copied on the
//! account of who causes it, a frame for each question.

use core::sync::atomic::{AtomicBool, Ordering};

use hv_abi::console::{ConsolePiece, ConsoleRight, ConsoleTyped};
use hv_abi::mailbox::{BODY_MAX, Flags, Frame, HvErrorKind, Party, Slot};
use hv_abi::record::{EndReason, Query};
use hv_abi::{Status, VmHandle};
use hv_core::addr::VmId;
use hv_core::frames::MAX_VMS;
use hv_core::requests::Asker;
use hv_core::ring::WhenFull;
use hv_core::watch::{NoRoom, NotAttached, Target, Wanted, Watcher};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::sos::{self, Answer, Taken};
use crate::{VMS, WATCHERS, cpu, devices, kept, ports, vm};

/// Somebody waits for what these VMs say.
static AWAITED: [AtomicBool; MAX_VMS] = [const { AtomicBool::new(false) }; MAX_VMS];

/// Lets `asker` watch a VM.
///
/// # Errors
/// `NO_ROOM`.
pub fn attach(asker: Asker, target: Target, right: ConsoleRight) -> Result<(), Status> {
    let mut watchers = WATCHERS.lock();
    watchers.attach(asker, target, right).map_err(|NoRoom| Status::NoRoom)?;
    // It may have ended before anybody watched.
    if vm::by_handle(target.vm).is_none_or(|(_, vm)| !vm.phase().is_alive()) {
        watchers.forget_port(asker);
        return Err(Status::WrongState);
    }
    Ok(())
}

/// `asker` wants to know what comes next.
pub fn want(asker: Asker, wanted: Wanted) -> Result<(), HvErrorKind> {
    let mut watchers = WATCHERS.lock();
    watchers.want(asker, wanted).map_err(|NotAttached| HvErrorKind::NotAttached)?;
    watchers.serve(|watcher| watcher.asker == asker, answer);
    Ok(())
}

/// A VM has said something, or tried to.
#[inline]
pub fn said(id: VmId) {
    if AWAITED[id.index()].load(Ordering::Relaxed) {
        tell(id);
    }
}

#[cold]
fn tell(id: VmId) {
    if AWAITED[id.index()].swap(false, Ordering::Acquire) {
        let vm = VMS[id.index()].handle(id);
        WATCHERS.lock().serve(|watcher| watcher.target.vm == vm, answer);
    }
}

/// A VM's life is over.
pub fn ended(vm: VmHandle, end: EndReason) {
    let mut watchers = WATCHERS.lock();
    watchers.ended(vm, end);
    watchers.serve(|watcher| watcher.target.vm == vm, answer);
}

/// A VM has made room for answers.
pub fn has_room_again(id: VmId) {
    let vm = VMS[id.index()].handle(id);
    WATCHERS.lock().serve(|watcher| watcher.asker.vm == vm, answer);
}

/// Answers a watcher, if there is something to say and room for it.
fn answer(watcher: &Watcher, wanted: Wanted) -> bool {
    const HEAD: usize = size_of::<ConsolePiece>();
    // Before the look: who says something after it finds this set, for both are done under the lock of the VM's line.
    if let Some(awaited) = watcher.target.vm.index().and_then(|index| AWAITED.get(usize::from(index))) {
        awaited.store(true, Ordering::Release);
    }
    let mut body = [0; BODY_MAX];
    let found = kept::console_of_life(&watcher.target, wanted.position, &mut body[HEAD..]);
    let (position, count, end) = found.unwrap_or((wanted.position, 0, wanted.position));
    if count == 0 && watcher.end == EndReason::None {
        return false;
    }
    let ended = if count == 0 { watcher.end } else { EndReason::None };
    let piece = ConsolePiece {
        position: U64::new(position),
        end: U64::new(end),
        ended: U32::new(ended as u32),
        reserved: U32::ZERO,
    };
    body[..HEAD].copy_from_slice(piece.as_bytes());
    sos::send(watcher.asker, &reply(wanted.id, &body[..HEAD + count]))
}

fn reply(id: u32, body: &[u8]) -> Slot {
    Slot::new(Frame::request(Party::Hv, Flags::default(), id, body.len()), body)
}

/// `asker` types what is in a frame, behind its query.
pub fn type_in(asker: Asker, frame: &Frame, slot: &Slot, answer: &mut Answer<'_>) -> Result<Taken, HvErrorKind> {
    let bytes = slot.body[..frame.length].get(size_of::<Query>()..).unwrap_or_default();
    let mut watchers = WATCHERS.lock();
    let taken = watchers.type_in(asker, |watcher| type_at(watcher, bytes));
    let taken = ConsoleTyped { taken: U32::new(taken.map_err(|NotAttached| HvErrorKind::NotAttached)?) };
    if !answer(&reply(frame.id, taken.as_bytes())) {
        return Ok(Taken::Later);
    }
    watchers.confirmed(asker);
    Ok(Taken::Yes)
}

/// Types at a VM's line, as far as there is room; how many bytes. At that of one that has ended nobody listens.
fn type_at(watcher: &Watcher, bytes: &[u8]) -> u32 {
    let Some((id, vm)) = vm::by_handle(watcher.target.vm).filter(|(_, vm)| vm.phase().is_alive()) else {
        return bytes.len() as u32;
    };
    let mut serial = vm.serial.lock();
    let taken = bytes.iter().take_while(|byte| serial.typed.put(**byte, WhenFull::Refuse)).count();
    serial.settle();
    devices::serial_changed(id, &mut serial);
    // Its line may be about to be ready, with nobody who looks when it is.
    if !serial.typed.is_empty() {
        ports::look_again(id);
        cpu::interrupt_self();
    }
    taken as u32
}
