use super::*;
use crate::model::{GicV3, Irq, Trigger};
use hv_core::addr::PaRange;

/// Register memory, aligned as frames are.
#[repr(C, align(65536))]
struct Frame([u32; 0x4000]);

struct Fake(Box<[Frame]>);

impl Fake {
    fn new(frames: usize) -> Self {
        Self((0..frames).map(|_| Frame([0; 0x4000])).collect())
    }

    fn base(&mut self) -> Pa {
        Pa(self.0.as_mut_ptr().expose_provenance() as u64)
    }

    fn cell(&mut self, offset: usize) -> *mut u32 {
        &raw mut self.0[offset / 0x1_0000].0[offset % 0x1_0000 / 4]
    }

    fn read(&mut self, offset: usize) -> u32 {
        // SAFETY: a valid place; volatile because the driver writes behind the compiler's back.
        unsafe { self.cell(offset).read_volatile() }
    }

    fn write(&mut self, offset: usize, value: u32) {
        // SAFETY: as in `read`.
        unsafe { self.cell(offset).write_volatile(value) }
    }
}

/// Offsets of IHI0069 table 12-25.
const GICD_CTLR: usize = 0x0000;
const GICD_TYPER: usize = 0x0004;
const GICD_IROUTER: usize = 0x6000;

/// QEMU `virt`'s GICD_TYPER: 288 interrupt lines.
const QEMU_TYPER: u32 = 0x037a_0008;

fn distributor() -> (Fake, Distributor) {
    let mut fake = Fake::new(1);
    fake.write(GICD_TYPER, QEMU_TYPER);
    // SAFETY: the frame outlives the driver in each test, and nobody else uses it meanwhile.
    let distributor = unsafe { Distributor::new(fake.base()) }.unwrap();
    (fake, distributor)
}

#[test]
fn the_distributor_comes_up_disabled_clean_and_in_group_1() {
    let (mut fake, mut distributor) = distributor();
    // As QEMU resets it, and as a kernel before us would leave it.
    fake.write(GICD_CTLR, 0x53);
    distributor.init().unwrap();
    assert_eq!(fake.read(GICD_CTLR), 0x52, "DS, ARE, EnableGrp1");
    let expected = [(0x080, ALL), (0x180, ALL), (0x280, ALL), (0x380, ALL), (0xd00, 0)];
    for word in 1..=8 {
        for (register, value) in expected {
            assert_eq!(fake.read(register + word * 4), value, "{register:#x} word {word}");
        }
        for priorities in 0..8 {
            assert_eq!(fake.read(0x400 + word * 32 + priorities * 4), 0x8080_8080);
        }
    }
    assert_eq!(fake.read(0x180), 0, "private interrupts are the redistributors'");
    assert_eq!(fake.read(0x180 + 9 * 4), 0, "beyond what the GIC has");
}

#[test]
fn a_distributor_with_all_interrupts_stays_in_its_registers() {
    let (mut fake, mut distributor) = distributor();
    fake.write(GICD_TYPER, 31);
    distributor.init().unwrap();
    assert_eq!(fake.read(0x0fc), ALL);
    // INTIDs 32 to 1019 (IHI0069 §2.2.1).
    assert!(distributor.disable(IntId(1019)).is_ok() && distributor.disable(IntId(1020)).is_err());
}

#[test]
fn a_shared_interrupt_is_configured_routed_and_enabled() {
    let (mut fake, mut distributor) = distributor();
    // MPIDR_EL1 with its bit 31.
    let mpidr = 0x12_8003_0201;
    distributor.configure(Irq { id: IntId(33), trigger: Trigger::Edge }, mpidr).unwrap();
    assert_eq!(fake.read(0xc08), 0b10 << 2);
    assert_eq!(fake.read(GICD_IROUTER + 33 * 8), 0x03_0201);
    assert_eq!(fake.read(GICD_IROUTER + 33 * 8 + 4), 0x12);
    assert_eq!(fake.read(0x184), 1 << 1, "disabled while it changes");
    distributor.configure(Irq { id: IntId(33), trigger: Trigger::Level }, 0).unwrap();
    assert_eq!(fake.read(0xc08), 0);
    distributor.enable(IntId(33)).unwrap();
    assert_eq!(fake.read(0x104), 1 << 1);
}

