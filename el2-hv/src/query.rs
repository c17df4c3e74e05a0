//! Fixed records: what EL2 tells about itself. Whoever asks has been checked.

mod device;
mod history;

use core::sync::atomic::Ordering;

use hv_abi::handle::Label;
use hv_abi::mailbox::BODY_MAX;
use hv_abi::record::{HvInfo, LogHeader, Query, QueryKind, SosStatus, VcpuRecord, VcpusHeader, VmRecord, VmState};
use hv_core::addr::{FRAME_SIZE, VcpuIdx, VmId};
use hv_core::frames::Owner;
use hv_core::sos::State;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::machine::{FIRST_GUEST, machine};
use crate::memory::frames;
use crate::sos::SosControl;
use crate::vm::{Phase, SOS_VM, Vm};
use crate::{LOG, SCHEDULER, VCPUS, VMS, kept};

/// What a query asks.
pub struct Asked {
    /// For what.
    pub kind: QueryKind,
    /// From which position on.
    pub argument: u64,
    /// Of which VM.
    pub label: Option<Label>,
}

/// What a query asks; `None` where it is none.
pub fn parse(body: &[u8]) -> Option<Asked> {
    let (query, rest) = Query::read_from_prefix(body).ok()?;
    let kind = QueryKind::from_number(query.kind.get())?;
    let label = match (kind, rest.try_into()) {
        (QueryKind::Console, Ok(label)) => Some(Label::from_bytes(label)?),
        (QueryKind::Console, Err(_)) => return None,
        // What is typed is behind it.
        (QueryKind::ConsoleType, _) => None,
        _ if !rest.is_empty() => return None,
        _ => None,
    };
    Some(Asked { kind, argument: query.argument.get(), label })
}

/// Writes the answer; returns its length, if there is an answer.
pub fn answer(sos: &SosControl, asked: &Asked, body: &mut [u8; BODY_MAX]) -> Option<usize> {
    Some(match asked.kind {
        QueryKind::SosStatus => put(sos_status(sos).as_bytes(), body),
        QueryKind::HvInfo => put(hv_info().as_bytes(), body),
        QueryKind::Log | QueryKind::Console => text_piece(asked, body)?,
        QueryKind::Vcpus => vcpus(asked.argument, body),
        QueryKind::Disks => device::answer(asked.argument, body, device::disk),
        QueryKind::Nics => device::answer(asked.argument, body, device::nic),
        QueryKind::Balloons => device::answer(asked.argument, body, device::balloon),
        QueryKind::Packets => put(device::packets().as_bytes(), body),
        QueryKind::Lives | QueryKind::Askers => history::answer(sos.ledger(), asked, body),
        // Whose answer waits for what is said, or is about who asks.
        QueryKind::ConsoleNext | QueryKind::ConsoleType | QueryKind::Plugs => return None,
    })
}

// Inlined, it would copy each kind of record byte by byte, in code of its own.
#[inline(never)]
fn put(record: &[u8], body: &mut [u8]) -> usize {
    // Records fit into a body: hv-abi asserts it.
    body[..record.len()].copy_from_slice(record);
    record.len()
}

fn sos_status(sos: &SosControl) -> SosStatus {
    let (life, now) = (sos.life(), machine().up_ns());
    let account = life.account();
    let state = State::ALL.iter().position(|state| *state == life.state()).unwrap_or_default();
    SosStatus {
        state: U32::new(state as u32),
        lives: U32::new(account.lives),
        failures: U32::new(account.failures),
        requests: U32::new(sos.requests().open()),
        frames: U64::new(frames().table().bytes_of(Owner::Vm(SOS_VM)) / FRAME_SIZE),
        wake_to_answer_ns: U64::new(sos.wake_to_answer_ns()),
        on_ns: U64::new(life.on_time(now)),
        up_ns: U64::new(now),
        woken_by: history::name(sos.woken_by()),
    }
}

fn hv_info() -> HvInfo {
    let machine = machine();
    let boot = machine.boot_memory;
    let online = SCHEDULER.online().count();
    let frames = frames();
    let table = frames.table();
    let of = |owner| table.bytes_of(owner);
    // The image row is what is left of the image's frames: tables, rings, notes in .bss have rows of their own.
    let inside = boot.image_tables + boot.image_rings + boot.image_notes;
    HvInfo {
        cpus: U32::new(online),
        counter_hz: U32::new(machine.counter_hz as u32),
        ram: U64::new(table.total()),
        guests: U64::new(table.bytes_of_vms_but(SOS_VM) + of(Owner::Shared)),
        sos: U64::new(of(Owner::Vm(SOS_VM))),
        el2_image: U64::new(of(Owner::Image) - inside),
        el2_stacks: U64::new(of(Owner::Stacks)),
        el2_tables: U64::new(of(Owner::Tables) + boot.image_tables),
        el2_rings: U64::new(of(Owner::Rings) + boot.image_rings),
        el2_mailboxes: U64::new(of(Owner::Mailboxes)),
        archive: U64::new(of(Owner::Archive)),
        notes: U64::new(of(Owner::Notes) + boot.image_notes),
        firmware: U64::new(of(Owner::Firmware) + of(Owner::Lost)),
        free: U64::new(of(Owner::Free) + of(Owner::Held)),
        held: U64::new(of(Owner::Held)),
        first_guest_count: U64::new(FIRST_GUEST.load(Ordering::Relaxed)),
        up_ns: U64::new(machine.up_ns()),
        image_crc: U32::new(machine.image_crc),
        cpus_off: U32::new((machine.cpus as u32).saturating_sub(online)),
    }
}

