use zerocopy::IntoBytes;

use super::*;

/// Bytes of an `HvInfo` by the contract's layout: two words, fourteen long words of memory and held,
/// two of times, two words.
pub(crate) fn hv_bytes(memory: [u64; 13]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(4u32.to_le_bytes());
    bytes.extend(62_500_000u32.to_le_bytes());
    memory.iter().for_each(|row| bytes.extend(row.to_le_bytes()));
    bytes.extend(1_234_567u64.to_le_bytes());
    bytes.extend(12_300_000_000u64.to_le_bytes());
    bytes.extend(0x1c29_1ca3u32.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes
}

/// RAM, then its eleven rows, then what is held.
pub(crate) const MEMORY: [u64; 13] = [
    1 << 30,
    512 << 20,
    0,
    256 << 10,
    128 << 10,
    1 << 20,
    64 << 10,
    4096,
    40 << 20,
    64 << 10,
    1 << 20,
    (1 << 30) - (554 << 20) - (512 << 10) - 4096,
    8 << 20,
];

#[test]
fn a_memory_table_that_adds_up_is_taken() {
    let hv = Hv::read(&hv_bytes(MEMORY)).unwrap();
    assert!(hv.memory.adds_up);
    assert_eq!(hv.memory.check().map_err(|error| error.to_string()), Ok(()));
    assert_eq!((hv.cpus, hv.counter_hz), (4, 62_500_000));
    assert_eq!((&*hv.image_crc, hv.up_ns), ("1c291ca3", 12_300_000_000));
    assert_eq!(hv.memory.held, 8 << 20);
}

#[test]
fn each_row_that_is_one_byte_off_is_noticed() {
    for row in 0..12 {
        let mut memory = MEMORY;
        memory[row] += 1;
        let hv = Hv::read(&hv_bytes(memory)).unwrap();
        assert!(!hv.memory.adds_up, "row {row}");
        assert_eq!(hv.memory.check().unwrap_err().exit_code(), 1);
    }
    let mut memory = MEMORY;
    memory[1] = u64::MAX;
    assert!(!Hv::read(&hv_bytes(memory)).unwrap().memory.adds_up);
    let mut memory = MEMORY;
    memory[12] = memory[11] + 1;
    assert!(!Hv::read(&hv_bytes(memory)).unwrap().memory.adds_up, "more held than free");
}

#[test]
fn records_of_another_size_are_refused() {
    let bytes = hv_bytes(MEMORY);
    assert!(matches!(Hv::read(&bytes[1..]), Err(Error::Reply(_))));
    assert!(matches!(Hv::read(&[]), Err(Error::Reply(_))));
    assert!(matches!(Sos::read(&bytes, &[0; 40]), Err(Error::Reply(_))));
}

#[test]
fn the_account_is_read_with_its_share() {
    let mut record = SosStatus {
        state: 3.into(),
        lives: 7.into(),
        failures: 1.into(),
        requests: 2.into(),
        frames: 2048.into(),
        wake_to_answer_ns: 412_345.into(),
        on_ns: 125.into(),
        up_ns: 1000.into(),
        woken_by: [0; 32],
    };
    record.woken_by[..6].copy_from_slice(b"debian");
    assert!(matches!(Sos::read(record.as_bytes(), &[0; 39]), Err(Error::Reply(_))));
    let sos = Sos::read(record.as_bytes(), &[0; 40]).unwrap();
    assert_eq!((&*sos.state, sos.lives, sos.frames), ("ready", 7, 2048));
    assert_eq!(sos.woken_by.as_deref(), Some("debian"));
    assert_eq!(sos.on_percent.to_string(), "12.5");
    record.state = 6.into();
    record.woken_by = [b'x'; 32];
    record.up_ns = 0.into();
    let sos = Sos::read(record.as_bytes(), &[0; 40]).unwrap();
    assert_eq!(sos.state, "unknown (6)");
    assert_eq!(sos.woken_by.unwrap().len(), 32);
    assert_eq!(sos.on_percent.to_bits(), 0);
}

#[test]
fn pieces_of_the_log_that_go_backwards_or_nowhere_are_refused() {
    let piece = |position: u64, end: u64, text: &[u8]| {
        let mut bytes = [position.to_le_bytes(), end.to_le_bytes()].concat();
        bytes.extend(text);
        bytes
    };
    let read =
        |bytes: &[u8], asked| Piece::read(bytes, asked).map(|piece| (piece.position, piece.end, piece.text.len()));
    assert_eq!(read(&piece(10, 15, b"abc"), 10).unwrap(), (10, 15, 3));
    assert_eq!(read(&piece(12, 15, b"abc"), 10).unwrap(), (12, 15, 3), "overwritten");
    assert_eq!(read(&piece(0, 0, b""), 0).unwrap(), (0, 0, 0), "an empty log");
    assert!(read(&piece(9, 15, b"abc"), 10).is_err(), "backwards");
    assert!(read(&piece(10, 15, b""), 10).is_err(), "would never end");
    assert!(read(&piece(10, 12, b"abc"), 10).is_err(), "behind the end");
    assert!(read(&piece(u64::MAX, u64::MAX, b"abc"), 10).is_err(), "overflow");
    assert!(read(b"short", 0).is_err());
}
