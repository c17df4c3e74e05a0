//! Memory that VMs share, and the doorbells between them. Who has what is `hv_core::shared`'s.

use core::sync::atomic::{AtomicU8, Ordering};

use hv_abi::Status;
use hv_abi::call::SharedRegion;
use hv_abi::guest_map::{
    DOORBELL_BASE, DOORBELL_NUMBER, DOORBELL_PRESENT, DOORBELL_RING, DOORBELL_SPI, DOORBELL_STRIDE, SHARED_BASE,
    SHARED_MAX, SHARED_SLOTS,
};
use hv_abi::handle::Label;
use hv_arch::lock::{Mutex, MutexGuard};
use hv_arch::ram::Tables;
use hv_core::addr::{FRAME_SIZE, Ipa, PaRange, VmId};
use hv_core::frames::Owner;
use hv_core::shared::{Region, User};
use hv_core::stage2::Access;

use crate::memory::frames;
use crate::vm::{self, Vm};
use crate::{SHARED, devices};

/// Regions at a time.
pub const REGIONS: usize = 16;

/// Which regions a VM has: an index into [`SHARED`] and one, or 0.
pub struct Slots([AtomicU8; SHARED_SLOTS]);

impl Slots {
    /// None.
    pub const fn new() -> Self {
        Self([const { AtomicU8::new(0) }; SHARED_SLOTS])
    }

    /// The region in a slot.
    fn region(&self, slot: usize) -> Option<&'static Mutex<Region>> {
        SHARED.get(usize::from(self.0.get(slot)?.load(Ordering::Relaxed)).wrapping_sub(1))
    }
}

/// Gives a VM that is being built a region, which is made where there is none of that name: its IPA.
#[inline(never)]
pub fn share(id: VmId, vm: &Vm, name: Label, wanted: SharedRegion) -> Result<u64, Status> {
    let mut control = vm.control.lock();
    let stage2 = control.stage2.as_mut().ok_or(Status::WrongState)?;
    let free = vm.shared.0.iter().position(|slot| slot.load(Ordering::Relaxed) == 0);
    let slot = free.ok_or(Status::NoRoom)?;
    let (index, mut region) = find_or_make(name, wanted.bytes)?;
    if region.range().size != wanted.bytes {
        return Err(Status::Conflict);
    }
    region.join(usize::from(wanted.number), User { vm: id, slot: slot as u8 }).map_err(|_| Status::Exists)?;
    let ipa = SHARED_BASE + slot as u64 * SHARED_MAX;
    let access = if wanted.writable { Access::SharedReadWrite } else { Access::SharedRead };
    let mapped = stage2.map(Ipa(ipa), region.range(), access, &mut Tables { frames: &mut frames() });
    if mapped.is_err() {
        if let Some(gone) = region.leave(id) {
            // Nobody has written to it.
            frames().free(gone, Owner::Shared);
        }
        return Err(Status::NoMemory);
    }
    vm.shared.0[slot].store(index as u8 + 1, Ordering::Relaxed);
    Ok(ipa)
}

/// The region of that name, a new one where there is none. A new one has somebody before its lock is given up.
fn find_or_make(name: Label, bytes: u64) -> Result<(usize, MutexGuard<'static, Region>), Status> {
    let named = |name| SHARED.iter().map(Mutex::lock).enumerate().find(|(_, region)| region.name() == name);
    if let Some(found) = named(Some(name)) {
        return Ok(found);
    }
    let (index, mut region) = named(None).ok_or(Status::NoMemory)?;
    let start = frames().allocate(bytes, Owner::Shared).map_err(|_| Status::NoMemory)?;
    region.begin(name, PaRange { start, size: bytes });
    Ok((index, region))
}

/// Takes a VM's regions from it, whose translations are forgotten. What nobody else has is its own from here on, to be
/// returned with the rest of it; or nobody's, where some VM has lost memory to a drive: that may have been shared.
pub fn leave_all(id: VmId, vm: &Vm) {
    for (slot, place) in vm.shared.0.iter().enumerate() {
        let region = vm.shared.region(slot);
        place.store(0, Ordering::Relaxed);
        if let Some(gone) = region.and_then(|region| region.lock().leave(id)) {
            let heir = if vm::has_lost_memory() { Owner::Lost } else { Owner::Vm(id) };
            frames().change(&gone, Owner::Shared, heir);
        }
    }
}

/// The doorbell's slot and register at `ipa`, where the VM has a region there.
fn at(vm: &Vm, ipa: u64) -> Option<(&'static Mutex<Region>, u64)> {
    let offset = ipa.checked_sub(DOORBELL_BASE)?;
    let register = Some(offset % DOORBELL_STRIDE).filter(|register| *register < FRAME_SIZE)?;
    Some((vm.shared.region((offset / DOORBELL_STRIDE) as usize)?, register))
}

/// What a VM reads at a doorbell's IPA; `None` where it has none there.
#[inline(never)]
pub fn read(id: VmId, vm: &Vm, ipa: u64) -> Option<u64> {
    let (region, register) = at(vm, ipa)?;
    let region = region.lock();
    Some(match register {
        DOORBELL_NUMBER => region.number_of(id).unwrap_or_default() as u64,
        DOORBELL_PRESENT => u64::from(region.present()),
        _ => 0,
    })
}

/// A VM writes at a doorbell's IPA; whether it has one there. The region's lock is held while the other VM is told, so that
/// it has it until then.
#[inline(never)]
pub fn write(vm: &Vm, ipa: u64, value: u64) -> bool {
    let Some((region, register)) = at(vm, ipa) else { return false };
    let region = region.lock();
    if register == DOORBELL_RING
        && let Some(user) = usize::try_from(value).ok().and_then(|number| region.user(number))
    {
        devices::pulse(user.vm, DOORBELL_SPI + u32::from(user.slot));
    }
    true
}
