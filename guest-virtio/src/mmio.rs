//! The virtio-mmio transport, version 2 (virtio 1.2 §4.2): the register file of one slot.
//!
//! Owns the device status, feature negotiation, the queues' set-up and the interrupt status. It
//! never touches guest memory and knows no device: the device gives its [`Profile`] and, at each
//! access, its configuration space as bytes.
//!
//! The slot's interrupt is an edge SPI: each cause sets its bit in InterruptStatus and asks for
//! one pulse, also when the bit is still set. A driver reads and acknowledges the bits before it
//! looks at the queues, so a pulse that comes early costs it one empty look, and none is missed.
//!
//! Registers take aligned 32-bit accesses only (§4.2.2.2); any other reads zero and is ignored.
//! Of the configuration space every size and alignment is answered.

mod register;
#[cfg(any(test, fuzzing))]
pub(crate) mod tests;

pub use register::{CONFIG as CONFIG_BASE, CONFIG_SIZE, DORMOUSE_VENDOR, read_empty_slot};

use crate::queue::{Queue, RingFeatures};
use virtio_spec::mmio::InterruptStatus;
use virtio_spec::{DeviceStatus, F, Id};

/// What a driver may set in the status register; DEVICE_NEEDS_RESET is the device's (§2.1).
const DRIVER_STATUS: u8 = DeviceStatus::ACKNOWLEDGE.bits()
    | DeviceStatus::DRIVER.bits()
    | DeviceStatus::DRIVER_OK.bits()
    | DeviceStatus::FEATURES_OK.bits()
    | DeviceStatus::FAILED.bits();

/// What a device is, whatever its driver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The device type (§5).
    pub id: Id,
    /// Feature bits of the device type that are offered. The transport adds
    /// [`RING_FEATURES`].
    pub offered: u64,
    /// Feature bits without which the device does not work; VERSION_1 is always one.
    pub required: u64,
    /// Number of queues the device has; at most the transport's.
    pub queues: u16,
    /// Most entries of each queue, a power of two.
    pub queue_size_max: u16,
}

impl Profile {
    /// No device, until [`Transport::restart`]: all zero, for a static table.
    pub const NONE: Self = Self { id: Id::Reserved, offered: 0, required: 0, queues: 0, queue_size_max: 0 };
}

/// The feature bits that every device here offers (§6).
const RING_FEATURES: u64 = feature_bits(F::VERSION_1) | feature_bits(F::INDIRECT_DESC) | feature_bits(F::EVENT_IDX);

/// The low 64 of the specification's 128 feature bits; the registers can select more, and they
/// read zero.
const fn feature_bits(features: F) -> u64 {
    features.bits().to_ne() as u64
}

/// What a register write asks of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing.
    None,
    /// The driver has set DRIVER_OK: every queue may hold buffers that it notified of too early
    /// to be heard (§3.1.1).
    Started,
    /// The driver made buffers available on this queue, which is enabled.
    Notify(u16),
    /// The driver stopped this queue; what the device has of it is void.
    QueueStopped(u16),
    /// The driver reset the device: queues and negotiation are gone already.
    Reset,
}

/// The registers of one slot with a device of up to `QUEUES` queues.
#[derive(Clone, Debug)]
pub struct Transport<const QUEUES: usize> {
    profile: Profile,
    status: DeviceStatus,
    interrupt: InterruptStatus,
    pulse: bool,
    accepted: u64,
    /// The driver wrote a bit beyond the 64 that [`Transport::accepted`] holds.
    accepted_unknown: bool,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
    generation: u32,
    queues: [Queue; QUEUES],
}

impl<const QUEUES: usize> Transport<QUEUES> {
    /// A device as after power-on.
    pub const fn new(profile: Profile) -> Self {
        Self {
            profile,
            status: DeviceStatus::empty(),
            interrupt: InterruptStatus::empty(),
            pulse: false,
            accepted: 0,
            accepted_unknown: false,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            generation: 0,
            queues: [const { Queue::new() }; QUEUES],
        }
    }

    /// Becomes this device, as after power-on.
    pub fn restart(&mut self, profile: Profile) {
        self.profile = profile;
        self.status = DeviceStatus::empty();
        self.interrupt = InterruptStatus::empty();
        (self.pulse, self.accepted, self.accepted_unknown) = (false, 0, false);
        (self.device_features_sel, self.driver_features_sel, self.queue_sel) = (0, 0, 0);
        self.queues.iter_mut().for_each(Queue::reset);
    }

