//! Randomness of tests, which a failed one can be repeated with.

/// Numbers that look random and are the same for the same seed (Steele, Lea, Flood: SplitMix64).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    /// Other numbers in every run; the seed is printed.
    pub(crate) fn new() -> Seeded {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = clock.as_nanos() as u64 ^ u64::from(std::process::id());
        println!("seed {seed}");
        Seeded(seed)
    }

    /// The next number, less than `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
