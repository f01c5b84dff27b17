//! The shape of a type: what its encoded bytes mean.
//!
//! The codec writes neither names nor types, so bytes of another type decode to nonsense instead of failing. Therefore a plan
//! records the shape of every key, state and offset type, each manifest keeps those it was written with, and a checkpoint is only
//! loaded where they are the same. A shape is traced by letting serde build values of the type out of nothing, several times, until
//! every variant of every enum was seen. Nothing is asked of users' types beyond `Deserialize`.
//!
//! Two limits. A type that builds itself only from particular values (an identifier with a check digit) is [`Shape::Opaque`]: known by
//! name, not by what it holds, and fields that come after it in the same struct stay unknown. And what only `Serialize` decides, such as
//! `skip_serializing_if`, cannot be seen here; the codec does not support it either.

mod node;
mod trace;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a type encodes, in the order in which it does. Prints for people, serialises for manifests.
///
/// ```
/// use millpond_state::Shape;
/// #[derive(serde::Deserialize)]
/// struct Click {
///     page: String,
///     at: i64,
/// }
/// let shape = Shape::of::<Vec<Click>>().unwrap();
/// assert_eq!(shape.to_string(), "[{page: str, at: i64}]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// No bytes: `()` and structs without fields.
    Unit,
    /// A number, `bool`, `char`, `str` or `bytes`, by its name.
    Plain(Cow<'static, str>),
    /// A value or none.
    Option(Box<Shape>),
    /// Any number of values.
    Seq(Box<Shape>),
    /// Any number of pairs.
    Map(Box<Shape>, Box<Shape>),
    /// A fixed number of values: a tuple, an array or a tuple struct.
    Tuple(Vec<Shape>),
    /// One value with a name around it, which says what it means: `Metres(f64)`.
    Newtype(Cow<'static, str>, Box<Shape>),
    /// Named fields.
    Struct {
        /// Its name, which is not part of what is encoded.
        name: Cow<'static, str>,
        /// Names and shapes, in order.
        fields: Vec<(Cow<'static, str>, Shape)>,
    },
    /// One of several variants.
    Enum {
        /// Its name, which is not part of what is encoded.
        name: Cow<'static, str>,
        /// Names and shapes, in order; a variant is encoded as its number.
        variants: Vec<(Cow<'static, str>, Shape)>,
    },
    /// A type of this name that this one is part of.
    Again(Cow<'static, str>),
    /// A type that would not be built from nothing, by its Rust name.
    Opaque(Cow<'static, str>),
    /// What comes after an opaque field of a struct and could not be reached.
    Unknown,
}

/// The type cannot be kept in state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// It lets the format say what comes next, and the codec does not write that.
    #[error(
        "a value of type {of} cannot be kept in state: its `Deserialize` asks the format what comes next ({asks}), which the \
         codec does not write; avoid serde's `flatten`, `untagged`, `tag` and types like `serde_json::Value` in it"
    )]
    SelfDescribing {
        /// The Rust type.
        of: &'static str,
        /// Which method of serde's it called.
        asks: &'static str,
    },
}

impl Shape {
    /// The shape of `T`.
    ///
    /// # Errors
    /// When the codec cannot decode `T` at all.
    pub fn of<T: DeserializeOwned>() -> Result<Shape, ShapeError> {
        trace::trace::<T>()
    }

    /// A sentence about the first place in which `now` differs from this shape, the older one; `None` when bytes of the one mean the
    /// same in the other. Names of structs and enums may change, those of fields, variants and newtypes may not.
    ///
    /// ```
    /// use millpond_state::Shape;
    /// let (was, now) = (Shape::of::<(u8, i64)>().unwrap(), Shape::of::<(u8, u64)>().unwrap());
    /// assert_eq!(was.difference(&now).unwrap(), "field `1` was i64, is now u64");
    /// ```
    #[must_use]
    pub fn difference(&self, now: &Shape) -> Option<String> {
        differ(&Place::Root, self, now)
    }
}

/// The way from the outermost type to a part of it.
enum Place<'a> {
    Root,
    Part(&'a Place<'a>, &'a str),
}

impl Place<'_> {
    /// What to call the place in a sentence.
    fn named(&self, word: &str) -> String {
        match self {
            Place::Root => "the value".to_owned(),
            Place::Part(..) => format!("{word} `{self}`"),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Part(Place::Root, name) => f.write_str(name),
            Place::Part(outer, name) => write!(f, "{outer}.{name}"),
        }
    }
}

fn differ(place: &Place<'_>, was: &Shape, now: &Shape) -> Option<String> {
    match (was, now) {
        (Shape::Option(was), Shape::Option(now)) => differ(place, was, now),
        (Shape::Seq(was), Shape::Seq(now)) => differ(&Place::Part(place, "[]"), was, now),
        (Shape::Map(was_key, was), Shape::Map(now_key, now)) => differ(&Place::Part(place, "key"), was_key, now_key)
            .or_else(|| differ(&Place::Part(place, "value"), was, now)),
        (Shape::Tuple(was), Shape::Tuple(now)) if was.len() == now.len() => {
            let mut pairs = was.iter().zip(now).enumerate();
            pairs.find_map(|(n, (was, now))| differ(&Place::Part(place, &n.to_string()), was, now))
        }
        (Shape::Newtype(was_name, was), Shape::Newtype(now_name, now)) if was_name == now_name => {
            differ(place, was, now)
        }
        (Shape::Struct { fields: was, .. }, Shape::Struct { fields: now, .. }) => {
            differ_named("field", place, was, now)
        }
        (Shape::Enum { variants: was, .. }, Shape::Enum { variants: now, .. }) => {
            differ_named("variant", place, was, now)
        }
        (Shape::Again(_), Shape::Again(_)) => None,
        _ if was == now => None,
        _ => Some(format!("{} was {was}, is now {now}", place.named("field"))),
    }
}

type Named = (Cow<'static, str>, Shape);

fn differ_named(word: &str, place: &Place<'_>, was: &[Named], now: &[Named]) -> Option<String> {
    let has = |all: &[Named], name: &str| all.iter().any(|(of, _)| of == name);
    let named = |name: &str| Place::Part(place, name).named(word);
    for at in 0..was.len().max(now.len()) {
        let sentence = match (was.get(at), now.get(at)) {
            (Some((name, was)), Some((now_name, now))) if name == now_name => {
                match differ(&Place::Part(place, name), was, now) {
                    None => continue,
                    Some(sentence) => sentence,
                }
            }
            (Some((old, _)), Some((new, _))) if !has(now, old) && !has(was, new) => {
                format!("{} is now called `{new}`", named(old))
            }
            (Some((old, _)), _) if !has(now, old) => format!("{} is gone", named(old)),
            (_, Some((new, _))) if !has(was, new) => format!("{} is new", named(new)),
            (Some((old, _)), _) => format!("{} has another place in the order", named(old)),
            (None, Some((new, _))) => format!("{} is there twice", named(new)),
            (None, None) => continue,
        };
        return Some(sentence);
    }
    None
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Unit => f.write_str("()"),
            Shape::Plain(name) => f.write_str(name),
            Shape::Option(of) if matches!(**of, Shape::Enum { .. }) => write!(f, "({of})?"),
            Shape::Option(of) => write!(f, "{of}?"),
            Shape::Seq(of) => write!(f, "[{of}]"),
            Shape::Map(key, value) => write!(f, "{{{key} => {value}}}"),
            Shape::Tuple(parts) => match &parts[..] {
                [first, rest @ ..] if parts.len() > 3 && rest.iter().all(|part| part == first) => {
                    write!(f, "[{first}; {}]", parts.len())
                }
                _ => list(f, "(", parts, |f, part| write!(f, "{part}"), ")"),
            },
            Shape::Newtype(name, of) => write!(f, "{name}({of})"),
            Shape::Struct { fields, .. } => list(f, "{", fields, |f, (name, of)| write!(f, "{name}: {of}"), "}"),
            Shape::Enum { variants, .. } => {
                for (n, (name, of)) in variants.iter().enumerate() {
                    f.write_str(if n == 0 { "" } else { " | " })?;
                    match of.to_string() {
                        nothing if nothing == "()" => f.write_str(name)?,
                        parts if parts.starts_with(['(', '{']) => write!(f, "{name}{parts}")?,
                        of => write!(f, "{name}({of})")?,
                    }
                }
                Ok(())
            }
            Shape::Again(name) => write!(f, "{name} again"),
            Shape::Opaque(name) => write!(f, "opaque {name}"),
            Shape::Unknown => f.write_str("unknown"),
        }
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    parts: &[T],
    each: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
    close: &str,
) -> fmt::Result {
    f.write_str(open)?;
    for (n, part) in parts.iter().enumerate() {
        f.write_str(if n == 0 { "" } else { ", " })?;
        each(f, part)?;
    }
    f.write_str(close)
}

#[cfg(test)]
#[path = "shape/shape_tests.rs"]
mod tests;