/// A piece of EL2's log or of a VM's console behind its header.
fn text_piece(asked: &Asked, body: &mut [u8; BODY_MAX]) -> Option<usize> {
    const HEAD: usize = size_of::<LogHeader>();
    let (head, text) = body.split_at_mut(HEAD);
    let (position, count, end) = if asked.kind == QueryKind::Log {
        let ring = LOG.lock();
        let (position, count) = ring.read_at(asked.argument, text);
        (position, count, ring.end())
    } else {
        kept::console_of(asked.label?, asked.argument, text)?
    };
    let header = LogHeader { position: U64::new(position), end: U64::new(end) };
    head.copy_from_slice(header.as_bytes());
    Some(HEAD + count)
}

/// vCPUs of the first VM that has some from a position on: its slot, and in the low byte the vCPU's number.
fn vcpus(position: u64, body: &mut [u8; BODY_MAX]) -> usize {
    let now = hv_arch::counter::now();
    let (mut slot, mut index) = (position >> 8, position as u8);
    let mut header = VcpusHeader::new_zeroed();
    let mut length = size_of::<VcpusHeader>();
    header.next = U64::MAX_VALUE;
    header.up_ns = U64::new(machine().nanoseconds(now.wrapping_sub(machine().started)));
    while let Some(vm) = usize::try_from(slot).ok().and_then(|slot| VMS.get(slot)) {
        let count = if vm.phase() == Phase::Free { 0 } else { vm.vcpu_count() };
        if index < count {
            header.handle = U64::new(vm.handle(VmId(slot as u8)).0);
            if let Some(label) = &vm.control.lock().label {
                put(label.bytes(), &mut header.label);
            }
            for place in body[length..].chunks_exact_mut(size_of::<VcpuRecord>()).take(usize::from(count - index)) {
                length += put(vcpu_record(vm, VcpuIdx(index), now).as_bytes(), place);
                index += 1;
            }
            header.next = U64::new(slot << 8 | u64::from(index));
            break;
        }
        (slot, index) = (slot + 1, 0);
    }
    put(header.as_bytes(), body);
    length
}

/// A [`VcpuRecord`], in long words: they are stored as such.
fn vcpu_record(vm: &Vm, index: VcpuIdx, now: u64) -> [u64; size_of::<VcpuRecord>() / size_of::<u64>()] {
    let (id, machine) = (vm.vcpu(index), machine());
    let account = SCHEDULER.account(id, now);
    let mut words = [0; _];
    words[0] = u64::from(index.0) | u64::from(account.cpu.0) << 8 | (account.state as u64) << 16;
    words[1] = machine.nanoseconds(account.ran);
    words[2] = machine.nanoseconds(account.waited);
    words[3..].copy_from_slice(&VCPUS[id.index()].exits.read());
    words.map(u64::to_le)
}

/// What EL2 knows of a VM.
pub fn vm_record(id: VmId) -> VmRecord {
    let vm = &VMS[id.index()];
    let control = vm.control.lock();
    let phase = vm.phase();
    let state = match phase {
        Phase::Free | Phase::Building | Phase::Loading => VmState::Building,
        Phase::Running | Phase::Pausing => VmState::Running,
        Phase::Paused => VmState::Paused,
        Phase::Stopping | Phase::Stopped => VmState::Stopped,
        Phase::Dying => VmState::Dying,
    };
    let until = match phase {
        Phase::Running | Phase::Pausing => hv_arch::counter::now(),
        Phase::Paused => control.paused,
        _ => control.ended,
    };
    // The time that it has seen itself.
    let uptime = if control.started == 0 { 0 } else { until.saturating_sub(vm.counter_offset()) };
    let on = (0..vm.vcpu_count()).filter(|index| control.is_on(VcpuIdx(*index))).count();
    VmRecord {
        handle: U64::new(vm.handle(id).0),
        label: control.label.map_or([0; 32], |label| *label.bytes()),
        state: U32::new(state as u32),
        end: U32::new(control.end as u32),
        vcpus: U32::new(u32::from(vm.vcpu_count())),
        vcpus_on: U32::new(on as u32),
        memory: U64::new(control.memory),
        uptime_ns: U64::new(machine().nanoseconds(uptime)),
        grants: U64::new(vm.grants().0),
    }
}
