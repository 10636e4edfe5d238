//! Numbers that follow from a seed, the same on every machine and in every build.

/// SplitMix64: small, and good enough to pick things with.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Numbers for one purpose of a seed: purposes don't disturb one another.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut rng = Self(seed ^ purpose.wrapping_mul(0xd1b5_4a32_d192_ed03));
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of `choices`, each as often as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut at = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            match at.checked_sub(*weight) {
                None => return *choice,
                Some(rest) => at = rest,
            }
        }
        choices[0].1
    }

    /// Between `from` and `to`, small ones as often as large ones: each doubling has the same share.
    pub(crate) fn spread(&mut self, from: u64, to: u64) -> u64 {
        let doublings = (to.max(from + 1) as f64 / from.max(1) as f64).log2();
        let at = self.below(1 << 20) as f64 / f64::from(1 << 20);
        (from.max(1) as f64 * (at * doublings).exp2()) as u64
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// What file number `file` of a run holds: any byte may occur, and no two files are alike.
pub(crate) fn content(file: u64, size: u32) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    Rng::new(file, 0x0f11e).fill(&mut bytes);
    bytes
}