#[test]
fn what_is_no_shared_interrupt_is_refused() {
    let (_fake, mut distributor) = distributor();
    for id in [0, 15, 27, 31, 32 + 256, 1019, 1020, 1023, 8192, u32::MAX].map(IntId) {
        let refused = Err(GicError::NotShared(id));
        assert_eq!(distributor.enable(id), refused);
        assert_eq!(distributor.disable(id), refused);
        assert_eq!(distributor.route(id, 0), refused);
        assert_eq!(distributor.configure(Irq { id, trigger: Trigger::Edge }, 0), refused);
    }
    assert_eq!(distributor.enable(IntId(32 + 255)), Ok(()));
}

/// Redistributors for these affinities (as GICR_TYPER has them in its upper word), `frames` frames apart.
fn redistributors(affinities: &[u32], frames: usize, flags: u32) -> (Fake, GicV3) {
    let mut fake = Fake::new(affinities.len() * frames);
    for (index, affinity) in affinities.iter().enumerate() {
        let last = u32::from(index + 1 == affinities.len()) << 4;
        fake.write(index * frames * 0x1_0000 + 8, flags | last);
        fake.write(index * frames * 0x1_0000 + 12, *affinity);
    }
    let size = affinities.len() as u64 * frames as u64 * 0x1_0000;
    let region = PaRange::new(fake.base(), size).unwrap();
    let gicd = PaRange::new(Pa(0x800_0000), 0x1_0000).unwrap();
    (fake, GicV3 { gicd, gicr: [region].into_iter().collect(), stride: None })
}

fn find(gic: &GicV3, mpidr: u64) -> Result<u64, GicError> {
    // SAFETY: the frames outlive the driver in each test, and nobody else uses them meanwhile.
    let found = unsafe { Redistributor::find(gic, mpidr) }?;
    Ok((found.base().0 - gic.gicr[0].start.0) / 0x1_0000)
}

#[test]
fn a_redistributor_is_found_by_its_cpus_affinity() {
    let (_fake, gic) = redistributors(&[0, 1, 0x0201_0003, 0x100], 2, 0);
    assert_eq!(find(&gic, 0x8000_0000), Ok(0));
    assert_eq!(find(&gic, 0x8000_0001), Ok(2));
    assert_eq!(find(&gic, 0x02_8001_0003), Ok(4));
    assert_eq!(find(&gic, 0x8000_0100), Ok(6));
    assert_eq!(find(&gic, 2), Err(GicError::NoRedistributor(2)));
}

#[test]
fn virtual_lpis_or_the_trees_stride_space_the_redistributors() {
    let (_fake, gic) = redistributors(&[0, 1, 2], 4, 1 << 1);
    assert_eq!(find(&gic, 2), Ok(8));
    let (_fake, mut gic) = redistributors(&[0, 1, 2], 3, 0);
    gic.stride = Some(0x3_0000);
    assert_eq!(find(&gic, 2), Ok(6));
}

#[test]
fn the_search_ends_at_the_last_one_or_at_the_regions_end_and_goes_on_in_the_next() {
    let (mut fake, mut gic) = redistributors(&[0, 1, 2, 3], 2, 0);
    // The second says that it is the last: what lies behind it is none.
    fake.write(2 * 0x1_0000 + 8, 1 << 4);
    assert_eq!(find(&gic, 3), Err(GicError::NoRedistributor(3)));
    // Without any last one the region's end counts.
    fake.write(2 * 0x1_0000 + 8, 0);
    fake.write(6 * 0x1_0000 + 8, 0);
    assert_eq!(find(&gic, 7), Err(GicError::NoRedistributor(7)));
    let (_second, more) = redistributors(&[7], 2, 0);
    gic.gicr.push(more.gicr[0]);
    // SAFETY: as in `find`.
    let found = unsafe { Redistributor::find(&gic, 7) }.unwrap();
    assert_eq!(found.base(), more.gicr[0].start);
}

