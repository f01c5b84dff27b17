//! Traces a type: gives its `Deserialize` made-up values and notes what it asks for.
//!
//! One pass builds one value, and takes one variant of each enum; passes follow one another until no variant is left. Where a value
//! cannot be had, something is learned (other made-up values for this type, no element here, not this variant now) and the pass is
//! given up and begun again. A type met inside itself is noted as such, and a small value of it is made without noting anything:
//! no options, empty sequences, a variant that is known to end.

use std::collections::BTreeMap;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::node::{Kind, Node, Variant};
use super::{Shape, ShapeError};

/// Enough for every variant of large enums many times over; a type that needs more stays partly unknown.
const PASSES: usize = 10_000;
/// How deep types that recur without a name may nest.
const DEPTH: usize = 60;

const TEXTS: [&str; 16] = [
    "",
    "0",
    "a",
    "2000-01-01T00:00:00Z",
    "2000-01-01",
    "2000-01-01T00:00:00",
    "00:00:00",
    "2000-01-01 00:00:00",
    "00000000-0000-0000-0000-000000000000",
    "127.0.0.1",
    "127.0.0.1:1",
    "::1",
    "http://localhost/",
    "1.0.0",
    "UTC",
    "#000000",
];
/// Lengths of byte strings: none, and those of addresses, identifiers and digests.
const LENGTHS: [usize; 6] = [0, 1, 4, 8, 16, 32];

pub(super) fn trace<T: DeserializeOwned>() -> Result<Shape, ShapeError> {
    let mut root = Node::default();
    let mut learned = Learned::default();
    let of = std::any::type_name::<T>();
    for _ in 0..PASSES {
        learned.stack.clear();
        match place(&mut root, &mut learned, of, |tracer| T::deserialize(tracer)) {
            Err(Stop::SelfDescribing(asks)) => return Err(ShapeError::SelfDescribing { of, asks }),
            Err(Stop::Again) => {}
            _ if root.is_open(learned.endings.len()) => {}
            _ => break,
        }
    }
    Ok(root.into_shape())
}

/// Why a pass was given up.
#[derive(Debug)]
enum Stop {
    /// What a visitor said of the value it was given.
    Refused,
    /// Something was learned: the next pass gets further.
    Again,
    /// No value of this type can be had here.
    NoValue,
    /// The type asks the format what comes next.
    SelfDescribing(&'static str),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no value")
    }
}
impl std::error::Error for Stop {}
impl de::Error for Stop {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Stop::Refused
    }
}

/// What earlier passes found out, and where this one is.
#[derive(Default)]
struct Learned {
    /// For each enum type a variant that ends.
    endings: BTreeMap<&'static str, u32>,
    /// For each type how many made-up values it refused.
    refusals: BTreeMap<&'static str, usize>,
    /// Named types the pass is inside of.
    stack: Vec<&'static str>,
    depth: usize,
    /// Which of the made-up values to give.
    choice: usize,
    /// Inside a type met inside itself.
    small: bool,
}

/// Traces a part whose type is known by name. A refusal is about this type: the next pass gives it other values, as long as there are.
fn place<'a, T>(
    node: &'a mut Node,
    learned: &'a mut Learned,
    of: &'static str,
    run: impl FnOnce(Tracer<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    if learned.depth == DEPTH {
        node.kind = Kind::Opaque(of);
        return Err(Stop::NoValue);
    }
    let outer = learned.choice;
    learned.choice += learned.refusals.get(of).copied().unwrap_or(0);
    learned.depth += 1;
    let result = run(Tracer { node, learned });
    learned.depth -= 1;
    learned.choice = outer;
    let Err(Stop::Refused) = result else { return result };
    let refusals = learned.refusals.entry(of).or_default();
    *refusals += 1;
    if *refusals < TEXTS.len() {
        return Err(Stop::Again);
    }
    // What is made of several parts is known by them, even where they do not please.
    if matches!(node.kind, Kind::Plain(_) | Kind::Unseen) {
        node.kind = Kind::Opaque(of);
    }
    Err(Stop::NoValue)
}

struct Tracer<'a> {
    node: &'a mut Node,
    learned: &'a mut Learned,
}

impl Tracer<'_> {
    /// Traces a type that has a name, unless it is inside itself.
    fn named<T>(
        self,
        of: &'static str,
        name: &'static str,
        run: impl FnOnce(Tracer<'_>) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let Tracer { node, learned } = self;
        let small = learned.small;
        let result = if small || learned.stack.contains(&of) {
            if !small {
                node.kind = Kind::Again(name);
            }
            learned.small = true;
            run(Tracer { node: &mut Node::default(), learned })
        } else {
            learned.stack.push(of);
            let result = run(Tracer { node, learned });
            learned.stack.pop();
            result
        };
        learned.small = small;
        result
    }

    /// Traces what may be left out; `with` says whether it is put in.
    fn optional<T>(self, run: impl FnOnce(Tracer<'_>, bool) -> Result<T, Stop>) -> Result<T, Stop> {
        let Tracer { node, learned } = self;
        let known = learned.endings.len();
        let with = !learned.small && node.avoided != Some(known);
        match run(Tracer { node, learned }, with) {
            Err(Stop::NoValue) if with => {
                node.avoided = Some(known);
                Err(Stop::Again)
            }
            result => result,
        }
    }
}

macro_rules! plain {
    ($($method:ident: $name:literal, $visit:ident, $values:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            self.node.kind = Kind::Plain($name);
            let values = $values;
            visitor.$visit(values[self.learned.choice % values.len()])
        }
    )*};
}

