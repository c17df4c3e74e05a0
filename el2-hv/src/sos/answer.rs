//! What EL2 answers itself: queries under the asker's grants, and errors.

use hv_abi::call::Grants;
use hv_abi::mailbox::{Flags, Frame, HvError, HvErrorKind, Party, Slot};
use hv_abi::record::QueryKind;
use hv_core::requests::Asker;
use hv_core::watch::Wanted;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::{Answer, SosControl, Taken};
use crate::query::{self, Asked};
use crate::{disks, vm, watch};

impl SosControl {
    /// Answers a frame for EL2 itself, from `asker`, who exists.
    pub(super) fn answer_hv(&self, asker: Asker, frame: &Frame, slot: &Slot, answer: &mut Answer<'_>) -> Taken {
        let Some(asked) = query::parse(&slot.body[..frame.length]) else {
            return refuse(frame.id, HvErrorKind::NoSuchQuery, answer);
        };
        match asked.kind {
            QueryKind::ConsoleNext => {
                let wanted = Wanted { id: frame.id, position: asked.argument };
                watch::want(asker, wanted).map_or_else(|kind| refuse(frame.id, kind, answer), |()| Taken::Yes)
            }
            QueryKind::ConsoleType => {
                watch::type_in(asker, frame, slot, answer).unwrap_or_else(|kind| refuse(frame.id, kind, answer))
            }
            QueryKind::Plugs => plugs(asker, frame.id, answer),
            _ => self.answer_query(asker, frame.id, &asked, answer),
        }
    }

    fn answer_query(&self, asker: Asker, id: u32, asked: &Asked, answer: &mut Answer<'_>) -> Taken {
        let grants = vm::by_handle(asker.vm).map_or(Grants::NONE, |(_, vm)| vm.grants());
        let needed = match asked.kind {
            QueryKind::SosStatus | QueryKind::HvInfo | QueryKind::Vcpus | QueryKind::Lives | QueryKind::Askers => {
                Grants::INFO
            }
            QueryKind::Disks | QueryKind::Nics | QueryKind::Packets | QueryKind::Balloons => Grants::INFO,
            QueryKind::Log => Grants::LOG,
            QueryKind::Console | QueryKind::ConsoleNext | QueryKind::ConsoleType => Grants::CONSOLES,
            QueryKind::Plugs => Grants::NONE,
        };
        if !grants.contains(needed) {
            return refuse(id, HvErrorKind::NotGranted, answer);
        }
        let mut body = [0; hv_abi::mailbox::BODY_MAX];
        let Some(length) = query::answer(self, asked, &mut body) else {
            return refuse(id, HvErrorKind::NoSuchVm, answer);
        };
        let head = Frame::request(Party::Hv, Flags::default(), id, length);
        given(answer(&Slot::new(head, &body[..length])))
    }
}

/// Tells a VM of its own slots.
fn plugs(asker: Asker, id: u32, answer: &mut Answer<'_>) -> Taken {
    let Some((_, vm)) = vm::by_handle(asker.vm) else {
        return refuse(id, HvErrorKind::NoSuchVm, answer);
    };
    let record = disks::plugs(vm);
    let head = Frame::request(Party::Hv, Flags::default(), id, record.as_bytes().len());
    given(answer(&Slot::new(head, record.as_bytes())))
}

const fn given(given: bool) -> Taken {
    if given { Taken::Yes } else { Taken::Later }
}

/// Answers a frame with an error.
pub(super) fn refuse(id: u32, kind: HvErrorKind, answer: &mut Answer<'_>) -> Taken {
    given(answer(&error_slot(id, kind)))
}

pub(super) fn error_slot(id: u32, kind: HvErrorKind) -> Slot {
    let body = HvError { kind: U32::new(kind as u32) };
    Slot::new(Frame::request(Party::Hv, Flags::ERROR, id, 0), body.as_bytes())
}
