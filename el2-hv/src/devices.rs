//! What a guest's loads and stores outside of its memory reach: GIC, serial line, clock, watchdog, virtio slots.

use guest_virtio::mmio::read_empty_slot;
use guest_virtio::pl011::{Pl011, TxState, UartEffect};
use guest_virtio::pl031::Pl031;
use guest_virtio::watchdog::{Frame, Watchdog};
use hv_abi::guest_map::{
    BALLOON_SLOT, ENTROPY_SLOT, GICD_BASE, RTC_BASE, RTC_SPI, UART_BASE, UART_SPI, VIRTIO_BASE, VIRTIO_SLOTS,
    VIRTIO_STRIDE, WATCHDOG_CONTROL_BASE, WATCHDOG_REFRESH_BASE, WATCHDOG_SPI,
};
use hv_abi::record::EndReason;
use hv_arch::lock::MutexGuard;
use hv_core::addr::{IntId, VcpuIdx, VmId};
use hv_core::exit::{Direction, MmioAccess};
use hv_core::ring::{ByteRing, WhenFull};
use hv_core::vgic::{GicRegister, Kicks, Level, Vgic};

use crate::cpu::Local;
use crate::history::{History, STEP};
use crate::machine::machine;
use crate::vcpu::Loaded;
use crate::{VMS, balloon, console, disks, networks, ports, rng, shared, vcpu, vm, watch};

/// Bytes of a VM's console that its line holds.
pub const OUTPUT_SIZE: usize = 4096;
/// Room below which the line shows a full FIFO: Linux writes half a FIFO without looking after a transmit interrupt.
const OUTPUT_MARGIN: usize = 32;

/// Bytes that wait for a VM of what others have typed at its console.
const TYPED_SIZE: usize = 256;

/// First INTID of an SPI.
const SPI: u32 = 32;

/// A VM's serial line, clock and watchdog.
pub struct Serial {
    /// The UART.
    pub uart: Pl011,
    /// What it said: the end is kept after it was shown.
    pub output: ByteRing<OUTPUT_SIZE>,
    /// More of what it said.
    pub history: History,
    /// What others have typed there.
    pub typed: ByteRing<TYPED_SIZE>,
    rtc: Pl031,
    /// As reset leaves it where the VM has none.
    watchdog: Watchdog,
    /// Interrupt levels as the GIC knows them.
    uart_line: bool,
    rtc_line: bool,
    watchdog_line: bool,
    /// The guest was shown a full FIFO.
    was_full: bool,
    /// Counter when it last did anything but send.
    touched: u64,
}

/// Time without an access after which a guest means what it has enabled, in nanoseconds: longer than a
/// driver takes from one register to the next, shorter than a person notices.
const SETTLE_NS: u64 = 5_000_000;

/// The alarm is looked at again after this long at the latest: the clock of the board may be set meanwhile.
const ALARM_STEP_S: u64 = 3600;

impl Serial {
    /// A line that nobody has used.
    pub const fn new() -> Self {
        Self {
            uart: Pl011::UNPOWERED,
            output: ByteRing::new(),
            history: History::NONE,
            typed: ByteRing::new(),
            rtc: Pl031::new(0, 0),
            watchdog: Watchdog::RESET,
            uart_line: false,
            rtc_line: false,
            watchdog_line: false,
            was_full: false,
            touched: 0,
        }
    }

    /// As for a new VM.
    pub fn reset(&mut self) {
        let now = machine().seconds();
        self.uart = Pl011::new();
        self.output.clear();
        self.typed.clear();
        self.history.begin_at(self.output.end());
        self.rtc = Pl031::new(now as u32, now);
        self.watchdog = Watchdog::RESET;
        (self.uart_line, self.rtc_line, self.watchdog_line, self.was_full) = (false, false, false, false);
    }

    /// A byte was put on the line.
    #[inline]
    fn said(&mut self) {
        if self.output.end().is_multiple_of(STEP) {
            self.history.follow(&self.output);
        }
    }

    /// Whether nobody has refreshed the watchdog in time.
    pub fn has_expired(&self) -> bool {
        self.watchdog.has_expired()
    }

    /// Whether the guest is ready for input is looked at again.
    pub fn settle(&mut self) {
        let quiet = hv_arch::counter::now_relaxed().wrapping_sub(self.touched);
        if quiet >= machine().ticks(SETTLE_NS) {
            self.uart.settle();
        }
    }

