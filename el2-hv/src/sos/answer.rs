//! What EL2 answers itself: queries under the asker's grants, and errors.

use hv_abi::call::Grants;
use hv_abi::mailbox::{Flags, Frame, HvError, HvErrorKind, Party, Slot};
use hv_abi::record::QueryKind;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::{Answer, SosControl, Taken};
use crate::query;

impl SosControl {
    pub(super) fn answer_query(&self, grants: Grants, frame: &Frame, slot: &Slot, answer: &mut Answer<'_>) -> Taken {
        let Some(asked) = query::parse(&slot.body[..frame.length]) else {
            return refuse(frame.id, HvErrorKind::NoSuchQuery, answer);
        };
        let needed = match asked.kind {
            QueryKind::SosStatus | QueryKind::HvInfo | QueryKind::Vcpus | QueryKind::Lives | QueryKind::Askers => {
                Grants::INFO
            }
            QueryKind::Log => Grants::LOG,
            QueryKind::Console => Grants::CONSOLES,
        };
        if !grants.contains(needed) {
            return refuse(frame.id, HvErrorKind::NotGranted, answer);
        }
        let mut body = [0; hv_abi::mailbox::BODY_MAX];
        let Some(length) = query::answer(self, &asked, &mut body) else {
            return refuse(frame.id, HvErrorKind::NoSuchVm, answer);
        };
        let head = Frame::request(Party::Hv, Flags::default(), frame.id, length);
        given(answer(&Slot::new(head, &body[..length])))
    }
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
