//! An SMMU as IHI0070 has it: it keeps entries as soon as it may, sees memory past the caches where it is not coherent, and
//! panics where a driver leaves the steps of §3.21.3.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use hv_core::addr::{Pa, PaRange};

use crate::dma::DmaMemory;
use crate::smmu::{Hardware, MEMORY, Register};

/// QEMU's IDR0, IDR1, IDR5.
pub const IDS: [u32; 3] = [0x0d44_101b, 0x0273_0010, 0x74];
/// IDR0.COHACC.
pub const COHERENT: u32 = 1 << 4;

/// How it does not behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Defect {
    #[default]
    None,
    /// Commands stay where they are.
    NoCommands,
    /// CR0 is not taken.
    NoControl,
    /// Refuses commands of that number.
    Refuses(u8),
}

#[repr(C, align(32768))]
struct Block([u64; MEMORY as usize / 8]);

/// What the driver and the test share.
pub struct State {
    pub registers: BTreeMap<Register, u32>,
    /// What it has done, in order.
    pub done: Vec<[u64; 2]>,
    pub defect: Defect,
    memory: Box<Block>,
    /// What has left the caches.
    outside: Vec<u64>,
    /// Entries that it keeps, and what was seen last of those that it does not: a change is one between two looks.
    kept: BTreeMap<u32, [u64; 8]>,
    seen: Vec<[u64; 8]>,
}

/// The model, for a driver.
#[derive(Clone)]
pub struct Model(pub Rc<RefCell<State>>);

impl Model {
    pub fn new(ids: [u32; 3]) -> (Self, DmaMemory) {
        let memory = Box::new(Block([u64::MAX; MEMORY as usize / 8]));
        let start = Pa(memory.0.as_ptr().expose_provenance() as u64);
        let names = [Register::Idr0, Register::Idr1, Register::Idr5];
        let mut registers: BTreeMap<Register, u32> = names.into_iter().zip(ids).collect();
        // Firmware has left an error behind.
        registers.insert(Register::Gerror, 0x4);
        let outside = memory.0.to_vec();
        let state = State {
            registers,
            done: vec![],
            defect: Defect::None,
            memory,
            outside,
            kept: BTreeMap::new(),
            seen: vec![],
        };
        // SAFETY: the model keeps the memory as long as the driver lives; both are the same thread.
        let memory = unsafe { DmaMemory::new(PaRange { start, size: MEMORY }) }.unwrap();
        (Self(Rc::new(RefCell::new(state))), memory)
    }
}

impl State {
    pub fn register(&self, register: Register) -> u32 {
        self.registers.get(&register).copied().unwrap_or(0)
    }

    fn long(&self, low: Register, high: Register) -> u64 {
        u64::from(self.register(low)) | u64::from(self.register(high)) << 32
    }

    fn is_coherent(&self) -> bool {
        self.register(Register::Idr0) & COHERENT != 0
    }

    fn start(&self) -> u64 {
        self.memory.0.as_ptr().expose_provenance() as u64
    }

    /// A word as the SMMU reads it.
    pub fn load(&self, at: u64) -> u64 {
        let index = ((at - self.start()) / 8) as usize;
        if !self.is_coherent() {
            return self.outside[index];
        }
        // SAFETY: inside; volatile because the driver writes behind the compiler's back.
        unsafe { (&raw const self.memory.0[index]).read_volatile() }
    }

    /// A word as the SMMU writes it.
    fn store(&mut self, at: u64, value: u64) {
        let index = ((at - self.start()) / 8) as usize;
        self.outside[index] = value;
        if self.is_coherent() {
            // SAFETY: as in `load`.
            unsafe { (&raw mut self.memory.0[index]).write_volatile(value) };
        }
    }

    /// What lines hold goes out, but in the event queue, which only the SMMU writes: from there it comes in.
    pub fn maintain(&mut self, range: PaRange) {
        let events = self.long(Register::EventqBase, Register::EventqBaseHigh) & 0xf_ffff_ffff_ffe0;
        for at in (range.start.0..range.end().0).step_by(8) {
            let index = ((at - self.start()) / 8) as usize;
            let place = &raw mut self.memory.0[index];
            // SAFETY: as in `load`.
            unsafe {
                if events != 0 && at >= events {
                    place.write_volatile(self.outside[index]);
                } else {
                    self.outside[index] = place.read_volatile();
                }
            }
        }
    }

    fn is_on(&self) -> bool {
        self.register(Register::Cr0) & 1 != 0
    }

    fn table(&self) -> u64 {
        self.long(Register::StrtabBase, Register::StrtabBaseHigh) & 0xf_ffff_ffff_ffc0
    }

    fn streams(&self) -> u32 {
        1 << (self.register(Register::StrtabBaseCfg) & 0x3f)
    }

