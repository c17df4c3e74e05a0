//! The properties of a guest that say what its vCPUs get of the CPUs.

use alloc::vec::Vec;

use dtoolkit::Property;
use hv_abi::message::{CpuShare, Reservation};

use super::{PropertyProblem, Reader, Result};
use crate::share::ShareError;
use crate::spec::SpecError;

pub(super) fn parse(reader: &mut Reader<'_>) -> Result<CpuShare> {
    let default = CpuShare::default();
    let weight = small(reader, "cpu-weight", ShareError::Weight)?.unwrap_or(default.weight);
    let cap = small(reader, "cpu-cap", ShareError::Cap)?;
    let mut affinity = Vec::new();
    for cpu in cells(reader, "cpu-affinity")? {
        let small = u8::try_from(cpu).map_err(|_| reader.spec(SpecError::Share(ShareError::Cpu(cpu))))?;
        affinity.push(small);
    }
    let reservation = match cells(reader, "cpu-reservation")?[..] {
        [] => None,
        [budget_us, period_us] => Some(Reservation { budget_us, period_us }),
        _ => return Err(reader.problem("cpu-reservation", PropertyProblem::NotTwoCells)),
    };
    Ok(CpuShare { weight, cap, affinity, reservation, pinned: reader.flag("cpu-pinned")? })
}

/// A number whose allowed values fit 16 bits.
fn small(reader: &mut Reader<'_>, name: &str, refuse: fn(u32) -> ShareError) -> Result<Option<u16>> {
    let Some(number) = reader.u32(name)? else {
        return Ok(None);
    };
    let small = u16::try_from(number).map_err(|_| reader.spec(SpecError::Share(refuse(number))))?;
    Ok(Some(small))
}

/// The cells of a property that is not empty; none where it is not there.
fn cells(reader: &mut Reader<'_>, name: &str) -> Result<Vec<u32>> {
    let Some(found) = reader.take(name)? else {
        return Ok(Vec::new());
    };
    let (cells, rest) = found.value().as_chunks::<4>();
    if cells.is_empty() || !rest.is_empty() {
        return Err(reader.problem(name, PropertyProblem::NotCells));
    }
    Ok(cells.iter().map(|cell| u32::from_be_bytes(*cell)).collect())
}
