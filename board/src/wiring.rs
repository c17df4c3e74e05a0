//! Interrupt wiring and `/chosen`: what a walk can only note and must work out at its end.

use fdt::helpers::UnalignedFallibleNode;
use hv_core::addr::IntId;

use crate::cells;
use crate::error::{Fault, NodePath, TreeError};
use crate::model::{Irq, Trigger};
use crate::tree::Node;

/// The first shared interrupt, and the first special number above them (IHI0069 §2.2.1).
const SPI_BASE: u32 = 32;
const SPI_END: u32 = 1020;
/// The first private interrupt of a peripheral (IHI0069 §2.2.1).
const PPI_BASE: u32 = 16;

/// The interrupts of a node, not yet decoded.
pub(crate) struct Wired<'a> {
    path: NodePath,
    /// What they go to.
    pub(crate) parent: Option<u32>,
    /// `interrupts`.
    pub(crate) interrupts: Option<&'a [u8]>,
    names: Option<&'a [u8]>,
}

impl<'a> Wired<'a> {
    pub(crate) fn of(node: &Node<'_, 'a>) -> Self {
        Self {
            path: node.path(),
            parent: node.interrupt_parent(),
            interrupts: node.properties.interrupts,
            names: node.properties.interrupt_names,
        }
    }

    /// Where in `interrupts` the one of that name stands.
    pub(crate) fn position(&self, name: &[u8]) -> Option<usize> {
        cells::strings(self.names?).position(|candidate| candidate == name)
    }

    /// The interrupt `index`, of which each has `interrupt_cells` cells of the GIC's binding: type,
    /// number, flags, and what does not matter here.
    pub(crate) fn irq(&self, index: usize, interrupt_cells: u32) -> Result<Irq, TreeError> {
        irq(self.interrupts, index, interrupt_cells).map_err(|fault| TreeError::Property {
            path: self.path,
            property: "interrupts",
            fault,
        })
    }
}

/// The interrupt `index` of `interrupts`.
pub(crate) fn irq(interrupts: Option<&[u8]>, index: usize, interrupt_cells: u32) -> Result<Irq, Fault> {
    let interrupts = interrupts.ok_or(Fault::Missing)?;
    let length = interrupt_cells as usize * cells::CELL;
    let wrong_length = Fault::Length(interrupts.len());
    let mut entry = interrupts.chunks_exact(length.max(cells::CELL)).nth(index).ok_or(wrong_length)?;
    let mut next = || cells::take(&mut entry, 1).ok_or(wrong_length);
    let (kind, number, flags) = (next()?, next()?, next()?);
    let id = int_id(kind, number).ok_or(Fault::Value(number))?;
    let trigger = trigger(flags).ok_or(Fault::Value(flags))?;
    Ok(Irq { id, trigger })
}

/// The number at the GIC: type 0 counts from the first shared interrupt, type 1 from the first private
/// one. The extended ranges are not used.
fn int_id(kind: u64, number: u64) -> Option<IntId> {
    let number = u32::try_from(number).ok()?;
    let (base, end) = match kind {
        0 => (SPI_BASE, SPI_END),
        1 => (PPI_BASE, SPI_BASE),
        _ => return None,
    };
    base.checked_add(number).filter(|id| *id < end).map(IntId)
}

/// The flags' low four bits: 1 rising, 2 falling, 4 high, 8 low; the bits above are a PPI's CPUs.
fn trigger(flags: u64) -> Option<Trigger> {
    match flags & 0xf {
        1 | 2 => Some(Trigger::Edge),
        4 | 8 => Some(Trigger::Level),
        _ => None,
    }
}

/// The console's path: the value of `stdout-path` up to the colon before its options, where it does not
/// begin with a slash replaced by what `/aliases` gives for it (Devicetree 0.4 §3.6).
pub(crate) fn stdout_path<'a>(value: &'a [u8], aliases: Option<UnalignedFallibleNode<'a>>) -> Option<&'a [u8]> {
    let stdout = cells::string(value).split(|byte| *byte == b':').next()?;
    if stdout.starts_with(b"/") {
        return Some(stdout);
    }
    let alias = core::str::from_utf8(stdout).ok()?;
    let path = aliases?.raw_property(alias).ok()??;
    Some(cells::string(path.value))
}

impl NodePath {
    /// Whether `wanted` is this path. A name in it without unit address means any.
    pub(crate) fn is_meant_by(&self, wanted: &[u8]) -> bool {
        let mut own = self.as_str().as_bytes().split(|byte| *byte == b'/');
        let mut wanted = wanted.split(|byte| *byte == b'/');
        loop {
            match (own.next(), wanted.next()) {
                (None, None) => return true,
                (Some(name), Some(want)) if name == want => {}
                (Some(name), Some(want)) if name.split(|byte| *byte == b'@').next() == Some(want) => {}
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fdt::nodes::NodeName;

    #[test]
    fn interrupts_count_from_the_base_of_their_type() {
        assert_eq!(int_id(0, 1), Some(IntId(33)));
        assert_eq!(int_id(1, 9), Some(IntId(25)));
        assert_eq!(int_id(0, 987), Some(IntId(1019)));
        assert_eq!(int_id(1, 15), Some(IntId(31)));
    }

    #[test]
    fn numbers_beyond_their_type_are_refused() {
        for (kind, number) in [(0, 988), (1, 16), (0, u64::from(u32::MAX)), (2, 0), (0, u64::MAX)] {
            assert_eq!(int_id(kind, number), None, "{kind} {number}");
        }
    }

    #[test]
    fn triggers_ignore_the_cpu_mask_above_them() {
        assert_eq!(trigger(0xf04), Some(Trigger::Level));
        assert_eq!(trigger(0xf08), Some(Trigger::Level));
        assert_eq!(trigger(1), Some(Trigger::Edge));
        assert_eq!(trigger(2), Some(Trigger::Edge));
        assert_eq!(trigger(0), None);
        assert_eq!(trigger(5), None);
    }

    #[test]
    fn a_path_may_leave_out_unit_addresses_but_nothing_else() {
        let names = [NodeName::new("soc", None), NodeName::new("serial", Some("7e201000"))];
        let path = NodePath::from_names(names.into_iter());
        for wanted in ["/soc/serial@7e201000", "/soc/serial"] {
            assert!(path.is_meant_by(wanted.as_bytes()), "{wanted}");
        }
        for wanted in ["/soc", "/soc/serial@7e201", "/serial", "/soc/serial/x", "", "/"] {
            assert!(!path.is_meant_by(wanted.as_bytes()), "{wanted}");
        }
    }
}
