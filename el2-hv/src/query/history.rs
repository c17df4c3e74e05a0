//! What lives of the service partition were for.

use hv_abi::handle::{LABEL_MAX, Label};
use hv_abi::mailbox::BODY_MAX;
use hv_abi::record::{ASKERS_MAX, AskerRecord, HistoryHeader, LIVES_MAX, PastLife, QueryKind};
use hv_core::sos::history::{Ledger, Life, Sum};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use super::{Asked, put};
use crate::machine::machine;

/// Writes lives, or askers, from the position that is asked for on.
pub fn answer(ledger: &Ledger, asked: &Asked, body: &mut [u8; BODY_MAX]) -> usize {
    let from = u32::try_from(asked.argument).unwrap_or(u32::MAX);
    let mut header = HistoryHeader { next: U64::MAX_VALUE, up_ns: U64::new(machine().up_ns()) };
    let mut length = size_of::<HistoryHeader>();
    if asked.kind == QueryKind::Lives {
        for (place, life) in ledger.lives(from).enumerate() {
            if place == LIVES_MAX {
                header.next = U64::new(u64::from(life.number));
                break;
            }
            length += put(life_record(life).as_bytes(), &mut body[length..]);
        }
    } else {
        for (place, (slot, sum)) in ledger.sums(from as usize).enumerate() {
            if place == ASKERS_MAX {
                header.next = U64::new(slot as u64);
                break;
            }
            length += put(asker_record(sum).as_bytes(), &mut body[length..]);
        }
    }
    put(header.as_bytes(), body);
    length
}

/// An asker's name.
pub fn name(who: Option<Label>) -> [u8; LABEL_MAX + 1] {
    let mut name = [0; LABEL_MAX + 1];
    match who {
        Some(label) => name = *label.bytes(),
        None => name[..2].copy_from_slice(b"hv"),
    }
    name
}

fn life_record(life: &Life) -> PastLife {
    let on = if life.on == 0 { machine().up_ns().saturating_sub(life.began) } else { life.on };
    PastLife {
        life: U32::new(life.number),
        end: U32::new(life.end as u32),
        woken_by: name(life.woken_by),
        began_ns: U64::new(life.began),
        on_ns: U64::new(on),
        cpu_ns: U64::new(life.cpu),
        requests: U32::new(life.requests),
        reserved: U32::ZERO,
    }
}

fn asker_record(sum: &Sum) -> AskerRecord {
    AskerRecord {
        label: name(sum.who),
        wakes: U32::new(sum.wakes),
        requests: U32::new(sum.requests),
        cpu_ns: U64::new(sum.cpu),
    }
}
