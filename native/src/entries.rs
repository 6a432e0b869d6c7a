//! Entries as protobuf: the same bytes that shipper/loki/encode.py describes and writes.

use arrow_array::{Array, StringViewArray};

const LENGTH_WIDTH: usize = 4;
const TIME_WIDTH: usize = 5;
const HEADER_WIDTH: usize = 1 + LENGTH_WIDTH + 3 + TIME_WIDTH + 1 + TIME_WIDTH + 1 + LENGTH_WIDTH;
const NS_PER_S: u64 = 1_000_000_000;

pub struct Entry<'a> {
    pub line: &'a [u8],
    pub timestamp_ns: u64,
    /// The row of its structured metadata.
    pub row: usize,
}

/// Structured metadata of one name.
pub struct Pairs<'a> {
    pub name: &'a str,
    pub values: &'a StringViewArray,
}

impl Pairs<'_> {
    fn value(&self, row: usize) -> Option<&str> {
        self.values.is_valid(row).then(|| self.values.value(row))
    }

    fn bytes(&self, row: usize) -> usize {
        self.value(row).map_or(0, |value| {
            let inside = field_bytes(self.name.len()) + field_bytes(value.len());
            field_bytes(inside)
        })
    }

    fn write(&self, row: usize, out: &mut Out) {
        if let Some(value) = self.value(row) {
            out.tag_and_length(0x1A, field_bytes(self.name.len()) + field_bytes(value.len()));
            out.tag_and_length(0x0A, self.name.len());
            out.put(self.name.as_bytes());
            out.tag_and_length(0x12, value.len());
            out.put(value.as_bytes());
        }
    }
}

/// Says where each entry begins, and where the last one ends.
pub fn positions(entries: &[Entry], metadata: &[Pairs]) -> Vec<i64> {
    let mut bytes = vec![HEADER_WIDTH; entries.len()];
    for (bytes, entry) in bytes.iter_mut().zip(entries) {
        *bytes += entry.line.len() + metadata.iter().map(|pairs| pairs.bytes(entry.row)).sum::<usize>();
    }
    let mut end = 0;
    std::iter::once(0)
        .chain(bytes.into_iter().map(|bytes| {
            end += bytes as i64;
            end
        }))
        .collect()
}

pub fn write(entries: &[Entry], metadata: &[Pairs], positions: &[i64], out: &mut [u8]) {
    let mut out = Out(out);
    for (entry, place) in entries.iter().zip(positions.windows(2)) {
        let inside = (place[1] - place[0]) as usize - 1 - LENGTH_WIDTH;
        out.put(&[0x12]);
        out.padded::<LENGTH_WIDTH>(inside as u64);
        out.put(&[0x0A, 2 + 2 * TIME_WIDTH as u8, 0x08]);
        out.padded::<TIME_WIDTH>(entry.timestamp_ns / NS_PER_S);
        out.put(&[0x10]);
        out.padded::<TIME_WIDTH>(entry.timestamp_ns % NS_PER_S);
        out.put(&[0x12]);
        out.padded::<LENGTH_WIDTH>(entry.line.len() as u64);
        out.put(entry.line);
        for pairs in metadata {
            pairs.write(entry.row, &mut out);
        }
    }
}

/// What is left of a buffer to write to.
struct Out<'a>(&'a mut [u8]);

impl Out<'_> {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        let (head, tail) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.0 = tail;
    }

    fn padded<const WIDTH: usize>(&mut self, value: u64) {
        let mut bytes: [u8; WIDTH] = std::array::from_fn(|index| (value >> (7 * index)) as u8 | 0x80);
        bytes[WIDTH - 1] &= 0x7F;
        self.put(&bytes);
    }

    fn tag_and_length(&mut self, tag: u8, mut length: usize) {
        self.put(&[tag]);
        while length > 0x7F {
            self.put(&[length as u8 | 0x80]);
            length >>= 7;
        }
        self.put(&[length as u8]);
    }
}

/// Returns the bytes of a field of such a length: its tag, the length, and what it holds.
fn field_bytes(length: usize) -> usize {
    1 + (length | 1).ilog2() as usize / 7 + 1 + length
}
