//! Random sequences of everything that a guest and its devices can do, held against the reference
//! after each step: what the CPU interface would take is exactly what the reference says.

use super::machine::Machine;
use super::reference::Reference;
use super::*;

const TIMER: u32 = 27;
const PRIORITIES: [u8; 6] = [0x00, 0x20, 0x48, 0x80, 0xa0, 0xf0];
const IDS: [u32; 24] =
    [0, 1, 7, 15, 16, 22, TIMER, 30, 31, 32, 33, 47, 48, 63, 64, 65, 95, 96, 150, 151, 255, 256, 286, 287];

/// Active because ISACTIVER said so: no vCPU has acknowledged it, none will end it.
const BY_HAND: usize = usize::MAX;

/// How the guest ends interrupts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// EOImode 0: priority drop and deactivation in one.
    Together,
    /// EOImode 1: deactivation by ICC_DIR, in any order.
    Apart,
}

struct Run {
    machine: Machine,
    reference: Reference,
    random: Random,
    vcpus: usize,
    ending: Ending,
    /// Acknowledged, priority dropped, not deactivated (EOImode 1).
    held: Vec<(usize, u32)>,
}

impl Run {
    fn new(seed: u64, vcpus: u8, list_registers: u8, ending: Ending) -> Self {
        let mut run = Self {
            machine: Machine::new(vcpus, list_registers),
            reference: Reference::new(vcpus.into()),
            random: Random::new(seed),
            vcpus: vcpus.into(),
            ending,
            held: Vec::new(),
        };
        run.machine.write(gicd(0), 3);
        run.reference.groups = 3;
        for v in 0..run.vcpus {
            for id in IDS {
                run.enable(v, id, true);
            }
        }
        run
    }

    fn word(&self, v: usize, id: u32, set: u32) -> GicRegister {
        if id < 32 { gicr(v as u8, SGI_BASE + set) } else { gicd(set + id / 32 * 4) }
    }

    fn enable(&mut self, v: usize, id: u32, on: bool) {
        let register = self.word(v, id, if on { ISENABLER } else { ICENABLER });
        self.machine.write(register, 1 << (id % 32));
        self.reference.interrupt(v, id).enabled = on;
    }

    fn set_pending(&mut self, v: usize, id: u32, on: bool) {
        let register = self.word(v, id, if on { ISPENDR } else { ICPENDR });
        self.machine.write(register, 1 << (id % 32));
        self.reference.interrupt(v, id).latch = on;
    }

    fn set_active(&mut self, v: usize, id: u32, on: bool) {
        // With EOImode 0 the guest ends what runs; an active state from nowhere has no place in that
        // order. The timer's line cannot be seen while it is active.
        if on && (self.ending == Ending::Together || id == TIMER) {
            return;
        }
        let register = self.word(v, id, if on { ISACTIVER } else { ICACTIVER });
        self.machine.write(register, 1 << (id % 32));
        let active = &mut self.reference.interrupt(v, id).active;
        *active = on.then_some(active.unwrap_or(BY_HAND));
        if !on {
            self.held.retain(|(holder, other)| *other != id || (id < 32 && *holder != v));
        }
    }

    fn set_priority(&mut self, v: usize, id: u32) {
        if self.ending == Ending::Together && self.reference.interrupt(v, id).active.is_some() {
            return;
        }
        let priority = self.random.pick(&PRIORITIES);
        let register = if id < 32 { gicr(v as u8, SGI_BASE + 0x400 + id) } else { gicd(0x400 + id) };
        let kicks = self.machine.gic.write(register, AccessSize::Byte, u64::from(priority));
        self.machine.kick(kicks);
        self.machine.settle();
        self.reference.interrupt(v, id).priority = priority;
    }

    fn set_group(&mut self, v: usize, id: u32) {
        let register = self.word(v, id, 0x80);
        let value = self.machine.read(register) ^ 1 << (id % 32);
        self.machine.write(register, value);
        self.reference.interrupt(v, id).group ^= 1;
    }

    fn set_trigger(&mut self, id: u32) {
        if id >= 32 {
            let register = gicd(0xc00 + id / 16 * 4);
            let value = self.machine.read(register) ^ 2 << (id % 16 * 2);
            self.machine.write(register, value);
            self.reference.interrupt(0, id).edge ^= true;
        }
    }

    fn set_route(&mut self, id: u32) {
        if id >= 32 {
            let target = self.random.below(self.vcpus as u64 + 1);
            let kicks = self.machine.gic.write(gicd(0x6000 + 8 * id), AccessSize::Double, target);
            self.machine.kick(kicks);
            self.machine.settle();
            self.reference.interrupt(0, id).target = (target < self.vcpus as u64).then_some(target as usize);
        }
    }

    fn set_line(&mut self, v: usize, id: u32, high: bool) {
        if id < 16 {
            return;
        }
        let interrupt = self.reference.interrupt(v, id);
        if id == TIMER {
            // EL2 does not see the timer fall while its interrupt waits, nor does any guest make it.
            if high || interrupt.active.is_some() {
                interrupt.line = high;
                self.machine.set_timer(v, high);
            }
            return;
        }
        interrupt.latch |= interrupt.edge && high && !interrupt.line;
        interrupt.line = high;
        self.machine.set_line(id, v, if high { Level::High } else { Level::Low });
    }

    fn pulse(&mut self, id: u32) {
        if id >= 32 {
            self.machine.pulse(id);
            self.reference.interrupt(0, id).latch = true;
        }
    }

