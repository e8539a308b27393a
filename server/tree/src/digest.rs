//! Hashes that members compare: the same on every machine and in every version, unlike those of a hash table.
//!
//! Replicated state is digested as a wrapping sum of one hash for each part (node content, node stat, session), so a
//! change costs two hashes, and the order of parts does not matter. It finds divergence, not forgery.

/// Odd constants with well spread bits (the fractions of the square roots of 2 and 3).
const INITIAL: u64 = 0x6a09_e667_f3bc_c909;
const MULTIPLIER: u64 = 0xbb67_ae85_84ca_a73b;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest(u64);

impl Digest {
    /// `seed` keeps apart parts of different kinds that have equal content.
    pub fn new(seed: u64) -> Self {
        Self(INITIAL).word(seed)
    }

    #[must_use]
    pub fn word(self, word: u64) -> Self {
        let product = u128::from(self.0 ^ word ^ INITIAL) * u128::from(MULTIPLIER);
        Self(((product >> 64) as u64 ^ product as u64).wrapping_add(word.rotate_left(32)))
    }

    #[must_use]
    pub fn signed(self, word: i64) -> Self {
        self.word(word as u64)
    }

    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let digest = words
            .iter()
            .fold(self.word(bytes.len() as u64), |digest, &word| digest.word(u64::from_le_bytes(word)));
        digest.word(u64::from_le_bytes(last))
    }

    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Members of two versions compare these values while an upgrade runs.
    #[test]
    fn the_function_never_changes() {
        assert_eq!(Digest::new(1).word(2).bytes(b"twelve bytes").value(), 7_620_011_731_088_191_729);
    }

    #[test]
    fn close_inputs_differ() {
        let mut seen = BTreeSet::new();
        for seed in 0..4 {
            for len in 0..40 {
                for byte in [0u8, 1, 0xff] {
                    if len > 0 || byte == 0 {
                        assert!(seen.insert(Digest::new(seed).bytes(&vec![byte; len]).value()));
                    }
                }
            }
        }
    }
}