    /// When [`deadline_passed`] has something to do: input waits for the line to settle, the alarm is set, the
    /// watchdog runs, a port has more, or a device waits for its limits.
    fn deadline(&self, id: VmId) -> Option<u64> {
        let settled = (self.uart.is_unsettled() && self.has_input_for(id))
            .then(|| self.touched.saturating_add(machine().ticks(SETTLE_NS)));
        let alarm = self.rtc.deadline().map(|at| {
            let wait = at.saturating_sub(machine().seconds()).min(ALARM_STEP_S);
            hv_arch::counter::now_relaxed().saturating_add(wait * machine().counter_hz)
        });
        let watchdog = self.watchdog.deadline().map(|at| at.saturating_add(VMS[id.index()].counter_offset()));
        let ports = ports::has_more(id).then(|| hv_arch::counter::now_relaxed() + machine().ticks(ports::PAUSE_NS));
        let limits = [disks::due(&VMS[id.index()]), VMS[id.index()].rng.due()];
        let first = [settled, alarm, watchdog, ports].into_iter().chain(limits).flatten().fold(u64::MAX, u64::min);
        (first != u64::MAX).then_some(first)
    }

    /// Whether input waits for the VM whose line this is.
    fn has_input_for(&self, id: VmId) -> bool {
        !self.typed.is_empty() || console::has_input_for(id)
    }

    /// Gives the VM what others have typed, as far as it wants it.
    fn take_typed(&mut self) {
        while !self.typed.is_empty() && self.uart.wants_input() {
            self.typed.take().map(|byte| self.uart.receive(byte));
        }
    }

    fn has_room(&self) -> bool {
        self.output.len() + OUTPUT_MARGIN <= OUTPUT_SIZE
    }
}

/// What an access to a device comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Access {
    /// It is done.
    Done,
    /// No device is there.
    Nothing,
    /// It has to be done again when the vCPU is notified.
    Later,
}

/// Performs a guest's access to a device.
#[inline]
pub fn access(local: &mut Local, loaded: &mut Loaded, access: &MmioAccess) -> Access {
    let page = access.ipa.0 & !0xfff;
    if page == UART_BASE {
        if access.ipa.0 == UART_BASE && access.direction == Direction::Write {
            transmit(local, loaded, access);
        } else {
            serial(local, loaded, access);
        }
        return Access::Done;
    }
    if access.direction == Direction::Read
        && page == GICD_BASE
        && let Some(value) = Vgic::constant(GicRegister::Distributor(access.ipa.0 as u32 & 0xfff), access.size)
    {
        load(loaded, access, value);
        return Access::Done;
    }
    other(local, loaded, access)
}

#[inline(never)]
fn other(local: &mut Local, loaded: &mut Loaded, access: &MmioAccess) -> Access {
    let page = access.ipa.0 & !0xfff;
    if let Some(register) = GicRegister::at(access.ipa, loaded.vm.vcpu_count()) {
        gic(local, loaded, access, register);
    } else if page == RTC_BASE {
        timed(local, loaded, access, Timed::Clock);
    } else if access.ipa.0.wrapping_sub(VIRTIO_BASE) < u64::from(VIRTIO_SLOTS) * VIRTIO_STRIDE {
        return virtio(loaded, access);
    } else if page == WATCHDOG_CONTROL_BASE && loaded.vm.has_watchdog() {
        timed(local, loaded, access, Timed::Watchdog(Frame::Control));
    } else if page == WATCHDOG_REFRESH_BASE && loaded.vm.has_watchdog() {
        timed(local, loaded, access, Timed::Watchdog(Frame::Refresh));
    } else {
        return if doorbell(loaded, access) { Access::Done } else { Access::Nothing };
    }
    Access::Done
}

/// A doorbell of memory that the VM shares; whether there is one.
fn doorbell(loaded: &mut Loaded, access: &MmioAccess) -> bool {
    match access.direction {
        Direction::Read => {
            let found = shared::read(loaded.vm_id, loaded.vm, access.ipa.0);
            found.map(|value| load(loaded, access, value)).is_some()
        }
        Direction::Write => shared::write(loaded.vm, access.ipa.0, stored(loaded, access)),
    }
}

/// What a store puts on the bus.
#[inline]
fn stored(loaded: &Loaded, access: &MmioAccess) -> u64 {
    access.store_value(loaded.core.registers.read(access.register))
}

/// Ends a load.
#[inline]
fn load(loaded: &mut Loaded, access: &MmioAccess, bus: u64) {
    let value = access.load_value(bus);
    loaded.core.registers.write(access.register, value);
}

