//! An EL2 in memory, for tests: it holds callers to the contract, records what they do, and fails on demand.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::vec::Vec;

use hv_abi::call::{
    COPY_MAX, ConfigKind, DeviceChange, DeviceKind, DiskLimits, DiskPart, DrainAnswer, Grants, MEMORY_ALIGNMENT,
    NicPort, Scheduling, SharedRegion,
};
use hv_abi::console::ConsoleRight;
use hv_abi::handle::Label;
use hv_abi::mailbox::{
    INBOUND_CONSUMER, INBOUND_PRODUCER, INBOUND_SLOTS, OUTBOUND_CONSUMER, OUTBOUND_PRODUCER, OUTBOUND_SLOTS, PAGE_SIZE,
    SLOT_SIZE, SLOTS, Slot, slot_offset,
};
use hv_abi::message::Fault;
use hv_abi::record::{
    BalloonRecord, CrashRecord, DevicesHeader, DiskRecord, EndReason, HvInfo, NicRecord, QueryKind, SosStatus,
    VmRecord, VmState,
};
use hv_abi::wake::WakeRule;
use hv_abi::{Status, VmHandle};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::hypervisor::{DriveBlock, Hypervisor, Note, QueryAnswer};
use crate::ring::Page;

/// A VM of the fake.
#[derive(Clone, Debug)]
pub(crate) struct FakeVm {
    pub(crate) label: Label,
    pub(crate) vcpus: u8,
    pub(crate) state: VmState,
    pub(crate) end: EndReason,
    /// Bytes of RAM from 0x4000_0000 on.
    pub(crate) memory: u64,
    /// What was copied in: IPA and bytes, in order.
    pub(crate) copies: Vec<(u64, Vec<u8>)>,
    pub(crate) devices: Vec<(DeviceKind, u64)>,
    pub(crate) disks: Vec<DiskPart>,
    pub(crate) nics: Vec<NicPort>,
    pub(crate) limits: Vec<DiskLimits>,
    /// Links of network cards that are down, a bit each.
    pub(crate) links_down: u8,
    /// What it is to have, and what its driver says that it has.
    pub(crate) target: u64,
    pub(crate) actual: u64,
    pub(crate) grants: Grants,
    pub(crate) boot: Option<(u64, u64)>,
    pub(crate) scheduling: Scheduling,
    pub(crate) shared: Vec<(Label, SharedRegion)>,
}

impl FakeVm {
    /// What stays its own of its memory, if it has a balloon.
    pub(crate) fn guarantee(&self) -> Option<u64> {
        let balloon = self.devices.iter().find(|(kind, _)| *kind == DeviceKind::Balloon);
        balloon.map(|(_, guarantee)| *guarantee)
    }

    /// Whether a change of a device could be made; then it is.
    fn change(&mut self, change: DeviceChange) -> Result<(), Status> {
        let no = Status::InvalidArgument;
        match change {
            DeviceChange::DiskLimits(limits) => {
                self.disks.get(usize::from(limits.disk)).ok_or(no)?;
                self.limits.push(limits);
            }
            DeviceChange::DiskSectors { disk, sectors } => {
                let disk = self.disks.get_mut(usize::from(disk)).ok_or(no)?;
                if sectors < disk.sectors {
                    return Err(Status::Denied);
                }
                disk.sectors = sectors;
            }
            DeviceChange::NicLimits { nic, kbit_per_s, packets_per_s } => {
                let nic = self.nics.get_mut(usize::from(nic)).ok_or(no)?;
                (nic.kbit_per_s, nic.packets_per_s) = (kbit_per_s, packets_per_s);
            }
            DeviceChange::NicLink { nic, up } => {
                self.nics.get(usize::from(nic)).ok_or(no)?;
                self.links_down = self.links_down & !(1 << nic) | u8::from(!up) << nic;
            }
            DeviceChange::Memory { bytes } => {
                if bytes > self.memory || !bytes.is_multiple_of(4096) {
                    return Err(no);
                }
                if bytes < self.guarantee().ok_or(no)? {
                    return Err(Status::Denied);
                }
                self.target = bytes;
            }
        }
        Ok(())
    }