macro_rules! self_describing {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            Err(Stop::SelfDescribing(stringify!($method)))
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    fn is_human_readable(&self) -> bool {
        false
    }

    self_describing!(deserialize_any deserialize_identifier deserialize_ignored_any);

    plain! {
        deserialize_bool: "bool", visit_bool, [false, true];
        deserialize_i8: "i8", visit_i8, [0, 1, 2, 100];
        deserialize_i16: "i16", visit_i16, [0, 1, 2, 100];
        deserialize_i32: "i32", visit_i32, [0, 1, 2, 100];
        deserialize_i64: "i64", visit_i64, [0, 1, 2, 100];
        deserialize_i128: "i128", visit_i128, [0, 1, 2, 100];
        deserialize_u8: "u8", visit_u8, [0, 1, 2, 100];
        deserialize_u16: "u16", visit_u16, [0, 1, 2, 100];
        deserialize_u32: "u32", visit_u32, [0, 1, 2, 100];
        deserialize_u64: "u64", visit_u64, [0, 1, 2, 100];
        deserialize_u128: "u128", visit_u128, [0, 1, 2, 100];
        deserialize_f32: "f32", visit_f32, [0.0, 1.0, 0.5, 100.0];
        deserialize_f64: "f64", visit_f64, [0.0, 1.0, 0.5, 100.0];
        deserialize_char: "char", visit_char, ['a', '0', ' '];
        deserialize_str: "str", visit_str, TEXTS;
        deserialize_string: "str", visit_str, TEXTS;
        deserialize_bytes: "bytes", visit_bytes, LENGTHS.map(|len| &[0; 32][..len]);
        deserialize_byte_buf: "bytes", visit_bytes, LENGTHS.map(|len| &[0; 32][..len]);
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.node.kind = Kind::Unit;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.optional(|Tracer { node, learned }, with| {
            let of = node.option();
            if !with {
                return visitor.visit_none();
            }
            place(of, learned, std::any::type_name::<V::Value>(), |tracer| visitor.visit_some(tracer))
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Stop> {
        let of = std::any::type_name::<V::Value>();
        self.named(of, name, |Tracer { node, learned }| {
            place(node.newtype(name), learned, of, |tracer| visitor.visit_newtype_struct(tracer))
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.optional(|Tracer { node, learned }, with| {
            let parts = std::slice::from_mut(node.seq());
            visitor.visit_seq(Parts { parts: if with { parts } else { &mut [] }, learned })
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.optional(|Tracer { node, learned }, with| {
            let parts = node.map();
            visitor.visit_map(Parts { parts: if with { parts } else { &mut [] }, learned })
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_seq(Parts { parts: self.node.tuple(len), learned: self.learned })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.named(std::any::type_name::<V::Value>(), name, |tracer| tracer.deserialize_tuple(len, visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.named(std::any::type_name::<V::Value>(), name, |Tracer { node, learned }| {
            visitor.visit_seq(Parts { parts: node.fields(name, fields), learned })
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let of = std::any::type_name::<V::Value>();
        self.named(of, name, |Tracer { node, learned }| {
            let known = learned.endings.len();
            let variants = node.variants(name, variants);
            let ending = learned.endings.get(of).copied();
            let open = || variants.iter().position(|variant| variant.is_open(known)).map(|open| open as u32);
            let Some(index) = (if learned.small { ending } else { open().or(ending) }) else {
                return Err(Stop::NoValue);
            };
            let Some(variant) = variants.get_mut(index as usize) else { return Err(Stop::NoValue) };
            match visitor.visit_enum(Chosen { index, variant, learned: &mut *learned }) {
                Err(Stop::NoValue) if !learned.small => {
                    variant.failed = Some(known);
                    Err(Stop::Again)
                }
                Ok(value) => {
                    variant.built = true;
                    learned.endings.entry(of).or_insert(index);
                    Ok(value)
                }
                result => result,
            }
        })
    }
}

/// Parts one after the other: of a tuple or struct, the element of a sequence, or key and value of a map.
struct Parts<'a> {
    parts: &'a mut [Node],
    learned: &'a mut Learned,
}

impl Parts<'_> {
    fn next<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        let Some((first, rest)) = std::mem::take(&mut self.parts).split_first_mut() else { return Ok(None) };
        self.parts = rest;
        place(first, self.learned, std::any::type_name::<T::Value>(), |tracer| seed.deserialize(tracer)).map(Some)
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_> {
    type Error = Stop;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        self.next(seed)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.parts.len())
    }
}

impl<'de> de::MapAccess<'de> for Parts<'_> {
    type Error = Stop;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        self.next(seed)
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        self.next(seed)?.ok_or(Stop::NoValue)
    }
}

/// The variant this pass takes.
struct Chosen<'a> {
    index: u32,
    variant: &'a mut Variant,
    learned: &'a mut Learned,
}

impl<'de> de::EnumAccess<'de> for Chosen<'_> {
    type Error = Stop;
    type Variant = Self;
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Stop> {
        let variant: de::value::U32Deserializer<Stop> = self.index.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Chosen<'_> {
    type Error = Stop;
    fn unit_variant(self) -> Result<(), Stop> {
        self.variant.node.kind = Kind::Unit;
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        let of = std::any::type_name::<T::Value>();
        place(&mut self.variant.node, self.learned, of, |tracer| seed.deserialize(tracer))
    }
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_seq(Parts { parts: self.variant.node.tuple(len), learned: self.learned })
    }
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_seq(Parts { parts: self.variant.node.fields("", fields), learned: self.learned })
    }
}