/// A guest sends a byte. Where it has the console and nothing waits before it, it goes straight to the UART.
#[inline(never)]
fn transmit(local: &mut Local, loaded: &mut Loaded, access: &MmioAccess) {
    let vm = loaded.vm;
    let mut serial = vm.serial.lock();
    let byte = loaded.core.registers.read(access.register);
    let straight = console::focus() == console::Focus::Vm(loaded.vm_id) && serial.output.is_empty();
    if !straight || !console::put(byte as u8) {
        drop(serial);
        return self::serial(local, loaded, access);
    }
    let _ = serial.uart.write(0, 4, byte, TxState::Room);
    serial.output.note(byte as u8);
    serial.said();
    if serial.uart.line() != serial.uart_line {
        serial_changed(loaded.vm_id, &mut serial);
    }
    drop(serial);
    watch::said(loaded.vm_id);
}

#[inline(never)]
fn serial(local: &mut Local, loaded: &mut Loaded, access: &MmioAccess) {
    let (offset, size) = (access.ipa.0 & 0xfff, access.size.bytes() as u8);
    let vm = loaded.vm;
    let focused = console::focus() == console::Focus::Vm(loaded.vm_id);
    let mut serial = vm.serial.lock();
    serial.touched = hv_arch::counter::now_relaxed();
    let tx = if focused && !serial.has_room() { TxState::Full } else { TxState::Room };
    serial.was_full |= tx == TxState::Full;
    match access.direction {
        Direction::Read => {
            let value = serial.uart.read(offset, size, tx);
            load(loaded, access, value);
        }
        Direction::Write => {
            let value = stored(loaded, access);
            if let UartEffect::Transmit(byte) = serial.uart.write(offset, size, value, tx) {
                let when_full = if focused { WhenFull::Refuse } else { WhenFull::Overwrite };
                serial.output.put(byte, when_full);
                serial.said();
                console::output(loaded.vm_id, &mut serial);
            }
        }
    }
    serial_changed(loaded.vm_id, &mut serial);
    if serial.uart.is_unsettled() && serial.has_input_for(loaded.vm_id) {
        local.watch_devices(loaded.vm_id, serial.deadline(loaded.vm_id));
    }
    drop(serial);
    watch::said(loaded.vm_id);
}

/// Something about a line has changed: gives it input, and its interrupt's level to the GIC.
#[inline]
pub fn serial_changed(id: VmId, serial: &mut Serial) {
    console::input(id, serial);
    serial.take_typed();
    if serial.was_full && serial.has_room() {
        serial.was_full = false;
        serial.uart.transmit_room();
    }
    let line = serial.uart.line();
    if line != serial.uart_line {
        serial.uart_line = line;
        set_line(id, UART_SPI, line);
    }
}

/// Sets the level of an SPI of a VM.
fn set_line(id: VmId, spi: u32, line: bool) {
    let vm = &VMS[id.index()];
    let level = if line { Level::High } else { Level::Low };
    let kicks = vm.gic.lock().set_line(IntId(SPI + spi), VcpuIdx(0), level);
    vm::notify_all(vm, kicks);
}

/// A device that acts by time.
#[derive(Clone, Copy)]
enum Timed {
    Clock,
    Watchdog(Frame),
}

fn timed(local: &mut Local, loaded: &mut Loaded, access: &MmioAccess, device: Timed) {
    let (offset, size) = (access.ipa.0 & 0xfff, access.size.bytes() as u8);
    let vm = loaded.vm;
    let mut serial = vm.serial.lock();
    let now = match device {
        Timed::Clock => machine().seconds(),
        Timed::Watchdog(_) => counter_of(vm),
    };
    match access.direction {
        Direction::Read => {
            let value = match device {
                Timed::Clock => serial.rtc.read(offset, size, now),
                Timed::Watchdog(frame) => serial.watchdog.read(frame, offset, size, now),
            };
            load(loaded, access, value);
        }
        Direction::Write => {
            let value = stored(loaded, access);
            match device {
                Timed::Clock => serial.rtc.write(offset, size, value, now),
                Timed::Watchdog(frame) => serial.watchdog.write(frame, offset, size, value, now),
            }
            local.watch_devices(loaded.vm_id, serial.deadline(loaded.vm_id));
        }
    }
    timed_changed(loaded.vm_id, serial);
}

/// The system counter that a VM's watchdog compares: the one that its vCPUs read as CNTVCT_EL0.
fn counter_of(vm: &vm::Vm) -> u64 {
    hv_arch::counter::now().wrapping_sub(vm.counter_offset())
}