    fn entry(&self, stream: u32) -> [u64; 8] {
        std::array::from_fn(|word| self.load(self.table() + u64::from(stream) * 64 + 8 * word as u64))
    }

    /// It looks at its table, as it may at any time: words but the first change only while the entry is not valid, neither in
    /// memory nor where it is kept; an entry becomes valid by a change of its first word alone.
    pub fn look(&mut self) {
        if !self.is_on() {
            return;
        }
        let entries: Vec<[u64; 8]> = (0..self.streams()).map(|stream| self.entry(stream)).collect();
        for (stream, (before, now)) in (0..).zip(std::mem::take(&mut self.seen).iter().zip(&entries)) {
            if before[1..] != now[1..] {
                assert!(before[0] & 1 == 0 && now[0] & 1 == 0, "stream {stream:#x} changes while it is valid");
                let kept = self.kept.get(&stream).is_none_or(|kept| kept[0] & 1 == 0);
                assert!(kept, "stream {stream:#x} changes while its old entry is kept");
            }
        }
        for (stream, entry) in (0..).zip(&entries) {
            self.kept.entry(stream).or_insert(*entry);
        }
        self.seen = entries;
    }

    /// The entry by which a device's accesses go.
    pub fn in_force(&mut self, stream: u32) -> [u64; 8] {
        assert!(self.is_on());
        self.look();
        self.kept[&stream]
    }

    fn queue_bits(&self, base: Register) -> u32 {
        self.register(base) & 0x1f
    }

    fn run_commands(&mut self) {
        let size = 1_u32 << self.queue_bits(Register::CmdqBase);
        let base = self.long(Register::CmdqBase, Register::CmdqBaseHigh) & 0xf_ffff_ffff_ffe0;
        while self.register(Register::Cr0) & 1 << 3 != 0 && self.defect != Defect::NoCommands {
            let next = self.register(Register::CmdqCons) & (2 * size - 1);
            let refused = (self.register(Register::Gerror) ^ self.register(Register::Gerrorn)) & 1 != 0;
            if next == self.register(Register::CmdqProd) || refused {
                return;
            }
            let at = base + u64::from(next % size) * 16;
            let command = [self.load(at), self.load(at + 8)];
            self.look();
            if self.defect == Defect::Refuses(command[0] as u8) {
                // CERROR_ILL, and the index stays (§7.1).
                self.registers.insert(Register::CmdqCons, next | 1 << 24);
                *self.registers.entry(Register::Gerror).or_default() ^= 1;
                return;
            }
            self.forget(command);
            self.done.push(command);
            self.registers.insert(Register::CmdqCons, (next + 1) % (2 * size));
        }
    }

    fn forget(&mut self, [low, _]: [u64; 2]) {
        match low as u8 {
            0x03 => {
                self.kept.remove(&((low >> 32) as u32));
            }
            0x04 => self.kept.clear(),
            _ => {}
        }
    }

    /// A device's access is refused.
    pub fn record(&mut self, words: [u64; 4]) {
        let size = 1_u32 << self.queue_bits(Register::EventqBase);
        let base = self.long(Register::EventqBase, Register::EventqBaseHigh) & 0xf_ffff_ffff_ffe0;
        let (produced, consumed) = (self.register(Register::EventqProd), self.register(Register::EventqCons));
        let mask = 2 * size - 1;
        if (produced ^ consumed) & mask == size {
            // Full: OVFLG differs from OVACKFLG from now on (§7.4).
            let flag = !consumed & 1 << 31;
            self.registers.insert(Register::EventqProd, produced & mask | flag);
            return;
        }
        let at = base + u64::from(produced % size) * 32;
        (0..).step_by(8).zip(words).for_each(|(offset, word)| self.store(at + offset, word));
        self.registers.insert(Register::EventqProd, (produced + 1) & mask | produced & 1 << 31);
    }
}

impl Hardware for Model {
    fn read(&self, register: Register) -> u32 {
        self.0.borrow().register(register)
    }

    fn write(&mut self, register: Register, value: u32) {
        let mut state = self.0.borrow_mut();
        let fixed = matches!(register, Register::Cr1 | Register::Cr2 | Register::StrtabBase | Register::StrtabBaseCfg);
        assert!(!fixed || !state.is_on(), "{register:?} changes while the SMMU is on");
        state.registers.insert(register, value);
        match register {
            Register::Cr0 if state.defect != Defect::NoControl => {
                state.registers.insert(Register::Cr0Ack, value);
                state.look();
            }
            Register::IrqCtrl => {
                state.registers.insert(Register::IrqCtrlAck, value);
            }
            Register::Gbpa => {
                state.registers.insert(Register::Gbpa, value & !(1 << 31));
            }
            _ => {}
        }
        state.run_commands();
    }

    fn order(&mut self) {
        self.0.borrow_mut().look();
    }

    fn maintain(&mut self, range: PaRange) {
        self.0.borrow_mut().maintain(range);
    }
}
