//! Random privileged calls, in test images only: each life begins with some hundred, made of valid and hostile
//! arguments, and destroys what came of them. Every call of the table is made; a life that cannot bring one of
//! [`MUST_SUCCEED`] to success fails.

use alloc::vec::Vec;

use hv_abi::call::{BASE, CALLS, Call, CallSpec, NOTE_MAX};
use hv_abi::guest_map::{ARCHIVE_BASE, MAILBOX_BASE, RAM_BASE, SHARED_MIN};
use hv_abi::handle::Label;
use hv_abi::sos_image::LifeRecord;
use hv_abi::{Status, VmHandle};
use sos_partition::Hypervisor;

use crate::runtime::call::{El2, hypercall};
use crate::runtime::memory::ANSWERS;

/// Calls of a life, at least and at most.
const CALLS_MIN: u32 = 300;
const CALLS_MAX: u32 = 6000;
/// How often one that is not finished is made again.
const AGAIN_MAX: u32 = 50;
/// One in so many is not random, but a VM's whole life.
const LIVES: u64 = 50;
/// VMs at a time, about.
const OWN_MAX: usize = 6;
/// What the names of its VMs begin with.
const PREFIX: &[u8] = b"random-";
const BLOCK: u64 = 2 << 20;
const REGION: u64 = SHARED_MIN | 1;
/// What some of its VMs run: wfi; b .-4 (Arm ARM C6.2).
static IDLE: [u32; 2] = [0xd503_207f, 0x17ff_ffff];

/// Calls that some arguments make succeed.
const MUST_SUCCEED: [Call; 20] = [
    Call::VmCreate,
    Call::VmMemory,
    Call::VmCopyIn,
    Call::VmDevice,
    Call::VcpuInit,
    Call::VmStart,
    Call::VmStop,
    Call::VmDestroy,
    Call::VmQuery,
    Call::VmGrant,
    Call::HvQuery,
    Call::SosReady,
    Call::NoteGet,
    Call::NoteSet,
    Call::VmSched,
    Call::VmSchedGet,
    Call::SosAlarm,
    Call::VmPause,
    Call::VmResume,
    Call::VmShare,
];

/// Calls that a VM which somebody needs survives: it runs, so they are refused.
const HARMLESS: [Call; 6] =
    [Call::VmMemory, Call::VmCopyIn, Call::VmDevice, Call::VcpuInit, Call::VmStart, Call::VmGrant];

