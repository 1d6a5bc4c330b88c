//! Which bytes may stand where: one at a time, and sixteen at a time.

use wide::u8x16;

pub(super) use crate::model::{is_token_byte, letters_digits_and};

/// Bytes that are looked at together.
pub(super) const CHUNK: usize = 16;

/// Fewer bytes than that, at the end of as many.
#[cold]
pub(super) fn padded(rest: &[u8]) -> [u8; CHUNK] {
    let mut chunk = [0; CHUNK];
    chunk[CHUNK - rest.len()..].copy_from_slice(rest);
    chunk
}

/// Marks what is neither a letter nor a hyphen.
#[inline(always)]
pub(super) fn not_letters(bytes: u8x16) -> u8x16 {
    let from_a = (bytes | u8x16::splat(0x20)) - u8x16::splat(b'a');
    !(from_a.simd_le(u8x16::splat(b'z' - b'a')) | bytes.simd_eq(u8x16::splat(b'-')))
}

/// Marks what cannot stand in a value, and tabs, which can.
#[inline(always)]
pub(super) fn not_text(bytes: u8x16) -> u8x16 {
    bytes.simd_le(u8x16::splat(b' ' - 1)) | bytes.simd_eq(u8x16::splat(DELETE))
}

/// Marks what cannot stand in a target.
#[inline(always)]
pub(super) fn not_of_target(bytes: u8x16) -> u8x16 {
    bytes.simd_le(u8x16::splat(b' ')) | bytes.simd_eq(u8x16::splat(DELETE))
}

const DELETE: u8 = 0x7f;