    fn send_sgi(&mut self, v: usize) {
        let (id, targets) = (self.random.pick(&IDS[..4]), self.random.below(1 << self.vcpus));
        let (register, group) = self.random.pick(&[(SgiRegister::Sgi1, 1), (SgiRegister::Sgi0, 0)]);
        self.machine.send_sgi(v, register, u64::from(id) << 24 | targets);
        for target in (0..self.vcpus).filter(|target| targets >> target & 1 == 1) {
            let interrupt = self.reference.interrupt(target, id);
            interrupt.latch |= interrupt.group <= group;
        }
    }

    fn set_groups(&mut self) {
        let groups = self.random.pick(&[3, 3, 3, 2, 1, 0]);
        self.machine.write(gicd(0), groups);
        self.reference.groups = groups;
    }

    fn acknowledge(&mut self, v: usize) {
        if self.machine.cpus[v].loaded
            && let Some(id) = self.machine.acknowledge(v)
        {
            self.reference.acknowledge(v, id);
        }
    }

    fn end(&mut self, v: usize) {
        let cpu = &mut self.machine.cpus[v];
        if !cpu.loaded || cpu.interface.running.is_empty() {
            return;
        }
        let id = cpu.interface.drop_priority();
        if self.reference.interrupt(v, id).active != Some(v) {
            return;
        }
        match self.ending {
            Ending::Together => self.deactivate(v, id),
            Ending::Apart => self.held.push((v, id)),
        }
    }

    fn deactivate(&mut self, v: usize, id: u32) {
        // The register is trapped only when it has to be.
        match self.ending {
            Ending::Together => self.machine.cpus[v].interface.deactivate(id),
            Ending::Apart => self.machine.deactivate(v, id),
        }
        self.machine.settle();
        self.reference.interrupt(v, id).active = None;
    }

    fn deactivate_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let n = self.random.below(self.held.len() as u64) as usize;
        let (v, id) = self.held.swap_remove(n);
        if self.machine.cpus[v].loaded && self.reference.interrupt(v, id).active == Some(v) {
            self.deactivate(v, id);
        } else {
            self.set_active(v, id, false);
        }
    }

    fn switch(&mut self, v: usize) {
        if self.machine.cpus[v].loaded {
            self.machine.unload(v);
        } else {
            self.machine.load(v);
        }
    }

    fn step(&mut self) {
        let v = self.random.below(self.vcpus as u64) as usize;
        let id = self.random.pick(&IDS);
        match self.random.below(40) {
            0 | 1 => self.enable(v, id, false),
            2..5 => self.enable(v, id, true),
            5 => self.set_pending(v, id, true),
            6 => self.set_pending(v, id, false),
            7 => self.set_active(v, id, true),
            8 => self.set_active(v, id, false),
            9 => self.set_priority(v, id),
            10 => self.set_group(v, id),
            11 => self.set_trigger(id),
            12 => self.set_route(id),
            13..16 => self.set_line(v, id, true),
            16..19 => self.set_line(v, id, false),
            19..22 => self.pulse(id),
            22..25 => self.send_sgi(v),
            25 => self.set_groups(),
            26 => self.switch(v),
            27..32 => self.acknowledge(v),
            32..37 => self.end(v),
            _ => self.deactivate_held(),
        }
    }

    fn check(&mut self) {
        for v in 0..self.vcpus {
            let deliverable = self.reference.deliverable(v);
            if self.machine.cpus[v].loaded {
                let interface = &self.machine.cpus[v].interface;
                let best = deliverable.iter().map(|(priority, _)| *priority).min();
                let signalled = best.filter(|priority| *priority < interface.running_priority());
                assert_eq!(interface.signalled_priority(), signalled, "vCPU {v}");
                assert_eq!(self.machine.would_wake(v), !deliverable.is_empty(), "vCPU {v}");
            } else {
                // The timer's line is nobody's while its vCPU is away.
                let latched = self.reference.interrupt(v, TIMER).latch;
                let waits = deliverable.iter().any(|(_, id)| *id != TIMER || latched);
                assert_eq!(self.machine.gic.has_deliverable(VcpuIdx(v as u8)), waits, "vCPU {v}");
            }
        }
    }

    fn check_registers(&mut self) {
        for v in 0..self.vcpus {
            for word in 0..9 {
                let mut expected = self.reference.words(v, word);
                let mut read = |set| self.machine.read(self_word(v, word, set));
                let mut found = (read(ISPENDR), read(ISACTIVER));
                if word == 0 {
                    // Its level is not sampled while it is active, nor while its vCPU is away.
                    expected.0 &= !(1 << TIMER);
                    found.0 &= !(1 << TIMER);
                }
                assert_eq!(found, expected, "vCPU {v}, word {word}");
            }
        }
    }
}

fn self_word(v: usize, word: u32, set: u32) -> GicRegister {
    if word == 0 { gicr(v as u8, SGI_BASE + set) } else { gicd(set + word * 4) }
}

fn run(ending: Ending, seeds: core::ops::Range<u64>) {
    for seed in seeds {
        let (vcpus, list_registers) = ([1, 2, 3, 8][seed as usize % 4], [4, 2, 3, 16, 5][seed as usize % 5]);
        println!("seed {seed}: {vcpus} vCPUs, {list_registers} list registers");
        let mut run = Run::new(seed, vcpus, list_registers, ending);
        for step in 0..1000 {
            run.step();
            run.check();
            if step % 16 == 0 {
                run.check_registers();
            }
        }
    }
}

#[test]
fn any_sequence_signals_what_the_reference_does_with_eoimode_0() {
    run(Ending::Together, 1..21);
}

#[test]
fn any_sequence_signals_what_the_reference_does_with_eoimode_1() {
    run(Ending::Apart, 100..120);
}