/// Makes the calls of this life.
pub(crate) fn make(el2: &mut El2, record: &LifeRecord) {
    let seed = record
        .seed
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |seed: u64, byte| (seed ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let others = vms(el2).into_iter().filter(|(_, own)| !own).map(|(vm, _)| vm.0).collect();
    let mut caller = Caller { random: seed | 1, own: Vec::new(), stale: Vec::new(), others, succeeded: 0 };
    let mut made = 0;
    while made < CALLS_MIN || !caller.all_succeeded() {
        made += 1;
        assert!(made <= CALLS_MAX, "after {made} random calls these have succeeded: {:#x}", caller.succeeded);
        if caller.below(LIVES) == 0 {
            caller.whole_life();
        }
        let call = match caller.below(CALLS.len() as u64) as usize {
            // When there are enough, some go.
            any if caller.own.len() < OWN_MAX => CALLS[any],
            _ => CALLS[(Call::VmDestroy as u32 - BASE) as usize],
        };
        caller.make(&call);
    }
    // Nothing of it stays, nor of what a life that failed has left.
    for (vm, _) in vms(el2).into_iter().filter(|(_, own)| *own) {
        while el2.vm_destroy(vm) == Err(Status::Again) {}
    }
}

/// The VMs that there are, and whether they are of this making.
fn vms(el2: &mut El2) -> Vec<(VmHandle, bool)> {
    let mut vms = Vec::new();
    let mut slot = Some(0);
    while let Some(at) = slot
        && let Ok(answer) = el2.vm_query(at)
    {
        vms.push((VmHandle(answer.record.handle.get()), answer.record.label.starts_with(PREFIX)));
        slot = answer.next;
    }
    vms
}

struct Caller {
    random: u64,
    /// VMs of this life.
    own: Vec<u64>,
    /// Handles of those that are gone.
    stale: Vec<u64>,
    /// VMs of others.
    others: Vec<u64>,
    /// A bit for each call, by its number.
    succeeded: u64,
}

impl Caller {
    fn all_succeeded(&self) -> bool {
        MUST_SUCCEED.iter().all(|call| self.succeeded >> (*call as u32 & 63) & 1 != 0)
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end.max(1)
    }

    fn one_of(&mut self, values: &[u64]) -> u64 {
        values[self.below(values.len() as u64) as usize]
    }

    fn make(&mut self, spec: &CallSpec) {
        let mut arguments = [0; 6];
        for (place, name) in arguments.iter_mut().zip(spec.arguments) {
            *place = self.argument(spec.call, name);
        }
        match spec.call {
            Call::VmCreate | Call::VmCrash => arguments[..4].copy_from_slice(&self.label()),
            Call::VmShare => {
                arguments[1..5].copy_from_slice(&self.label());
                let (shift, number, random) = (self.below(9), self.below(6) << 8, arguments[5]);
                arguments[5] = self.one_of(&[REGION, REGION, SHARED_MIN << shift, random]) | number;
            }
            // What is in the first two is needed.
            Call::NoteSet => {
                let (_, [_, version, _]) = hypercall(Call::NoteGet, [2, ANSWERS.ipa(), NOTE_MAX as u64]);
                arguments = [arguments[0].max(2), arguments[1], self.below(20_000), version, 0, 0];
            }
            // An agreement would end this life before its service has begun.
            Call::SosIdle => arguments[0] = arguments[0].max(1),
            // Neither off nor reset.
            Call::HvConfig => arguments[0] = arguments[0].max(4),
            _ => {}
        }
        self.call(spec.call, arguments);
    }

    /// Makes a call, again where it is not finished, but not always.
    fn call(&mut self, call: Call, arguments: [u64; 6]) {
        let mut answer = hypercall(call, arguments);
        for _ in 0..AGAIN_MAX {
            if answer.0 != Status::Again || self.below(4) == 0 {
                break;
            }
            answer = hypercall(call, arguments);
        }
        let (status, [first, ..]) = answer;
        if status == Status::Success {
            self.note(call, arguments, first);
        }
    }

    /// What random calls alone seldom come to: a VM that runs, is paused, goes on, and is stopped.
    fn whole_life(&mut self) {
        let [a, b, c, d] = self.label();
        self.call(Call::VmCreate, [a, b, c, d, 1, 0]);
        let vm = self.own.last().copied().unwrap_or_default();
        self.call(Call::VmMemory, [vm, RAM_BASE, BLOCK, 0, 0, 0]);
        self.call(Call::VmCopyIn, [vm, RAM_BASE, (&raw const IDLE) as u64, size_of_val(&IDLE) as u64, 0, 0]);
        self.call(Call::VcpuInit, [vm, RAM_BASE, 0, 0, 0, 0]);
        let [a, b, c, d] = self.label();
        let number = self.below(4) << 8;
        self.call(Call::VmShare, [vm, a, b, c, d, REGION | number]);
        let weight = 1 + self.below(10_000);
        self.call(Call::VmSched, [vm, u64::MAX, u64::MAX, weight, 0, 0]);
        self.call(Call::VmStart, [vm, 0, 0, 0, 0, 0]);
        // Its vCPU leaves another CPU for that, which takes as long as it takes.
        while hypercall(Call::VmPause, [vm]).0 == Status::Again {}
        for call in [Call::VmPause, Call::VmResume, Call::VmStop] {
            self.call(call, [vm, 0, 0, 0, 0, 0]);
        }
    }

    /// A value for an argument, by what the table calls it: mostly one that could be meant.
    fn argument(&mut self, call: Call, name: &str) -> u64 {
        let near = self.one_of(&[RAM_BASE, RAM_BASE, RAM_BASE, RAM_BASE + BLOCK, RAM_BASE + 2 * BLOCK]);
        let idle = (&raw const IDLE) as u64;
        match name {
            _ if self.below(12) == 0 => self.hostile(),
            "handle" => self.handle(call),
            "IPA" | "target IPA" | "entry IPA" => near,
            "source IPA of the caller" => self.one_of(&[ARCHIVE_BASE + 0x801, ANSWERS.ipa(), idle, idle]),
            "bytes" => BLOCK * (1 + self.below(5)),
            // Never the partition's own memory elsewhere, nor its rings: what EL2 writes there would break it.
            _ if name.starts_with("IPA of") => self.one_of(&[ANSWERS.ipa(), ANSWERS.ipa(), ARCHIVE_BASE, 0]),
            _ if name.starts_with("bytes") => self.one_of(&[16, 240, 4096, 65_536]),
            _ => self.below(9),
        }
    }

    fn handle(&mut self, call: Call) -> u64 {
        let ends = matches!(call, Call::VmStop | Call::VmDestroy);
        let (own, stale, others) = (self.below(8) as usize, self.below(64) as usize, self.below(8) as usize);
        match self.below(10) {
            0 => self.next(),
            1 => self.stale.get(stale).copied().unwrap_or(1),
            2 if HARMLESS.contains(&call) => self.others.get(others).copied().unwrap_or_default(),
            // What is to be done to a VM comes before its end, and to the last one more than to others.
            3..=6 if ends && self.own.len() < OWN_MAX => 1,
            3..=7 => self.own.last().copied().unwrap_or_default(),
            _ => self.own.get(own).copied().unwrap_or_default(),
        }
    }

    /// What a call that is done means for the handles.
    fn note(&mut self, call: Call, arguments: [u64; 6], result: u64) {
        self.succeeded |= 1 << (call as u32 & 63);
        match call {
            Call::VmCreate => self.own.push(result),
            Call::VmDestroy => {
                self.own.retain(|vm| *vm != arguments[0]);
                self.stale.push(arguments[0]);
            }
            _ => {}
        }
    }

    fn hostile(&mut self) -> u64 {
        let random = self.next();
        // Addresses of the partition's own memory are for EL2 to write to in no other place than the buffer.
        let random = if (RAM_BASE..ARCHIVE_BASE).contains(&random) { random | 1 << 40 } else { random };
        self.one_of(&[
            0,
            1,
            u64::MAX,
            u64::MAX - 4095,
            1 << 39,
            1 << 40,
            ARCHIVE_BASE + 1,
            0x1000,
            MAILBOX_BASE - 4096,
            random,
        ])
    }

    fn label(&mut self) -> [u64; 4] {
        if self.below(8) == 0 {
            return core::array::from_fn(|_| self.next());
        }
        let number = self.below(20) as u8;
        let text = [PREFIX, &[b'a' + number]].concat();
        let label = core::str::from_utf8(&text).ok().and_then(Label::new);
        label.map_or([0; 4], |label| label.to_registers())
    }
}
