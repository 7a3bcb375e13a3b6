//! Protocol buffers' wire format, as far as the hot path needs it (`prost` does the rest).

use prost::encoding::{WireType, decode_varint, encode_varint, encoded_len_varint};

/// The key of a varint field below 16.
pub(crate) const fn varint(field: u8) -> u8 {
    field << 3 | WireType::Varint as u8
}

/// The key of a 64-bit field below 16.
pub(crate) const fn fixed64(field: u8) -> u8 {
    field << 3 | WireType::SixtyFourBit as u8
}

/// The key of a 32-bit field below 16.
pub(crate) const fn fixed32(field: u8) -> u8 {
    field << 3 | WireType::ThirtyTwoBit as u8
}

/// The key of a length-delimited field below 16.
pub(crate) const fn length_delimited(field: u8) -> u8 {
    field << 3 | WireType::LengthDelimited as u8
}

/// The length of a length-delimited field with a key of one byte.
pub(crate) fn field_len(content: usize) -> usize {
    1 + varint_len(content) + content
}

pub(crate) fn varint_len(value: usize) -> usize {
    encoded_len_varint(value as u64)
}

pub(crate) fn put_varint(buffer: &mut Vec<u8>, value: u64) {
    match u8::try_from(value) {
        Ok(byte) if byte < 0x80 => buffer.push(byte),
        _ => encode_varint(value, buffer),
    }
}

/// The key and the length of a length-delimited field.
pub(crate) fn put_head(buffer: &mut Vec<u8>, key: u8, content: usize) {
    match u8::try_from(content) {
        Ok(length) if length < 0x80 => buffer.extend_from_slice(&[key, length]),
        _ => {
            buffer.push(key);
            encode_varint(content as u64, buffer);
        }
    }
}

pub(crate) fn put_bytes(buffer: &mut Vec<u8>, key: u8, content: &[u8]) {
    put_head(buffer, key, content.len());
    buffer.extend_from_slice(content);
}

/// The length of the length-delimited field that the bytes start with, its key of one byte included.
pub(crate) fn field_at(bytes: &[u8]) -> Option<usize> {
    let (_key, mut rest) = bytes.split_first()?;
    let content = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
    let length = (bytes.len() - rest.len()).checked_add(content)?;
    (length <= bytes.len()).then_some(length)
}