#[test]
fn private_interrupts_come_up_clean_with_the_wanted_ones_enabled() {
    let (mut fake, gic) = redistributors(&[0], 2, 0);
    fake.write(0x14, 0b010);
    fake.write(0, 1);
    // SAFETY: as in `find`.
    let mut redistributor = unsafe { Redistributor::find(&gic, 0) }.unwrap();
    redistributor.init(&[IntId(27)]).unwrap();
    assert_eq!(fake.read(0x14), 0, "GICR_WAKER");
    assert_eq!(fake.read(0), 0, "no LPIs");
    let expected = [(0x080, ALL), (0x100, 1 << 27), (0x180, ALL), (0x280, ALL), (0x380, ALL), (0xd00, 0)];
    for (register, value) in expected {
        assert_eq!(fake.read(0x1_0000 + register), value, "{register:#x}");
    }
    for priorities in 0..8 {
        assert_eq!(fake.read(0x1_0400 + priorities * 4), 0x8080_8080);
    }
}

#[test]
fn a_redistributor_is_put_to_sleep_and_one_that_stays_awake_is_no_hang() {
    // GICR_WAKER.ChildrenAsleep, which hardware sets.
    for asleep in [1 << 2, 0] {
        let (mut fake, gic) = redistributors(&[0], 2, 0);
        fake.write(0x14, asleep);
        // SAFETY: as in `find`.
        let mut redistributor = unsafe { Redistributor::find(&gic, 0) }.unwrap();
        redistributor.sleep();
        assert_eq!(fake.read(0x14), asleep | 1 << 1, "ProcessorSleep");
    }
}

#[test]
fn active_and_enabled_are_one_store_to_one_bit_each() {
    let (mut fake, gic) = redistributors(&[0], 2, 0);
    // SAFETY: as in `find`.
    let redistributor = unsafe { Redistributor::find(&gic, 0) }.unwrap();
    redistributor.activate(IntId(27));
    assert_eq!(fake.read(0x1_0300), 1 << 27);
    assert!(redistributor.is_active(IntId(27)) && !redistributor.is_active(IntId(26)));
    redistributor.deactivate(IntId(26));
    assert_eq!(fake.read(0x1_0380), 1 << 26);
    redistributor.enable(IntId(25));
    assert_eq!(fake.read(0x1_0100), 1 << 25);
    redistributor.disable(IntId(24));
    assert_eq!(fake.read(0x1_0180), 1 << 24);
    fake.write(0x1_0200, 1 << 30);
    assert!(redistributor.is_pending(IntId(30)) && !redistributor.is_pending(IntId(27)));
}

#[test]
fn hardware_that_does_not_follow_is_an_error_and_no_hang() {
    let (mut fake, gic) = redistributors(&[0], 2, 0);
    fake.write(0x14, 0b110);
    // SAFETY: as in `find`.
    let mut redistributor = unsafe { Redistributor::find(&gic, 0) }.unwrap();
    let base = redistributor.base();
    assert_eq!(redistributor.init(&[]), Err(GicError::Asleep(base)));
    fake.write(0x14, 0);
    fake.write(0, 1 << 3);
    assert_eq!(redistributor.init(&[]), Err(GicError::WritePending(base)));
}

#[test]
fn sgi_targets_are_laid_out_as_icc_sgi1r_el1() {
    assert_eq!(SgiTarget::of(0).value(IntId(0)), 1);
    assert_eq!(SgiTarget::of(3).value(IntId(2)), 0x0200_0008);
    // Aff3 0x12, Aff2 0x34, Aff1 0x56, Aff0 0x7a: range 7, bit 10; MPIDR_EL1's bits 31, 30, 24 do not count.
    let target = SgiTarget::of(0x12_c134_567a);
    assert_eq!(target.value(IntId(15)), 0x0012_7034_0f56_0400);
}

#[test]
fn address_0_is_no_gic() {
    // SAFETY: nothing is accessed.
    let distributor = unsafe { Distributor::new(Pa(0)) };
    assert_eq!(distributor.unwrap_err(), GicError::NoAddress);
}