    /// What lies at `ipa`, by the copies.
    pub(crate) fn bytes(&self, ipa: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        for (start, copy) in &self.copies {
            for (i, byte) in copy.iter().enumerate() {
                let offset = (start + i as u64).wrapping_sub(ipa) as usize;
                if offset < count {
                    bytes[offset] = *byte;
                }
            }
        }
        bytes
    }
}

/// Everything that the fake knows.
pub(crate) struct State {
    pub(crate) vms: BTreeMap<u8, FakeVm>,
    generations: [u32; 8],
    pub(crate) notes: [Note; 4],
    /// Names of the privileged calls that were made.
    pub(crate) calls: Vec<&'static str>,
    /// The privileged call, by its number in `calls`, that fails with this status.
    pub(crate) fail: Option<(usize, Status)>,
    /// Calls of that name fail with this status.
    pub(crate) fail_call: Option<(&'static str, Status)>,
    /// The privileged call, by its number in `calls`, at which the partition dies.
    pub(crate) dies_at: Option<usize>,
    /// Bytes that one `vm_memory` and one `vm_copy_in` do at most.
    pub(crate) memory_step: u64,
    pub(crate) copy_step: u64,
    /// How often each `vm_stop` and `vm_destroy` answers `AGAIN` first.
    pub(crate) agains: u32,
    agains_left: u32,
    /// How many `sos_note_set` come too late.
    pub(crate) conflicts: u32,
    /// VMs that have no room for a reply.
    pub(crate) full: Vec<VmHandle>,
    page: Vec<u8>,
    queue: Vec<Slot>,
    pub(crate) delivered: Vec<Slot>,
    pub(crate) doorbells: usize,
    pub(crate) drains: Vec<DrainAnswer>,
    pub(crate) configs: Vec<ConfigKind>,
    pub(crate) alarm: Option<u64>,
    pub(crate) crashes: Vec<(Label, CrashRecord)>,
    /// How long every VM has run, but these.
    pub(crate) uptime_ns: u64,
    pub(crate) uptimes: Vec<(&'static str, u64)>,
    /// VMs that were stopped, in order.
    pub(crate) ended: Vec<std::string::String>,
    /// The partition's network card, and the rules that it has left.
    pub(crate) network: Option<NicPort>,
    pub(crate) rules: Vec<WakeRule>,
    /// Consoles that were attached: of whom, to which VM and port.
    pub(crate) attached: Vec<(VmHandle, (VmHandle, u16), ConsoleRight)>,
    /// What is on the board's drives.
    pub(crate) drives: Vec<Vec<u8>>,
}

/// The fake; clones are the same EL2.
#[derive(Clone)]
pub(crate) struct El2(pub(crate) Rc<RefCell<State>>);

impl El2 {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(State {
            vms: BTreeMap::new(),
            generations: [1; 8],
            notes: Default::default(),
            calls: Vec::new(),
            fail: None,
            fail_call: None,
            dies_at: None,
            memory_step: u64::MAX,
            copy_step: u64::MAX,
            agains: 0,
            agains_left: 0,
            conflicts: 0,
            full: Vec::new(),
            page: vec![0; PAGE_SIZE],
            queue: Vec::new(),
            delivered: Vec::new(),
            doorbells: 0,
            drains: Vec::new(),
            configs: Vec::new(),
            alarm: None,
            crashes: Vec::new(),
            uptime_ns: 1_234_567_890,
            uptimes: Vec::new(),
            ended: Vec::new(),
            network: None,
            rules: Vec::new(),
            attached: Vec::new(),
            drives: Vec::new(),
        })))
    }

    /// The VM with that label.
    pub(crate) fn vm(&self, name: &str) -> Option<FakeVm> {
        let state = self.0.borrow();
        state.vms.values().find(|vm| vm.label.as_str() == name).cloned()
    }

    pub(crate) fn handle(&self, name: &str) -> VmHandle {
        let state = self.0.borrow();
        let slot = state.vms.iter().find(|(_, vm)| vm.label.as_str() == name).map(|(slot, _)| *slot).unwrap();
        VmHandle::new(slot, state.generations[usize::from(slot)])
    }

    /// Ends a VM by itself.
    pub(crate) fn end(&self, name: &str, reason: EndReason) -> VmHandle {
        let handle = self.handle(name);
        let mut state = self.0.borrow_mut();
        let vm = state.vms.get_mut(&handle.index().unwrap()).unwrap();
        (vm.state, vm.end) = (VmState::Stopped, reason);
        handle
    }

    /// Sends a frame to the service partition; what has no room in the ring waits.
    pub(crate) fn deliver(&self, slot: Slot) {
        let mut state = self.0.borrow_mut();
        state.queue.push(slot);
        state.fill();
    }

    /// Sets an index of the page, as EL2 never would.
    pub(crate) fn corrupt(&self, offset: usize, value: u32) {
        self.0.borrow_mut().set(offset, value);
    }

    /// Counts a privileged call and fails it where that is wished.
    fn enter(&self, name: &'static str) -> Result<std::cell::RefMut<'_, State>, Status> {
        let mut state = self.0.borrow_mut();
        let number = state.calls.len();
        state.calls.push(name);
        if state.dies_at == Some(number) {
            drop(state);
            panic!("the partition dies at call {number}, {name}");
        }
        match (state.fail, state.fail_call) {
            (Some((at, status)), _) if at == number => Err(status),
            (_, Some((call, status))) if call == name => Err(status),
            _ => Ok(state),
        }
    }

    /// What EL2 does at the end of a life that failed: VMs that were not started are destroyed. VMs of whose end the
    /// next life is told.
    pub(crate) fn begin_next_life(&self) -> Vec<VmHandle> {
        let mut state = self.0.borrow_mut();
        let gone = |vm: &FakeVm| matches!(vm.state, VmState::Building | VmState::Dying);
        let slots: Vec<u8> = state.vms.iter().filter(|(_, vm)| gone(vm)).map(|(slot, _)| *slot).collect();
        for slot in slots {
            state.vms.remove(&slot);
            state.generations[usize::from(slot)] += 1;
        }
        (state.page, state.queue) = (vec![0; PAGE_SIZE], Vec::new());
        let stopped = state.vms.iter().filter(|(_, vm)| vm.state == VmState::Stopped && vm.end != EndReason::Stopped);
        stopped.map(|(slot, _)| VmHandle::new(*slot, state.generations[usize::from(*slot)])).collect()
    }
}

