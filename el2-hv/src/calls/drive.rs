//! `drive_read`: what the service partition reads of a drive.

use hv_abi::Status;
use hv_arch::{counter, ram};
use hv_core::drive_read::{Answer, READ_SIZE, is_inside};

use super::{Results, translate};
use crate::vm::SOS_VM;
use crate::{VMS, drives, sos};

/// Reads of a drive, for the caller's page.
pub fn read(drive: u64, sector: u64, [ipa, number]: [u64; 2], results: &mut Results) -> Result<(), Status> {
    let drive = u8::try_from(drive).ok().and_then(drives::drive).ok_or(Status::InvalidArgument)?;
    let shape = &drive.shape;
    (results[0], results[1]) = (shape.sectors, shape.block_size.into());
    if !is_inside(sector, shape.sectors, u64::from(shape.block_size) / 512) {
        return Err(Status::InvalidArgument);
    }
    // Looked for first: what was read is given once. A page lies in one piece.
    let page = translate(&VMS[SOS_VM.index()], ipa, READ_SIZE, true)?;
    if page.size != READ_SIZE {
        return Err(Status::BadAddress);
    }
    match drive.ask(number, sector, counter::now()) {
        (Answer::Begin | Answer::Wait, _) => Err(Status::Again),
        (Answer::Failed, _) => Err(Status::Denied),
        (Answer::Fetch, read) => {
            ram::copy(page.start, read, READ_SIZE);
            sos::progress();
            Ok(())
        }
    }
}
