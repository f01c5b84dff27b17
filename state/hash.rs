//! The stable hash of a key: which key group it belongs to, for ever.
//!
//! It is defined over what serde sees of a key, not over encoded bytes: each primitive is folded in at 64 bits, a text by its
//! length and its bytes in little-endian words, and what tells values of one type apart (a variant, `None`, the length of a
//! sequence) is folded in as well. That is as stable as hashing an encoding, on every machine and in every release (the fixtures
//! in the tests say which value each type must have), and needs no buffer: encoding a `String` first costs four times the hash.
//!
//! - Integers count by value: `5u8`, `5u32` and `5i64` hash alike, `usize` as `u64`, `isize` as `i64`.
//! - Floats count by their bits: `0.0` and `-0.0` are two keys, as are two different NaNs.
//! - Structs count by their fields in order, names do not matter; enums by the number of the variant; a newtype is what it wraps.
//! - A map counts in the order in which it is iterated: a `HashMap` inside a key has no stable hash.
//! - The hash has no secret: who chooses keys can choose keys that collide. It is for keys that are not hostile.
//!
//! Bits 42 and 43 are always zero, state tables keep their marks there. All others are good on their own: the low ones (buckets
//! of a table), 32 to 41 (key group), the top seven (tags of a table).

use std::fmt;

use serde::Serialize;
use serde::ser::{self, Serializer};

/// The two bits no hash has, free for marks of a table's rows.
pub(crate) const SPARE_BITS: u64 = 0b11 << 42;

// Digits of pi (some made odd), as good as any; they are part of the format.
const SEED: u64 = 0xd131_0ba6_98df_b5ac;
const STEP: u64 = 0x243f_6a88_85a3_08d3;
const LAST: u64 = 0x1319_8a2e_0370_7345;
const FINAL: u64 = 0xa409_3822_299f_31d1;
const LENGTH: u64 = 0x082e_fa98_ec4e_6c89;
const NONE: u64 = 0x4528_21e6_38d0_1377;
const SOME: u64 = 0xbe54_66cf_34e9_0c6c;
const UNIT: u64 = 0xc0ac_29b7_c97c_50dd;
const VARIANT: u64 = 0x3f84_d5b5_b547_0917;
const SKIPPED: u64 = 0x9216_d5d9_8979_fb1b;

/// The stable hash of a key.
///
/// # Panics
/// When the key's own `Serialize` returns an error: such a key belongs nowhere.
///
/// ```
/// use millpond_state::{KeyGroup, stable_hash};
/// let hash = stable_hash("LGA");
/// assert_eq!(hash, stable_hash(&String::from("LGA")));
/// assert_ne!(stable_hash(&("a", "bc")), stable_hash(&("ab", "c")));
/// assert!(KeyGroup::of(hash).index() < KeyGroup::COUNT);
/// ```
#[inline]
#[must_use]
pub fn stable_hash<K: Serialize + ?Sized>(key: &K) -> u64 {
    let mut folding = Folding(SEED);
    if let Err(refused) = key.serialize(&mut folding) {
        refuse::<K>(&refused);
    }
    mix(folding.0 ^ LAST, FINAL) & !SPARE_BITS
}

#[cold]
fn refuse<K: ?Sized>(refused: &Refused) -> ! {
    panic!("a key of type {} cannot be hashed: {refused}", std::any::type_name::<K>())
}

#[inline]
const fn mix(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

struct Folding(u64);

impl Folding {
    #[inline]
    fn fold(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word, STEP);
    }

    // Words overlap at the end rather than being padded, so that short texts need no loop and no copy; the length keeps apart
    // what would overlap alike.
    #[inline]
    fn fold_bytes(&mut self, bytes: &[u8]) {
        let len = bytes.len();
        let mut h = self.0 ^ (len as u64).wrapping_mul(LENGTH);
        let (first, last) = match len {
            0 => (0, 0),
            1..4 => (u64::from(bytes[0]) | u64::from(bytes[len / 2]) << 8, u64::from(bytes[len - 1])),
            4..8 => (half(bytes, 0), half(bytes, len - 4)),
            8..=16 => (word(bytes, 0), word(bytes, len - 8)),
            _ => {
                let mut rest = bytes;
                while rest.len() > 16 {
                    h = mix(h ^ word(rest, 0), word(rest, 8) ^ STEP);
                    rest = &rest[16..];
                }
                (word(bytes, len - 16), word(bytes, len - 8))
            }
        };
        self.0 = mix(h ^ first, last ^ STEP);
    }
}

#[inline]
fn half(bytes: &[u8], at: usize) -> u64 {
    let bytes: [u8; 4] = bytes[at..at + 4].try_into().expect("the slice is four bytes long");
    u64::from(u32::from_le_bytes(bytes))
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let bytes: [u8; 8] = bytes[at..at + 8].try_into().expect("the slice is eight bytes long");
    u64::from_le_bytes(bytes)
}

