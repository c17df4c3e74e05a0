//! Guests' virtio entropy devices: random bytes of the one pool, within each VM's share.

use core::sync::atomic::{AtomicBool, Ordering};

use guest_virtio::entropy::{Entropy, EntropyEffect, REQUEST_BYTES};
use guest_virtio::queue::Backlog;
use hv_abi::Status;
use hv_abi::guest_map::{ENTROPY_SLOT, VIRTIO_SPI};
use hv_arch::lock::Mutex;
use hv_core::addr::VmId;

use crate::due::{Due, Waits};
use crate::guest_ram::Ram;
use crate::vm::Vm;
use crate::{VMS, cpu, devices, entropy, interrupts, ports};

/// A VM's entropy device, if it has one.
pub struct Rng {
    device: Mutex<Entropy>,
    is_there: AtomicBool,
    /// Requests wait that were not looked at, since the share was used up or it was others' turn.
    is_waiting: AtomicBool,
    /// When the share is no longer used up.
    due: Due,
}

/// Bytes of the pool that were drawn and not given yet. What is left of them is given to nobody.
struct Supply {
    bytes: [u8; REQUEST_BYTES],
    given: usize,
}

impl Rng {
    /// None.
    pub const fn new() -> Self {
        Self {
            device: Mutex::new(Entropy::NONE),
            is_there: AtomicBool::new(false),
            is_waiting: AtomicBool::new(false),
            due: Due::new(),
        }
    }

    /// Whether the VM has one.
    #[inline]
    pub fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// When requests go on that wait for the VM's share, on the counter.
    pub fn due(&self) -> Option<u64> {
        self.due.at()
    }

    /// A guest's load from its registers.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        self.device.lock().read(offset, size)
    }

    /// Waits for whoever is at it.
    pub fn wait_for(&self) {
        drop(self.device.lock());
    }

    /// Takes it away. Nothing of its VM's memory is read or written for it from here on.
    pub fn remove(&self) {
        *self.device.lock() = Entropy::NONE;
        self.is_there.store(false, Ordering::Relaxed);
        self.is_waiting.store(false, Ordering::Relaxed);
        self.due.clear();
    }
}

impl Supply {
    /// Fills `into` for a VM.
    fn fill(&mut self, vm: VmId, into: &mut [u8]) {
        for byte in into {
            if self.given == REQUEST_BYTES {
                entropy::draw_ahead_for(vm, &mut self.bytes);
                self.given = 0;
            }
            *byte = self.bytes[self.given];
            self.given += 1;
        }
    }
}

/// Gives a VM that is being built an entropy device. Where the board has no random numbers its slot stays empty.
pub fn add(vm: &Vm) -> Result<(), Status> {
    if vm.rng.is_there() {
        return Err(Status::Exists);
    }
    if !entropy::is_seeded() {
        log::warn!("vm {}: no entropy device: the board has no source of random numbers", vm.name());
        return Ok(());
    }
    vm.rng.device.lock().restart();
    vm.rng.is_there.store(true, Ordering::Relaxed);
    Ok(())
}

/// A guest's store to its device's registers.
#[inline(never)]
pub fn write(id: VmId, [offset, size, value]: [u64; 3]) {
    let rng = &VMS[id.index()].rng;
    let mut device = rng.device.lock();
    match device.write(offset, size as u8, value) {
        EntropyEffect::None => {}
        EntropyEffect::Reset => rng.due.clear(),
        EntropyEffect::Requests => fill(id, &mut device),
    }
    pulse(id, &mut device);
}

/// Does what was put off.
pub fn go_on(id: VmId) {
    let rng = &VMS[id.index()].rng;
    if rng.is_waiting.swap(false, Ordering::Relaxed) {
        let mut device = rng.device.lock();
        fill(id, &mut device);
        pulse(id, &mut device);
    }
}

/// Fills requests, as far as the VM's share and its turn go: one call draws at most half a KiB more than the share.
fn fill(id: VmId, device: &mut Entropy) {
    let vm = &VMS[id.index()];
    if !vm.phase().is_alive() {
        return vm.rng.due.clear();
    }
    let ram = Ram::of(vm);
    let mut until = entropy::share_back(id);
    let mut backlog = Backlog::Waiting;
    while until.is_none() && backlog == Backlog::Waiting {
        let mut supply = Supply { bytes: [0; REQUEST_BYTES], given: REQUEST_BYTES };
        backlog = device.fill(&ram, &mut |into| supply.fill(id, into));
        until = entropy::share_back(id);
        if interrupts::look() {
            break;
        }
    }
    let is_left = backlog == Backlog::Waiting;
    vm.rng.is_waiting.store(is_left, Ordering::Relaxed);
    let waits = vm.rng.due.set(until.filter(|_| is_left));
    if waits == Waits::Now || is_left && waits == Waits::Not {
        ports::look_again(id);
        cpu::interrupt_self();
    }
}

/// Interrupts the guest where the device has something to say.
fn pulse(id: VmId, device: &mut Entropy) {
    if device.take_pulse() {
        devices::pulse(id, VIRTIO_SPI + ENTROPY_SLOT);
    }
}
