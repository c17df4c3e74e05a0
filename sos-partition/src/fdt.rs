//! Writes a flattened device tree (devicetree specification 0.4, chapter 5) from its first node to its last,
//! into the one buffer that is then copied to the guest.

use alloc::vec::Vec;

/// Bytes of the header, of ten cells, and of the empty list of reservations behind it (5.2, 5.3).
const HEADER: usize = 40;
const RESERVATIONS: usize = 16;
const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const LAST_COMPATIBLE: u32 = 16;
/// Tokens of the structure block (5.4.1).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// What a property holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// Strings, each with its NUL.
    Texts(&'a [&'a str]),
    /// 32-bit cells.
    Cells(&'a [u32]),
    /// Numbers of two cells each.
    Numbers(&'a [u64]),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A property: its name and what it holds.
pub(crate) type Property<'a> = (&'static str, Value<'a>);

/// A tree that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    out: Vec<u8>,
    /// Names of properties, and where each is in the block of strings.
    names: Vec<(&'static str, u32)>,
    strings: u32,
}

impl Writer {
    /// A tree without its root, of at most `room` bytes if it is to grow nowhere.
    pub(crate) fn new(room: usize) -> Self {
        let mut out = Vec::with_capacity(room);
        out.resize(HEADER + RESERVATIONS, 0);
        Self { out, names: Vec::with_capacity(32), strings: 0 }
    }

    fn cell(&mut self, cell: u32) {
        self.out.extend_from_slice(&cell.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(0);
    }

    fn align(&mut self) {
        while !self.out.len().is_multiple_of(4) {
            self.out.push(0);
        }
    }

    /// A node begins, below those that have not ended.
    pub(crate) fn begin(&mut self, name: &str) {
        self.cell(BEGIN_NODE);
        self.text(name);
        self.align();
    }

    /// The node that began last ends.
    pub(crate) fn end(&mut self) {
        self.cell(END_NODE);
    }

    /// A property of the node that began last, before its children.
    pub(crate) fn property(&mut self, (name, value): Property<'_>) {
        let name = self.name(name);
        self.cell(PROPERTY);
        let length = self.out.len();
        self.cell(0);
        self.cell(name);
        let start = self.out.len();
        match value {
            Value::Texts(texts) => texts.iter().for_each(|text| self.text(text)),
            Value::Cells(cells) => cells.iter().for_each(|&cell| self.cell(cell)),
            Value::Numbers(numbers) => {
                numbers.iter().for_each(|number| self.out.extend_from_slice(&number.to_be_bytes()));
            }
            Value::Bytes(bytes) => self.out.extend_from_slice(bytes),
        }
        let size = (self.out.len() - start) as u32;
        self.out[length..start - 4].copy_from_slice(&size.to_be_bytes());
        self.align();
    }

    /// A node without children.
    pub(crate) fn node(&mut self, name: &str, properties: &[Property<'_>]) {
        self.begin(name);
        properties.iter().for_each(|&property| self.property(property));
        self.end();
    }

    /// Where a property's name is in the block of strings.
    fn name(&mut self, name: &'static str) -> u32 {
        if let Some((_, offset)) = self.names.iter().find(|(known, _)| *known == name) {
            return *offset;
        }
        let offset = self.strings;
        self.names.push((name, offset));
        self.strings += name.len() as u32 + 1;
        offset
    }

    /// The tree.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.cell(END);
        let strings = self.out.len();
        for (name, _) in core::mem::take(&mut self.names) {
            self.text(name);
        }
        let (structure, size) = (HEADER + RESERVATIONS, self.out.len() as u32);
        let header = [
            MAGIC,
            size,
            structure as u32,
            strings as u32,
            HEADER as u32,
            VERSION,
            LAST_COMPATIBLE,
            0,
            self.strings,
            (strings - structure) as u32,
        ];
        for (place, cell) in self.out.chunks_exact_mut(4).zip(header) {
            place.copy_from_slice(&cell.to_be_bytes());
        }
        self.out
    }
}
