//! Keys of records: their bytes, and the partition they choose.

/// What can be the key of a record outside: plain bytes, text as UTF-8 without quotes, integers as decimal text. `None` is no key.
///
/// ```
/// use millpond_connectors::WireKey;
/// let bytes = |key: &dyn WireKey| { let mut out = Vec::new(); key.put(&mut out).then_some(out) };
/// assert_eq!(bytes(&"LGA".to_owned()), Some(b"LGA".to_vec()));
/// assert_eq!(bytes(&-7), Some(b"-7".to_vec()));
/// assert_eq!(bytes(&None::<u8>), None);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no bytes of its own as a record's key",
    note = "a key is a `String`, `&str`, `Vec<u8>`, an integer, or an `Option` of one of them; make one, for example with `format!`"
)]
pub trait WireKey {
    /// Appends the key's bytes and says whether there is a key.
    fn put(&self, out: &mut Vec<u8>) -> bool;
}

macro_rules! plain {
    ($bytes:ident: $($of:ty),*) => {$(
        impl WireKey for $of {
            #[inline]
            fn put(&self, out: &mut Vec<u8>) -> bool {
                out.extend_from_slice(self.$bytes());
                true
            }
        }
    )*};
}
plain!(as_bytes: String, &str, Box<str>, std::rc::Rc<str>, std::sync::Arc<str>);
plain!(as_ref: Vec<u8>, &[u8]);

macro_rules! decimal {
    ($($of:ty),*) => {$(
        impl WireKey for $of {
            fn put(&self, out: &mut Vec<u8>) -> bool {
                use std::io::Write;
                write!(out, "{self}").expect("a vector takes everything");
                true
            }
        }
    )*};
}
decimal!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl<K: WireKey> WireKey for Option<K> {
    fn put(&self, out: &mut Vec<u8>) -> bool {
        self.as_ref().is_some_and(|key| key.put(out))
    }
}

/// The partition for these bytes: murmur2, as Kafka's Java client chooses it, so that keys lie where other programs put them.
///
/// ```
/// assert_eq!(millpond_connectors::partition_of(b"foobar", 3), 1_357_151_166 % 3);
/// ```
///
/// # Panics
/// When there are no partitions.
#[inline]
#[must_use]
pub fn partition_of(bytes: &[u8], partitions: u32) -> u32 {
    (murmur2(bytes) & 0x7fff_ffff) % partitions
}

#[inline]
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    // Kafka's length is an i32; its arithmetic wraps as this does.
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_own_test() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), i32::cast_unsigned(hash), "{text}");
        }
    }

    #[test]
    fn every_partition_is_chosen_and_no_other() {
        let mut counts = [0; 5];
        for number in 0..5_000_u32 {
            counts[partition_of(&number.to_le_bytes(), 5) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
        assert_eq!(partition_of(b"", 1), 0);
    }

    #[test]
    fn keys_are_plain() {
        let bytes = |key: &dyn WireKey| {
            let mut out = b">".to_vec();
            (key.put(&mut out), out)
        };
        assert_eq!(bytes(&"a \"b\""), (true, b">a \"b\"".to_vec()));
        assert_eq!(bytes(&vec![0_u8, 255]), (true, b">\x00\xff".to_vec()));
        assert_eq!(bytes(&u64::MAX), (true, b">18446744073709551615".to_vec()));
        assert_eq!(bytes(&Some(String::new())), (true, b">".to_vec()));
        assert_eq!(bytes(&None::<String>), (false, b">".to_vec()));
    }
}
