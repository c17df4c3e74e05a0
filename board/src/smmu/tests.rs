use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

const CR0: usize = 0x20 / 4;
const CR0ACK: usize = 0x24 / 4;
const GBPA: usize = 0x44 / 4;

/// What an SMMU on another thread does with the registers.
#[derive(Clone, Copy, PartialEq)]
enum Model {
    Sound,
    NeverUpdates,
    ForgetsAbort,
    NeverTurnsOff,
}

/// Runs `block_all` against a model with these registers at first; returns them with the outcome. The
/// model also tells whether DMA could pass at any moment after it was first blocked.
fn run(model: Model, gbpa: u32, cr0: u32) -> (Result<(), SmmuError>, u32, u32, Pa) {
    let registers: Arc<[AtomicU32; 18]> = Arc::default();
    registers[GBPA].store(gbpa, SeqCst);
    registers[CR0].store(cr0, SeqCst);
    registers[CR0ACK].store(cr0, SeqCst);
    let stop = Arc::new(AtomicBool::new(false));
    let device = std::thread::spawn({
        let (registers, stop) = (registers.clone(), stop.clone());
        move || {
            while !stop.load(SeqCst) {
                step(model, &registers);
                std::thread::yield_now();
            }
        }
    });
    let base = Pa(registers.as_ptr().expose_provenance() as u64);
    // SAFETY: the registers are shared atomics that outlive the call; the model is the device.
    let outcome = unsafe { block_all(base) };
    stop.store(true, SeqCst);
    device.join().unwrap();
    (outcome, registers[GBPA].load(SeqCst), registers[CR0ACK].load(SeqCst), base)
}

fn step(model: Model, registers: &[AtomicU32; 18]) {
    let gbpa = registers[GBPA].load(SeqCst);
    if gbpa >> 31 == 1 && model != Model::NeverUpdates {
        let kept = if model == Model::ForgetsAbort { 0 } else { 1 << 20 };
        registers[GBPA].store(gbpa & kept, SeqCst);
    }
    if model != Model::NeverTurnsOff {
        let cr0 = registers[CR0].load(SeqCst);
        if cr0 & 1 == 0 && registers[CR0ACK].load(SeqCst) & 1 == 1 {
            let closed = registers[GBPA].load(SeqCst) & (1 << 20) != 0;
            assert!(closed, "turned off while transactions would pass");
        }
        registers[CR0ACK].store(cr0, SeqCst);
    }
}

#[test]
fn an_smmu_as_reset_leaves_it_is_blocked() {
    // GBPA resets to 0x1000 on QEMU, with ABORT clear.
    let (outcome, gbpa, ack, _) = run(Model::Sound, 0x1000, 0);
    assert_eq!((outcome, gbpa, ack), (Ok(()), 0x10_0000, 0));
}

#[test]
fn an_smmu_that_firmware_left_on_is_closed_before_it_is_turned_off() {
    let (outcome, gbpa, ack, _) = run(Model::Sound, 0, 0xd);
    assert_eq!((outcome, gbpa, ack), (Ok(()), 0x10_0000, 0));
}

#[test]
fn an_smmu_that_does_not_follow_is_an_error_and_no_hang() {
    let (outcome, .., base) = run(Model::NeverUpdates, 0, 0);
    assert_eq!(outcome, Err(SmmuError::BypassStuck(base)));
    let (outcome, .., base) = run(Model::ForgetsAbort, 0, 0);
    assert_eq!(outcome, Err(SmmuError::StillOpen(base)));
    let (outcome, .., base) = run(Model::NeverTurnsOff, 0, 1);
    assert_eq!(outcome, Err(SmmuError::StillOn(base)));
}

#[test]
fn address_0_is_no_smmu() {
    // SAFETY: nothing is accessed.
    assert_eq!(unsafe { block_all(Pa(0)) }, Err(SmmuError::NoAddress));
}
