//! Kicks that are served late, as on real CPUs: nothing is lost, nothing comes twice.

use super::machine::Machine;
use super::*;

const EDGES: [u32; 6] = [48, 49, 70, 130, 200, 287];
const LEVELS: [u32; 4] = [33, 34, 64, 250];

/// What is known of a source.
#[derive(Clone, Default)]
struct Source {
    id: u32,
    raised: u32,
    taken: u32,
    /// Has to be taken yet.
    owed: bool,
    line: bool,
    active: Option<usize>,
}

struct Run {
    machine: Machine,
    random: Random,
    sources: Vec<Source>,
    vcpus: u64,
}

impl Run {
    fn new(seed: u64, vcpus: u8, list_registers: u8) -> Self {
        let mut machine = Machine::configured(vcpus, list_registers);
        let mut random = Random::new(seed);
        for id in EDGES {
            machine.set_edge(id);
            machine.set_priority(id, random.pick(&[0x20, 0x80, 0xa0]));
        }
        let sources = EDGES.into_iter().chain(LEVELS).map(|id| Source { id, ..Source::default() }).collect();
        Self { machine, random, sources, vcpus: vcpus.into() }
    }

    fn source(&mut self, id: u32) -> &mut Source {
        self.sources.iter_mut().find(|source| source.id == id).expect("only these are raised")
    }

    /// A register write whose kicks wait.
    fn write(&mut self, register: GicRegister, size: AccessSize, value: u64) {
        let kicks = self.machine.gic.write(register, size, value);
        self.machine.kick(kicks);
    }

    fn raise(&mut self) {
        let n = self.random.below(self.sources.len() as u64) as usize;
        let source = &mut self.sources[n];
        let kicks = if EDGES.contains(&source.id) {
            source.raised += 1;
            source.owed = true;
            self.machine.gic.pulse(IntId(source.id))
        } else {
            source.owed |= !source.line;
            source.line = true;
            self.machine.gic.set_line(IntId(source.id), VcpuIdx(0), Level::High)
        };
        self.machine.kick(kicks);
    }

    fn configure(&mut self) {
        let n = self.random.below(self.sources.len() as u64) as usize;
        let id = self.sources[n].id;
        let bit = 1 << (id % 32);
        match self.random.below(5) {
            0 => self.write(gicd(ICENABLER + id / 32 * 4), AccessSize::Word, bit),
            1 | 2 => self.write(gicd(ISENABLER + id / 32 * 4), AccessSize::Word, bit),
            3 => {
                let target = self.random.below(self.vcpus + 1);
                self.write(gicd(0x6000 + 8 * id), AccessSize::Double, target);
            }
            _ if EDGES.contains(&id) => {
                self.write(gicd(ICPENDR + id / 32 * 4), AccessSize::Word, bit);
                self.sources[n].owed = false;
            }
            _ => {}
        }
    }

    /// EL2 gets round to vCPU `v`.
    fn serve(&mut self, v: usize) {
        if self.machine.kicked >> v & 1 == 1 || self.machine.cpus[v].interface.maintenance() {
            self.machine.sync(v);
        }
    }

    fn take(&mut self, v: usize) -> bool {
        if !self.machine.cpus[v].loaded {
            return false;
        }
        let Some(id) = self.machine.cpus[v].interface.acknowledge() else {
            return false;
        };
        let source = self.source(id);
        assert_eq!(source.active, None, "{id} is active already");
        source.active = Some(v);
        source.taken += 1;
        source.owed = false;
        let edge = EDGES.contains(&id);
        assert!(if edge { source.taken <= source.raised } else { source.line }, "{id} for no reason");
        true
    }

    fn end(&mut self, v: usize) -> bool {
        if !self.machine.cpus[v].loaded || self.machine.cpus[v].interface.running.is_empty() {
            return false;
        }
        let id = self.machine.cpus[v].interface.drop_priority();
        let source = self.source(id);
        source.active = None;
        if source.line {
            source.line = false;
            let kicks = self.machine.gic.set_line(IntId(id), VcpuIdx(0), Level::Low);
            self.machine.kick(kicks);
        }
        self.machine.cpus[v].interface.deactivate(id);
        true
    }

    fn switch(&mut self, v: usize) {
        if self.machine.cpus[v].loaded {
            self.machine.unload(v);
        } else {
            self.machine.load(v);
        }
    }

    fn step(&mut self) {
        let v = self.random.below(self.vcpus) as usize;
        match self.random.below(20) {
            0..4 => self.raise(),
            4..7 => self.configure(),
            7..12 => self.serve(v),
            12..16 => drop(self.take(v)),
            16..19 => drop(self.end(v)),
            _ if self.random.below(8) == 0 => self.switch(v),
            _ => {}
        }
    }

    /// Enables everything, and lets the guest take what there is.
    fn drain(&mut self) {
        for v in 0..self.vcpus as usize {
            if !self.machine.cpus[v].loaded {
                self.machine.load(v);
            }
        }
        for id in EDGES.into_iter().chain(LEVELS) {
            self.write(gicd(ISENABLER + id / 32 * 4), AccessSize::Word, 1 << (id % 32));
            self.write(gicd(0x6000 + 8 * id), AccessSize::Double, 0);
        }
        let mut busy = true;
        while busy {
            self.machine.settle();
            busy = false;
            for v in 0..self.vcpus as usize {
                busy |= self.take(v) | self.end(v);
            }
        }
    }
}

#[test]
fn nothing_is_lost_or_taken_twice_when_kicks_are_late() {
    for seed in 1..80 {
        let (vcpus, list_registers) = ([2, 3, 4][seed as usize % 3], [4, 2, 3, 6][seed as usize % 4]);
        let mut run = Run::new(seed, vcpus, list_registers);
        for _ in 0..1000 {
            run.step();
        }
        run.drain();
        for source in &run.sources {
            assert!(!source.owed && !source.line && source.active.is_none(), "seed {seed}: {} was lost", source.id);
        }
        for v in 0..run.vcpus as usize {
            assert!(!run.machine.would_wake(v), "seed {seed}");
        }
    }
}
