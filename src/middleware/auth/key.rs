//! A secret of this process, by which it knows again what it said or saw before, and nobody else can make the like.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A secret of this process. Whoever makes one brings the random bytes: nothing down here rolls dice.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// A key of these bytes, which nobody should be able to guess.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A seal on these parts, for this purpose: who does not have the key cannot make it, nor tell from it what the parts
    /// were. (Nested as HMAC is, each part with its length before it.)
    pub fn seal(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut inner = Sha256::new();
        inner.update(self.0);
        for part in [purpose.as_bytes()].iter().chain(parts) {
            inner.update((part.len() as u64).to_be_bytes());
            inner.update(part);
        }
        let mut outer = Sha256::new();
        outer.update([0x5c; 32]);
        outer.update(self.0);
        outer.update(inner.finalize());
        outer.finalize().into()
    }
}

impl fmt::Debug for Key {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_counts() {
        let key = Key::new([1; 32]);
        let seals = [
            key.seal("a", &[b"b", b"c"]),
            key.seal("a", &[b"bc"]),
            key.seal("ab", &[b"c"]),
            key.seal("a", &[b"bc", b""]),
            Key::new([2; 32]).seal("a", &[b"bc"]),
        ];
        for (place, seal) in seals.iter().enumerate() {
            assert!(!seals[..place].contains(seal), "{place}");
        }
        assert_eq!(seals[0], key.seal("a", &[b"b", b"c"]));
    }
}