    /// Answers a read of `size` bytes (1, 2, 4 or 8) at `offset` into the slot. `config` is the
    /// device's configuration space; what lies behind it reads zero.
    pub fn read(&self, offset: u64, size: u8, config: &[u8]) -> u64 {
        if offset >= register::CONFIG {
            return register::read_config(config, offset - register::CONFIG, size);
        }
        if size != 4 {
            return 0;
        }
        let value = match offset {
            register::DEVICE_ID => u32::from(u8::from(self.profile.id)),
            register::DEVICE_FEATURES => register::word(self.offered(), self.device_features_sel),
            register::QUEUE_SIZE_MAX => self.queue_size_max(),
            register::QUEUE_READY => self.selected().map_or(0, |queue| queue.is_ready().into()),
            register::INTERRUPT_STATUS => u32::from(self.interrupt.bits()),
            register::STATUS => u32::from(self.status.bits()),
            register::CONFIG_GENERATION => self.generation,
            _ => register::read_fixed(offset),
        };
        u64::from(value)
    }

    /// Performs a write of `size` bytes at `offset` into the slot. The configuration space is
    /// read-only.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> Effect {
        if size != 4 {
            return Effect::None;
        }
        let value = value as u32;
        match offset {
            register::QUEUE_NOTIFY => return self.notified(value),
            register::STATUS => return self.write_status(value),
            register::QUEUE_READY => return self.write_queue_ready(value),
            register::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            register::DRIVER_FEATURES => self.accept(value),
            register::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            register::QUEUE_SEL => self.queue_sel = value,
            register::QUEUE_SIZE => self.write_queue_size(value),
            register::INTERRUPT_ACK => {
                self.interrupt.remove(InterruptStatus::from_bits_retain(value as u8));
            }
            register::QUEUE_DESC_LOW..=register::QUEUE_DEVICE_HIGH => {
                self.write_area(offset, value);
            }
            _ => {}
        }
        Effect::None
    }

    /// A queue to work on: `None` unless the driver has enabled it and set DRIVER_OK, and neither
    /// side has given up. Before DRIVER_OK the device must not use buffers (§2.1.2).
    pub fn queue(&mut self, index: u16) -> Option<&mut Queue> {
        if !self.is_live() {
            return None;
        }
        self.queues.get_mut(usize::from(index)).filter(|queue| queue.is_ready())
    }

    /// Whether the device may use its queues.
    pub const fn is_live(&self) -> bool {
        let given_up = DeviceStatus::DEVICE_NEEDS_RESET.union(DeviceStatus::FAILED);
        self.status.contains(DeviceStatus::DRIVER_OK) && !self.status.intersects(given_up)
    }

    /// Whether the driver has set any status since its last reset (§2.1).
    pub const fn is_driven(&self) -> bool {
        !self.status.is_empty()
    }

    /// Whether the driver has accepted all of these features.
    pub const fn has_accepted(&self, features: u64) -> bool {
        self.accepted & features == features
    }

    /// Tells the driver of used buffers.
    pub fn signal_used(&mut self) {
        self.interrupt.insert(InterruptStatus::USED_BUFFER_NOTIFICATION);
        self.pulse = true;
    }

    /// Tells the driver that the configuration space has changed: a new generation, so that a read in several steps is
    /// seen to be torn, and a notification if it is running (§2.5.1).
    pub fn config_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.notify_of_config();
    }

    /// Gives up on what the driver does: DEVICE_NEEDS_RESET, and a configuration change
    /// notification if the driver is running (§2.1.2).
    pub fn fail(&mut self) {
        self.status.insert(DeviceStatus::DEVICE_NEEDS_RESET);
        self.notify_of_config();
    }

    fn notify_of_config(&mut self) {
        if self.status.contains(DeviceStatus::DRIVER_OK) {
            self.interrupt.insert(InterruptStatus::CONFIGURATION_CHANGE_NOTIFICATION);
            self.pulse = true;
        }
    }

    /// Whether this write takes buffers back from the device: a reset, or the stop of a queue. The device must not
    /// touch them afterwards, so one that has handed them on waits before it performs the write (§2.4.1).
    pub fn takes_buffers_back(&self, offset: u64, size: u8, value: u64) -> bool {
        size == 4
            && match offset {
                register::STATUS => value as u32 == 0,
                register::QUEUE_READY => value & 1 == 0 && self.selected().is_some_and(Queue::is_ready),
                _ => false,
            }
    }

    /// Whether this write settles the features (§3.1.1, step 5): a device whose feature bits need each other looks at
    /// them before it performs the write.
    pub fn settles_features(&self, offset: u64, size: u8, value: u64) -> bool {
        let wanted = DeviceStatus::from_bits_retain(value as u8).contains(DeviceStatus::FEATURES_OK);
        size == 4 && offset == register::STATUS && wanted && !self.status.contains(DeviceStatus::FEATURES_OK)
    }

    /// The feature bits that the driver has written.
    pub const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether the slot's SPI must be pulsed now; true once for all causes since the last call.
    pub const fn take_pulse(&mut self) -> bool {
        core::mem::replace(&mut self.pulse, false)
    }

    const fn offered(&self) -> u64 {
        self.profile.offered | RING_FEATURES
    }

    fn queue_size_max(&self) -> u32 {
        self.selected().map_or(0, |_| u32::from(self.profile.queue_size_max))
    }

    /// The index in QueueSel, if the device has such a queue.
    fn selected_index(&self) -> Option<u16> {
        u16::try_from(self.queue_sel).ok().filter(|&index| index < self.profile.queues)
    }

    fn selected(&self) -> Option<&Queue> {
        self.queues.get(usize::from(self.selected_index()?))
    }

    fn selected_mut(&mut self) -> Option<&mut Queue> {
        let index = self.selected_index()?;
        self.queues.get_mut(usize::from(index))
    }

    /// QueueNotify: the value is the queue's index, as NOTIFICATION_DATA is not offered (§4.2.2).
    fn notified(&mut self, value: u32) -> Effect {
        match u16::try_from(value) {
            Ok(index) if self.queue(index).is_some() => Effect::Notify(index),
            _ => Effect::None,
        }
    }

    /// Takes over 32 of the driver's features; after FEATURES_OK they stand (§3.1.1).
    fn accept(&mut self, value: u32) {
        if self.status.contains(DeviceStatus::FEATURES_OK) {
            return;
        }
        let (low, high) = (self.accepted as u32, (self.accepted >> 32) as u32);
        let (low, high) = match self.driver_features_sel {
            0 => (value, high),
            1 => (low, value),
            _ => {
                self.accepted_unknown |= value != 0;
                return;
            }
        };
        self.accepted = u64::from(high) << 32 | u64::from(low);
    }

    /// Whether FEATURES_OK may be set (§2.2.2, §6.1).
    const fn negotiated(&self) -> bool {
        let required = self.profile.required | feature_bits(F::VERSION_1);
        let known = self.accepted & !self.offered() == 0 && !self.accepted_unknown;
        known && self.has_accepted(required)
    }

    /// Sets the driver's bits, never clears one (§2.1.1), and refuses FEATURES_OK after a bad
    /// negotiation and DRIVER_OK without FEATURES_OK.
    fn write_status(&mut self, value: u32) -> Effect {
        if value == 0 {
            self.restart(self.profile);
            return Effect::Reset;
        }
        let was_live = self.is_live();
        let mut wanted = DeviceStatus::from_bits_retain(value as u8 & DRIVER_STATUS) | self.status;
        let settled = self.status.contains(DeviceStatus::FEATURES_OK);
        if !settled && !self.negotiated() {
            wanted.remove(DeviceStatus::FEATURES_OK);
        }
        if !wanted.contains(DeviceStatus::FEATURES_OK) {
            wanted.remove(DeviceStatus::DRIVER_OK);
        }
        self.status = wanted;
        if self.is_live() && !was_live { Effect::Started } else { Effect::None }
    }

    fn write_queue_size(&mut self, value: u32) {
        // A size that does not fit is refused when the queue is enabled, as 0 is.
        let size = u16::try_from(value).unwrap_or(0);
        if let Some(queue) = self.selected_mut() {
            queue.set_size(size);
        }
    }

    /// Writes half of the address of an area of the selected queue.
    fn write_area(&mut self, offset: u64, value: u32) {
        let Some(areas) = self.selected_mut().and_then(Queue::areas_mut) else {
            return;
        };
        let area = match offset {
            register::QUEUE_DESC_LOW | register::QUEUE_DESC_HIGH => &mut areas.descriptor,
            register::QUEUE_DRIVER_LOW | register::QUEUE_DRIVER_HIGH => &mut areas.driver,
            register::QUEUE_DEVICE_LOW | register::QUEUE_DEVICE_HIGH => &mut areas.device,
            _ => return,
        };
        *area = match offset & 4 {
            0 => *area & !0xffff_ffff | u64::from(value),
            _ => *area & 0xffff_ffff | u64::from(value) << 32,
        };
    }

    /// Enables or stops the selected queue. Enabling waits for FEATURES_OK, which decides the
    /// ring's rules; a queue that cannot work makes the device ask for a reset.
    fn write_queue_ready(&mut self, value: u32) -> Effect {
        let features = RingFeatures {
            indirect: self.has_accepted(feature_bits(F::INDIRECT_DESC)),
            event_index: self.has_accepted(feature_bits(F::EVENT_IDX)),
        };
        let settled = self.status.contains(DeviceStatus::FEATURES_OK);
        let maximum = self.profile.queue_size_max;
        let Some(index) = self.selected_index() else {
            return Effect::None;
        };
        let Some(queue) = self.selected_mut() else {
            return Effect::None;
        };
        match (value & 1, queue.is_ready()) {
            (1, false) if settled => {
                if queue.enable(maximum, features).is_err() {
                    self.fail();
                }
                Effect::None
            }
            (0, true) => {
                queue.disable();
                Effect::QueueStopped(index)
            }
            _ => Effect::None,
        }
    }
}
