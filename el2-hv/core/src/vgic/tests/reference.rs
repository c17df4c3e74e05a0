//! A distributor as naive as can be: one record for each interrupt, every question answered by
//! looking at all of them. It shares nothing with the model under test.

/// An interrupt of the reference.
#[derive(Clone, Default)]
pub(super) struct Interrupt {
    pub(super) enabled: bool,
    pub(super) group: u32,
    pub(super) edge: bool,
    pub(super) line: bool,
    pub(super) latch: bool,
    /// Where it is active.
    pub(super) active: Option<usize>,
    pub(super) priority: u8,
    /// The vCPU that it goes to.
    pub(super) target: Option<usize>,
}

impl Interrupt {
    pub(super) fn pending(&self) -> bool {
        self.latch || (self.line && !self.edge)
    }
}

/// All interrupts of a VM.
pub(super) struct Reference {
    pub(super) groups: u32,
    private: Vec<Vec<Interrupt>>,
    shared: Vec<Interrupt>,
}

impl Reference {
    pub(super) fn new(vcpus: usize) -> Self {
        let interrupt = |v, edge| Interrupt { target: Some(v), edge, ..Interrupt::default() };
        let private = |v| (0..32).map(|id| interrupt(v, id < 16)).collect();
        Self { groups: 0, private: (0..vcpus).map(private).collect(), shared: vec![interrupt(0, false); 256] }
    }

    /// The interrupt that vCPU `v` calls `id`.
    pub(super) fn interrupt(&mut self, v: usize, id: u32) -> &mut Interrupt {
        match id {
            0..32 => &mut self.private[v][id as usize],
            _ => &mut self.shared[id as usize - 32],
        }
    }

    fn seen_by(&self, v: usize) -> impl Iterator<Item = (u32, &Interrupt)> {
        (0..).zip(self.private[v].iter().chain(&self.shared))
    }

    /// Priority and INTID of everything that vCPU `v` could be signalled.
    pub(super) fn deliverable(&self, v: usize) -> Vec<(u8, u32)> {
        let signalled = |interrupt: &Interrupt| {
            let forwarded = interrupt.enabled && self.groups >> interrupt.group & 1 == 1;
            interrupt.target == Some(v) && interrupt.pending() && forwarded && interrupt.active.is_none()
        };
        let all = self.seen_by(v).filter(|(_, interrupt)| signalled(interrupt));
        all.map(|(id, interrupt)| (interrupt.priority, id)).collect()
    }

    /// `ISPENDR<word>` and `ISACTIVER<word>`, word 0 being vCPU `v`'s own.
    pub(super) fn words(&self, v: usize, word: u32) -> (u32, u32) {
        let (mut pending, mut active) = (0, 0);
        for (id, interrupt) in self.seen_by(v).filter(|(id, _)| id / 32 == word) {
            pending |= u32::from(interrupt.pending()) << (id % 32);
            active |= u32::from(interrupt.active.is_some()) << (id % 32);
        }
        (pending, active)
    }

    pub(super) fn acknowledge(&mut self, v: usize, id: u32) {
        assert!(self.deliverable(v).iter().any(|(_, other)| *other == id), "vCPU {v} must not get {id}");
        let interrupt = self.interrupt(v, id);
        interrupt.latch = false;
        interrupt.active = Some(v);
    }
}
