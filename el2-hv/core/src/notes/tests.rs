use super::*;
use std::vec::Vec;

fn set(notes: &mut Notes, note: u64, bytes: &[u8], version: u64) -> Result<u64, Status> {
    let mut new = notes.replace(note, bytes.len() as u64, version)?;
    new.bytes().copy_from_slice(bytes);
    Ok(new.finish())
}

#[test]
fn a_replacement_that_is_given_up_half_way_leaves_the_old_version() {
    let mut notes = Notes::new();
    assert_eq!(set(&mut notes, 2, b"old content", 0), Ok(1));
    notes.replace(2, 8, 1).unwrap().bytes()[..4].copy_from_slice(b"half");
    assert_eq!(notes.get(2), Ok((&b"old content"[..], 1)));
}

#[test]
fn what_is_no_note_too_long_or_of_another_version_is_refused() {
    let mut notes = Notes::new();
    assert_eq!(set(&mut notes, NOTES as u64, b"", 0), Err(Status::InvalidArgument));
    assert_eq!(set(&mut notes, u64::MAX, b"", 0), Err(Status::InvalidArgument));
    assert_eq!(notes.get(NOTES as u64), Err(Status::InvalidArgument));
    assert_eq!(set(&mut notes, 0, &[0; NOTE_MAX + 1], 0), Err(Status::InvalidArgument));
    assert_eq!(set(&mut notes, 0, &[7; NOTE_MAX], 0), Ok(1));
    assert_eq!(set(&mut notes, 0, b"", 0), Err(Status::Conflict));
    assert_eq!(notes.get(0), Ok((&[7; NOTE_MAX][..], 1)));
}

#[test]
fn random_replacements_match_a_list_of_notes() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    let mut notes = Notes::new();
    let mut model: Vec<(Vec<u8>, u64)> = (0..NOTES).map(|_| (Vec::new(), 0)).collect();
    for _ in 0..20_000 {
        let note = next(NOTES as u64);
        let bytes: Vec<u8> = (0..next(40)).map(|_| next(256) as u8).collect();
        let (content, version) = &mut model[note as usize];
        let asked = *version + next(4) / 3;
        match (asked == *version, next(3)) {
            (false, _) => assert_eq!(set(&mut notes, note, &bytes, asked), Err(Status::Conflict)),
            (true, 0) => notes.replace(note, bytes.len() as u64, asked).unwrap().bytes().fill(0xee),
            (true, _) => {
                assert_eq!(set(&mut notes, note, &bytes, asked), Ok(asked + 1));
                (*content, *version) = (bytes, asked + 1);
            }
        }
        for (note, (content, version)) in model.iter().enumerate() {
            assert_eq!(notes.get(note as u64), Ok((content.as_slice(), *version)));
        }
    }
}
