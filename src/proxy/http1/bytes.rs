//! Which bytes may stand where: one at a time, and sixteen at a time.

use wide::u8x16;

/// RFC 9110, section 5.6.2.
pub(super) fn is_token_byte(byte: u8) -> bool {
    const TOKEN_BYTES: [bool; 256] = letters_digits_and(b"!#$%&'*+-.^_`|~");
    TOKEN_BYTES[usize::from(byte)]
}

/// Which bytes are ASCII letters, digits, or one of these.
pub(super) const fn letters_digits_and(others: &[u8]) -> [bool; 256] {
    let (mut bytes, mut at) = ([false; 256], 0);
    while at < 256 {
        bytes[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    at = 0;
    while at < others.len() {
        bytes[others[at] as usize] = true;
        at += 1;
    }
    bytes
}

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