impl State {
    fn index(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.page[offset..offset + 4].try_into().unwrap())
    }

    fn set(&mut self, offset: usize, value: u32) {
        self.page[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn fill(&mut self) {
        while !self.queue.is_empty() {
            let (producer, consumer) = (self.index(INBOUND_PRODUCER), self.index(INBOUND_CONSUMER));
            if producer.wrapping_sub(consumer) >= SLOTS {
                return;
            }
            let slot = self.queue.remove(0);
            let at = slot_offset(INBOUND_SLOTS, producer);
            self.page[at..at + SLOT_SIZE].copy_from_slice(slot.as_bytes());
            self.set(INBOUND_PRODUCER, producer.wrapping_add(1));
        }
    }

    fn find(&mut self, vm: VmHandle) -> Result<&mut FakeVm, Status> {
        let slot = vm.index().ok_or(Status::NoSuchVm)?;
        if self.generations.get(usize::from(slot)) != Some(&vm.generation()) {
            return Err(Status::NoSuchVm);
        }
        self.vms.get_mut(&slot).ok_or(Status::NoSuchVm)
    }

    fn building(&mut self, vm: VmHandle) -> Result<&mut FakeVm, Status> {
        let vm = self.find(vm)?;
        match vm.state {
            VmState::Building => Ok(vm),
            _ => Err(Status::WrongState),
        }
    }

    /// The devices of the first VM that has some from a position on, one at a time, each with counts of its own.
    fn devices(&self, kind: QueryKind, position: u64) -> Vec<u8> {
        let mut header = DevicesHeader::new_zeroed();
        header.next = u64::MAX.into();
        let (slot, mut number) = (position >> 8, position as u8);
        let mut record = Vec::new();
        for (at, vm) in self.vms.iter().filter(|(at, _)| u64::from(**at) >= slot) {
            let number = if u64::from(*at) == slot { core::mem::take(&mut number) } else { 0 };
            let count = |field: u64| (u64::from(*at) * 1000 + u64::from(number) * 100 + field).into();
            match kind {
                QueryKind::Disks if usize::from(number) < vm.disks.len() => {
                    let (reads, failed) = (count(1), count(7));
                    let mut disk = DiskRecord { disk: number, reads, failed, ..DiskRecord::new_zeroed() };
                    if let Some(limits) = vm.limits.iter().rfind(|limits| limits.disk == number) {
                        (disk.iops, disk.kbytes_per_s) = (limits.iops.into(), limits.kbytes_per_s.into());
                    }
                    record = disk.as_bytes().to_vec();
                }
                QueryKind::Nics if usize::from(number) < vm.nics.len() => {
                    let dropped = [11, 12, 13, 14, 15].map(count);
                    let mut nic = NicRecord { nic: number, dropped, ..NicRecord::new_zeroed() };
                    let port = &vm.nics[usize::from(number)];
                    (nic.kbit_per_s, nic.packets_per_s) = (port.kbit_per_s.into(), port.packets_per_s.into());
                    nic.link_down = vm.links_down >> number & 1;
                    record = nic.as_bytes().to_vec();
                }
                QueryKind::Balloons if number == 0 && vm.guarantee().is_some() => {
                    let [target, actual, guarantee] = [vm.target, vm.actual, vm.guarantee().unwrap()].map(Into::into);
                    record = BalloonRecord { target, actual, taken: 0.into(), guarantee }.as_bytes().to_vec();
                }
                _ => continue,
            }
            header.handle = VmHandle::new(*at, self.generations[usize::from(*at)]).0.into();
            header.next = (u64::from(*at) << 8 | (u64::from(number) + 1)).into();
            break;
        }
        [header.as_bytes(), &record].concat()
    }

    /// `AGAIN` as often as is wished before each end.
    fn delay(&mut self) -> Result<(), Status> {
        if self.agains_left == 0 {
            self.agains_left = self.agains;
            return Ok(());
        }
        self.agains_left -= 1;
        Err(Status::Again)
    }
}

impl Hypervisor for El2 {
    fn doorbell(&mut self) -> Result<(), Status> {
        let mut state = self.0.borrow_mut();
        state.doorbells += 1;
        let mut answer = Ok(());
        while answer.is_ok() {
            let (producer, consumer) = (state.index(OUTBOUND_PRODUCER), state.index(OUTBOUND_CONSUMER));
            if producer == consumer {
                break;
            }
            let at = slot_offset(OUTBOUND_SLOTS, consumer);
            let slot = Slot::read_from_bytes(&state.page[at..at + SLOT_SIZE]).unwrap();
            state.set(OUTBOUND_CONSUMER, consumer.wrapping_add(1));
            if state.full.contains(&VmHandle(slot.header.vm.get())) {
                answer = Err(Status::NoRoom);
            } else {
                state.delivered.push(slot);
            }
        }
        state.fill();
        answer
    }

    fn vm_create(&mut self, label: Label, vcpus: u8) -> Result<VmHandle, Status> {
        let mut state = self.enter("vm_create")?;
        if state.vms.values().any(|vm| vm.label == label) {
            return Err(Status::Exists);
        }
        let slot = (0..8).find(|slot| !state.vms.contains_key(slot)).ok_or(Status::NoMemory)?;
        let vm = FakeVm {
            label,
            vcpus,
            state: VmState::Building,
            end: EndReason::None,
            memory: 0,
            copies: Vec::new(),
            devices: Vec::new(),
            disks: Vec::new(),
            nics: Vec::new(),
            limits: Vec::new(),
            links_down: 0,
            target: 0,
            actual: 0,
            grants: Grants::NONE,
            boot: None,
            scheduling: Scheduling::DEFAULT,
            shared: Vec::new(),
        };
        state.vms.insert(slot, vm);
        Ok(VmHandle::new(slot, state.generations[usize::from(slot)]))
    }

    fn vm_memory(&mut self, vm: VmHandle, ipa: u64, bytes: u64) -> Result<u64, Status> {
        let mut state = self.enter("vm_memory")?;
        let step = state.memory_step;
        let vm = state.building(vm)?;
        if !ipa.is_multiple_of(MEMORY_ALIGNMENT) || !bytes.is_multiple_of(MEMORY_ALIGNMENT) {
            return Err(Status::InvalidArgument);
        }
        if ipa != 0x4000_0000 + vm.memory {
            return Err(Status::Exists);
        }
        let done = bytes.min(step);
        vm.memory += done;
        Ok(done)
    }

    fn vm_copy_in(&mut self, vm: VmHandle, target: u64, bytes: &[u8]) -> Result<u64, Status> {
        let mut state = self.enter("vm_copy_in")?;
        let step = state.copy_step;
        let vm = state.building(vm)?;
        if bytes.len() as u64 > COPY_MAX {
            return Err(Status::InvalidArgument);
        }
        if target < 0x4000_0000 || target + bytes.len() as u64 > 0x4000_0000 + vm.memory {
            return Err(Status::BadAddress);
        }
        let done = bytes.len().min(step as usize);
        vm.copies.push((target, bytes[..done].to_vec()));
        Ok(done as u64)
    }

    fn vm_device(&mut self, vm: VmHandle, kind: DeviceKind, parameters: [u64; 3]) -> Result<(), Status> {
        let mut state = self.enter("vm_device")?;
        let vm = state.building(vm)?;
        match kind {
            DeviceKind::Disk => vm.disks.push(DiskPart::from_registers(parameters).ok_or(Status::InvalidArgument)?),
            DeviceKind::DiskLimits => {
                let limits = DiskLimits::from_registers(parameters).ok_or(Status::InvalidArgument)?;
                vm.disks.get(usize::from(limits.disk)).ok_or(Status::InvalidArgument)?;
                vm.limits.push(limits);
            }
            DeviceKind::Nic => vm.nics.push(NicPort::from_registers(parameters).ok_or(Status::InvalidArgument)?),
            _ => vm.devices.push((kind, parameters[0])),
        }
        Ok(())
    }

    fn vm_device_set(&mut self, vm: VmHandle, change: DeviceChange) -> Result<(), Status> {
        let mut state = self.enter("vm_device_set")?;
        let vm = state.find(vm)?;
        if !matches!(vm.state, VmState::Running | VmState::Paused) {
            return Err(Status::WrongState);
        }
        vm.change(change)
    }

    fn vm_share(&mut self, vm: VmHandle, name: Label, region: SharedRegion) -> Result<(), Status> {
        let mut state = self.enter("vm_share")?;
        state.building(vm)?.shared.push((name, region));
        Ok(())
    }

    fn vcpu_init(&mut self, vm: VmHandle, entry: u64, x0: u64) -> Result<(), Status> {
        let mut state = self.enter("vcpu_init")?;
        state.building(vm)?.boot = Some((entry, x0));
        Ok(())
    }

    fn vm_start(&mut self, vm: VmHandle) -> Result<(), Status> {
        let mut state = self.enter("vm_start")?;
        let vm = state.building(vm)?;
        vm.boot.ok_or(Status::WrongState)?;
        vm.state = VmState::Running;
        (vm.target, vm.actual) = (vm.memory, vm.memory);
        Ok(())
    }

    fn vm_stop(&mut self, vm: VmHandle) -> Result<(), Status> {
        let mut state = self.enter("vm_stop")?;
        if !matches!(state.find(vm)?.state, VmState::Running | VmState::Paused) {
            return Err(Status::WrongState);
        }
        state.delay()?;
        let vm = state.find(vm)?;
        (vm.state, vm.end) = (VmState::Stopped, EndReason::Stopped);
        let name = vm.label.as_str().into();
        state.ended.push(name);
        Ok(())
    }

    fn vm_destroy(&mut self, vm: VmHandle) -> Result<(), Status> {
        let mut state = self.enter("vm_destroy")?;
        state.find(vm)?.state = VmState::Dying;
        state.delay()?;
        let slot = vm.index().ok_or(Status::NoSuchVm)?;
        state.vms.remove(&slot);
        state.generations[usize::from(slot)] += 1;
        Ok(())
    }

    fn vm_query(&mut self, slot: u64) -> Result<QueryAnswer, Status> {
        let state = self.enter("vm_query")?;
        let mut found = state.vms.iter().filter(|(at, _)| u64::from(**at) >= slot);
        let (slot, vm) = found.next().ok_or(Status::NoSuchVm)?;
        let handle = VmHandle::new(*slot, state.generations[usize::from(*slot)]);
        let own = state.uptimes.iter().find(|(name, _)| vm.label.as_str() == *name);
        let uptime = own.map_or(state.uptime_ns, |(_, uptime)| *uptime);
        let record = VmRecord {
            handle: handle.0.into(),
            label: *vm.label.bytes(),
            state: (vm.state as u32).into(),
            end: (vm.end as u32).into(),
            vcpus: u32::from(vm.vcpus).into(),
            vcpus_on: 1.into(),
            memory: vm.memory.into(),
            uptime_ns: uptime.into(),
            grants: vm.grants.0.into(),
        };
        Ok(QueryAnswer { record, next: found.next().map(|(at, _)| u64::from(*at)) })
    }

    fn vm_grant(&mut self, vm: VmHandle, grants: Grants) -> Result<(), Status> {
        let mut state = self.enter("vm_grant")?;
        state.building(vm)?.grants = grants;
        Ok(())
    }

    fn hv_info(&mut self) -> Result<HvInfo, Status> {
        let _ = self.enter("hv_query")?;
        let (cpus, ram, free) = (4.into(), (512 << 20).into(), (300 << 20).into());
        Ok(HvInfo { cpus, ram, free, ..HvInfo::new_zeroed() })
    }

    fn sos_status(&mut self) -> Result<SosStatus, Status> {
        let _ = self.enter("hv_query")?;
        let up_ns = 90_061_000_000_000.into();
        Ok(SosStatus { lives: 17.into(), failures: 1.into(), up_ns, ..SosStatus::new_zeroed() })
    }

    fn hv_query(&mut self, kind: QueryKind, argument: u64) -> Result<Vec<u8>, Status> {
        Ok(self.enter("hv_query")?.devices(kind, argument))
    }

    fn hv_config(&mut self, kind: ConfigKind) -> Result<(), Status> {
        self.enter("hv_config")?.configs.push(kind);
        Ok(())
    }

    fn sos_ready(&mut self) -> Result<(), Status> {
        self.enter("sos_ready").map(|_| ())
    }

    fn sos_idle(&mut self, answer: DrainAnswer) -> Result<(), Status> {
        self.enter("sos_idle")?.drains.push(answer);
        Ok(())
    }

    fn note_get(&mut self, note: u64) -> Result<Note, Status> {
        Ok(self.enter("sos_note_get")?.notes[note as usize].clone())
    }

    fn note_set(&mut self, note: u64, bytes: &[u8], replaces: u64) -> Result<u64, Status> {
        let mut state = self.enter("sos_note_set")?;
        if state.conflicts != 0 {
            // Somebody else was first.
            state.conflicts -= 1;
            state.notes[note as usize].version += 1;
        }
        let kept = &mut state.notes[note as usize];
        if kept.version != replaces {
            return Err(Status::Conflict);
        }
        *kept = Note { bytes: bytes.to_vec(), version: replaces + 1 };
        Ok(kept.version)
    }

    fn vm_sched(&mut self, vm: VmHandle, words: &Scheduling) -> Result<(), Status> {
        let mut state = self.enter("vm_sched")?;
        let vm = state.find(vm)?;
        if !matches!(vm.state, VmState::Building | VmState::Running) {
            return Err(Status::WrongState);
        }
        vm.scheduling = *words;
        Ok(())
    }

    fn vm_sched_get(&mut self, vm: VmHandle) -> Result<Scheduling, Status> {
        Ok(self.enter("vm_sched_get")?.find(vm)?.scheduling)
    }

    fn sos_alarm(&mut self, at: Option<u64>) -> Result<(), Status> {
        self.enter("sos_alarm")?.alarm = at;
        Ok(())
    }

    fn vm_pause(&mut self, vm: VmHandle) -> Result<(), Status> {
        let mut state = self.enter("vm_pause")?;
        if !matches!(state.find(vm)?.state, VmState::Running | VmState::Paused) {
            return Err(Status::WrongState);
        }
        state.delay()?;
        state.find(vm)?.state = VmState::Paused;
        Ok(())
    }

    fn vm_resume(&mut self, vm: VmHandle) -> Result<(), Status> {
        let mut state = self.enter("vm_resume")?;
        let vm = state.find(vm)?;
        if vm.state != VmState::Paused {
            return Err(Status::WrongState);
        }
        vm.state = VmState::Running;
        Ok(())
    }

    fn vm_crash(&mut self, label: Label) -> Result<CrashRecord, Status> {
        let state = self.enter("vm_crash")?;
        let found = state.crashes.iter().find(|(name, _)| *name == label);
        found.map(|(_, crash)| *crash).ok_or(Status::NoSuchVm)
    }

    fn sos_network(&mut self, port: NicPort) -> Result<(), Status> {
        let mut state = self.enter("sos_network")?;
        match state.network.replace(port) {
            None => Ok(()),
            first => {
                state.network = first;
                Err(Status::Exists)
            }
        }
    }

    fn sos_wake_rules(&mut self, rules: &[WakeRule]) -> Result<(), Status> {
        let mut state = self.enter("sos_wake_rules")?;
        if rules.len() > hv_abi::wake::RULES_MAX {
            return Err(Status::InvalidArgument);
        }
        state.rules = rules.to_vec();
        Ok(())
    }

    fn console_attach(&mut self, vm: VmHandle, to: (VmHandle, u16), right: ConsoleRight) -> Result<(), Status> {
        let mut state = self.enter("console_attach")?;
        state.find(vm)?;
        state.attached.push((vm, to, right));
        Ok(())
    }

    fn drive_read(&mut self, drive: u8, sector: u64) -> Result<DriveBlock, Status> {
        let state = self.enter("drive_read")?;
        let drive = state.drives.get(usize::from(drive)).ok_or(Status::InvalidArgument)?;
        let start = usize::try_from(sector * 512).unwrap();
        let bytes = drive.get(start..start + 4096).ok_or(Status::InvalidArgument)?.to_vec();
        Ok(DriveBlock { bytes, sectors: drive.len() as u64 / 512, block_size: 512 })
    }

    fn vm_attach(&mut self, vm: VmHandle, part: DiskPart) -> Result<(), Status> {
        let mut state = self.enter("vm_attach")?;
        let vm = state.find(vm)?;
        if vm.disks.iter().any(|disk| disk.disk == part.disk) {
            return Err(Status::Exists);
        }
        vm.disks.push(part);
        Ok(())
    }

    /// A guest that lets go when it is asked the second time.
    fn vm_detach(&mut self, vm: VmHandle, disk: u8, force: bool) -> Result<(), Status> {
        let mut state = self.enter("vm_detach")?;
        let vm = state.find(vm)?;
        let place = vm.disks.iter().position(|part| part.disk == disk).ok_or(Status::InvalidArgument)?;
        vm.disks.remove(place);
        if force { Ok(()) } else { Err(Status::Again) }
    }

    fn inject(&mut self, _: Fault) -> Result<(), Status> {
        Err(Status::Denied)
    }
}

impl Page for El2 {
    fn load(&self, offset: usize) -> u32 {
        self.0.borrow().index(offset)
    }

    fn store(&mut self, offset: usize, value: u32) {
        self.0.borrow_mut().set(offset, value);
    }

    fn read_slot(&self, offset: usize) -> Slot {
        Slot::read_from_bytes(&self.0.borrow().page[offset..offset + SLOT_SIZE]).unwrap()
    }

    fn write_slot(&mut self, offset: usize, slot: &Slot) {
        self.0.borrow_mut().page[offset..offset + SLOT_SIZE].copy_from_slice(slot.as_bytes());
    }
}

/// Runs dtc over `input`.
fn dtc(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("dtc")
        .args(arguments)
        .args(["-q", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("dtc (device-tree-compiler) is installed");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "dtc refuses:\n{input:?}");
    output.stdout
}

/// The blob of a source.
pub(crate) fn compile(source: &str) -> Vec<u8> {
    dtc(&["-I", "dts", "-O", "dtb"], source.as_bytes())
}

/// The source of a blob, as dtc prints it. Before 1.7 it wrote the strings of a list as one.
pub(crate) fn decompile(blob: &[u8]) -> std::string::String {
    let source = std::string::String::from_utf8(dtc(&["-I", "dtb", "-O", "dts"], blob)).unwrap();
    source.replace("\\0", "\", \"")
}

/// A boot archive, by the format's description (newc).
pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in members.iter().copied().chain([("TRAILER!!!", &b""[..])]) {
        out.extend_from_slice(b"070701");
        let (data_size, name_size) = (data.len(), name.len() + 1);
        for number in [0, 0, 0, 0, 0, 0, data_size, 0, 0, 0, 0, name_size, 0] {
            out.extend_from_slice(std::format!("{number:08x}").as_bytes());
        }
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// A Linux image of `file` bytes that takes `memory`, placeable anywhere.
pub(crate) fn linux(file: usize, memory: u64) -> Vec<u8> {
    let mut image: Vec<u8> = (0..file).map(|i| (i / 7) as u8).collect();
    image[..8].fill(0);
    image[8..16].copy_from_slice(&0u64.to_le_bytes());
    image[16..24].copy_from_slice(&memory.to_le_bytes());
    image[24..32].copy_from_slice(&0xau64.to_le_bytes());
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    image
}

/// Source of a description with three guests: `linux` starts at power-on, `raw` and `tiny` do not.
pub(crate) const SYSTEM: &str = r#"/dts-v1/;
/ {
    compatible = "dormouse,system";
    service-partition {
        compatible = "dormouse,service-partition";
        image = "sos.img";
        memory = /bits/ 64 <0x400000>;
    };
    guests {
        linux {
            compatible = "dormouse,guest";
            memory = /bits/ 64 <0x2000000>;
            vcpus = <2>;
            image = "kernel";
            initrd = "initrd";
            bootargs = "console=ttyAMA0";
            autostart;
            watchdog;
            memory-guarantee = /bits/ 64 <0x1000000>;
            restart = "on-failure";
            restart-limit = <5>;
            grants = "manage", "info", "log", "consoles";
            ports = <4>;
        };
        raw {
            compatible = "dormouse,guest";
            memory = /bits/ 64 <0x1000000>;
            image = "raw.img";
            image-format = "raw";
            load-address = /bits/ 64 <0x40080000>;
            cpu-weight = <300>;
            cpu-affinity = <1 3>;
            cpu-reservation = <2000 10000>;
        };
        tiny {
            compatible = "dormouse,guest";
            memory = /bits/ 64 <0x200000>;
            image = "kernel";
        };
    };
};
"#;

/// The archive that goes with [`SYSTEM`]; the raw image takes three copies.
pub(crate) fn system_archive(source: &str) -> Vec<u8> {
    let raw: Vec<u8> = (0..150_000u32).map(|i| (i % 251) as u8).collect();
    archive(&[
        ("system.dtb", &compile(source)),
        ("kernel", &linux(100_000, 0x40_0000)),
        ("initrd", &[0x1f; 70_000]),
        ("raw.img", &raw),
    ])
}