/// What a key's own `Serialize` said.
#[derive(Debug)]
struct Refused(Box<str>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Refused {}
impl ser::Error for Refused {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Refused(text.to_string().into())
    }
}

type Folded = Result<(), Refused>;

macro_rules! integers {
    ($($method:ident: $type:ty),*) => {$(
        #[inline]
        fn $method(self, v: $type) -> Folded {
            self.fold(v as u64);
            Ok(())
        }
    )*};
}

impl<'a> Serializer for &'a mut Folding {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Counted<'a>;
    type SerializeTuple = Fields<'a>;
    type SerializeTupleStruct = Fields<'a>;
    type SerializeTupleVariant = Fields<'a>;
    type SerializeMap = Counted<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Fields<'a>;

    // As for the codec, so that types which have two forms are hashed in the one in which they are kept.
    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    integers!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_char: char);

    #[inline]
    fn serialize_i128(self, v: i128) -> Folded {
        self.serialize_u128(v as u128)
    }
    #[inline]
    fn serialize_u128(self, v: u128) -> Folded {
        self.fold(v as u64);
        self.fold((v >> 64) as u64);
        Ok(())
    }
    #[inline]
    fn serialize_f32(self, v: f32) -> Folded {
        self.fold(u64::from(v.to_bits()));
        Ok(())
    }
    #[inline]
    fn serialize_f64(self, v: f64) -> Folded {
        self.fold(v.to_bits());
        Ok(())
    }
    #[inline]
    fn serialize_str(self, v: &str) -> Folded {
        self.fold_bytes(v.as_bytes());
        Ok(())
    }
    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Folded {
        self.fold_bytes(v);
        Ok(())
    }
    #[inline]
    fn serialize_none(self) -> Folded {
        self.fold(NONE);
        Ok(())
    }
    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Folded {
        self.fold(SOME);
        value.serialize(self)
    }
    #[inline]
    fn serialize_unit(self) -> Folded {
        self.fold(UNIT);
        Ok(())
    }
    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Folded {
        self.serialize_unit()
    }
    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Folded {
        self.fold(VARIANT ^ u64::from(index));
        Ok(())
    }
    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Folded {
        value.serialize(self)
    }
    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Folded {
        self.fold(VARIANT ^ u64::from(index));
        value.serialize(self)
    }
    #[inline]
    fn serialize_seq(self, _: Option<usize>) -> Result<Counted<'a>, Refused> {
        Ok(Counted { folding: self, count: 0 })
    }
    #[inline]
    fn serialize_map(self, _: Option<usize>) -> Result<Counted<'a>, Refused> {
        Ok(Counted { folding: self, count: 0 })
    }
    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Fields<'a>, Refused> {
        Ok(Fields(self))
    }
    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Refused> {
        Ok(Fields(self))
    }
    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Fields<'a>, Refused> {
        self.fold(VARIANT ^ u64::from(index));
        Ok(Fields(self))
    }
    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Refused> {
        Ok(Fields(self))
    }
    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Fields<'a>, Refused> {
        self.fold(VARIANT ^ u64::from(index));
        Ok(Fields(self))
    }
}

/// A sequence or map: its length is folded in when it ends, since not all know it before.
struct Counted<'a> {
    folding: &'a mut Folding,
    count: u64,
}

impl Counted<'_> {
    #[inline]
    fn close(self) -> Folded {
        self.folding.fold(self.count ^ LENGTH);
        Ok(())
    }
}

impl ser::SerializeSeq for Counted<'_> {
    type Ok = ();
    type Error = Refused;
    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Folded {
        self.count += 1;
        value.serialize(&mut *self.folding)
    }
    #[inline]
    fn end(self) -> Folded {
        self.close()
    }
}

impl ser::SerializeMap for Counted<'_> {
    type Ok = ();
    type Error = Refused;
    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Folded {
        self.count += 1;
        key.serialize(&mut *self.folding)
    }
    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Folded {
        value.serialize(&mut *self.folding)
    }
    #[inline]
    fn end(self) -> Folded {
        self.close()
    }
}

/// A tuple or struct: its type says how many fields there are.
struct Fields<'a>(&'a mut Folding);

macro_rules! fields {
    ($($trait:ident: $method:ident $(, $key:ty)?);*) => {$(
        impl ser::$trait for Fields<'_> {
            type Ok = ();
            type Error = Refused;
            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Folded {
                value.serialize(&mut *self.0)
            }
            #[inline]
            fn end(self) -> Folded {
                Ok(())
            }
            $(
                #[inline]
                fn skip_field(&mut self, _: $key) -> Folded {
                    self.0.fold(SKIPPED);
                    Ok(())
                }
            )?
        }
    )*};
}

fields!(SerializeTuple: serialize_element; SerializeTupleStruct: serialize_field; SerializeTupleVariant: serialize_field;
    SerializeStruct: serialize_field, &'static str; SerializeStructVariant: serialize_field, &'static str);

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;