/// Something about clock or watchdog has changed: gives their interrupts' levels to the GIC, and ends the VM where
/// the watchdog's second signal is there.
fn timed_changed(id: VmId, mut serial: MutexGuard<'_, Serial>) {
    let lines = (serial.rtc.line(), serial.watchdog.line());
    if lines.0 != serial.rtc_line {
        serial.rtc_line = lines.0;
        set_line(id, RTC_SPI, lines.0);
    }
    if lines.1 != serial.watchdog_line {
        serial.watchdog_line = lines.1;
        set_line(id, WATCHDOG_SPI, lines.1);
    }
    let expired = serial.has_expired();
    drop(serial);
    if expired {
        vm::end(id, EndReason::Watchdog);
    }
}

/// A deadline of a VM's devices may have passed. Returns the next.
pub fn deadline_passed(id: VmId) -> Option<u64> {
    let vm = &VMS[id.index()];
    let runs = vm.phase() == vm::Phase::Running;
    if runs {
        ports::go_on(id);
    }
    // Behind what takes back that the VM has more: what is put off from here on says so anew.
    disks::go_on(vm);
    networks::go_on(vm);
    rng::go_on(id);
    balloon::go_on(id, vm);
    if !runs {
        return None;
    }
    let mut serial = vm.serial.lock();
    serial.rtc.tick(machine().seconds());
    serial.watchdog.tick(counter_of(vm));
    serial.settle();
    serial_changed(id, &mut serial);
    let next = serial.deadline(id);
    timed_changed(id, serial);
    next
}

fn gic(local: &mut Local, loaded: &mut Loaded, access: &MmioAccess, register: GicRegister) {
    let vm = loaded.vm;
    match access.direction {
        Direction::Read => {
            if Vgic::read_needs_fold(register) {
                loaded.sync_gic(local);
                let residents = vm.gic.lock().residents(register, access.size);
                vm::notify_all(vm, residents.without(loaded.index));
            }
            let value = vm.gic.lock().read(register, access.size);
            load(loaded, access, value);
        }
        Direction::Write => {
            let value = stored(loaded, access);
            let kicks = vm.gic.lock().write(register, access.size, value);
            vm::notify_all(vm, kicks);
            loaded.refresh_timer_template();
        }
    }
}

fn virtio(loaded: &mut Loaded, access: &MmioAccess) -> Access {
    let offset = access.ipa.0 - VIRTIO_BASE;
    let (slot, offset) = (offset / VIRTIO_STRIDE, offset % VIRTIO_STRIDE);
    let size = access.size.bytes() as u8;
    let disk = loaded.vm.disks.at(slot);
    let has_console = slot == 0 && loaded.vm.has_ports();
    let has_rng = slot == u64::from(ENTROPY_SLOT) && loaded.vm.rng.is_there();
    let has_balloon = slot == u64::from(BALLOON_SLOT) && loaded.vm.balloon.owner().is_some();
    if access.direction == Direction::Write {
        let value = stored(loaded, access);
        if let Some(disk) = disk {
            let done = disks::write(disk, (loaded.vm_id, slot, loaded.index), [offset, size.into(), value]);
            return if done { Access::Done } else { Access::Later };
        } else if let Some(card) = loaded.vm.nics.at(slot) {
            if networks::write(card, [offset, size.into(), value]) {
                loaded.vcpu.goes_on(vcpu::SEND);
            }
        } else if has_rng {
            rng::write(loaded.vm_id, [offset, size.into(), value]);
        } else if has_console {
            ports::write(loaded.vm_id, offset, size, value);
        } else if has_balloon {
            balloon::write(loaded.vm_id, loaded.vm, [offset, size.into(), value]);
        }
        return Access::Done;
    }
    let value = match (disk, loaded.vm.nics.at(slot)) {
        (Some(disk), _) => disks::read(disk, (loaded.vm_id, slot), [offset, size.into()]),
        (_, Some(card)) => networks::read(card, offset, size),
        _ if has_rng => loaded.vm.rng.read(offset, size),
        _ if has_console => loaded.vm.ports().console.read(offset, size),
        _ if has_balloon => loaded.vm.balloon.read(offset, size),
        _ => read_empty_slot(offset, size),
    };
    load(loaded, access, value);
    Access::Done
}

/// Sends an edge of an SPI to a VM.
pub fn pulse(id: VmId, spi: u32) {
    let vm = &VMS[id.index()];
    let kicks: Kicks = vm.gic.lock().pulse(IntId(SPI + spi));
    vm::notify_all(vm, kicks);
}
