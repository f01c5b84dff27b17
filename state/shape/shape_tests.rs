#![allow(dead_code, reason = "types that are only traced")]

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, de};

use super::*;

fn shown<T: DeserializeOwned>() -> String {
    Shape::of::<T>().unwrap().to_string()
}

#[derive(Deserialize)]
struct Click {
    page: String,
    at: i64,
}

#[derive(Deserialize)]
enum Place {
    Nowhere,
    Gate(u16),
    Seat { row: u16, letter: char },
    Span(i64, Option<Direction>),
}

#[derive(Deserialize)]
enum Direction {
    Up,
    Down(u8),
    Sideways(f32),
}

#[derive(Deserialize)]
struct Metres(f64);

#[test]
fn every_kind_of_type_prints_readably() {
    assert_eq!(shown::<Click>(), "{page: str, at: i64}");
    assert_eq!(shown::<(u8, Option<Vec<bool>>, ())>(), "(u8, [bool]?, ())");
    assert_eq!(shown::<HashMap<String, Metres>>(), "{str => Metres(f64)}");
    assert_eq!(shown::<[u8; 16]>(), "[u8; 16]");
    assert_eq!(shown::<Box<str>>(), "str");
    assert_eq!(shown::<crate::Timestamp>(), "i64");
    assert_eq!(
        shown::<Place>(),
        "Nowhere | Gate(u16) | Seat{row: u16, letter: char} | Span(i64, (Up | Down(u8) | Sideways(f32))?)"
    );
    assert_eq!(shown::<Result<u8, String>>(), "Ok(u8) | Err(str)");
    assert_eq!(shown::<Option<(Place, Place)>>().matches("Sideways").count(), 2);
    assert_eq!(shown::<std::time::Duration>(), "{secs: u64, nanos: u32}");
    assert_eq!(shown::<std::net::IpAddr>(), "V4([u8; 4]) | V6([u8; 16])");
    assert_eq!(shown::<(i128, char, usize)>(), "(i128, char, u64)");
}

#[derive(Deserialize)]
struct Tree {
    name: String,
    children: Vec<Tree>,
    parent: Option<Box<Tree>>,
    by_name: BTreeMap<String, Tree>,
    size: u32,
}

#[derive(Deserialize)]
enum List {
    Cons(i64, Box<List>, bool),
    Nil,
}

#[derive(Deserialize)]
enum Term {
    Sum(Box<Pair>, u8),
    Not(Box<Term>),
    Literal(f64),
}

#[derive(Deserialize)]
struct Pair {
    left: Term,
    right: Term,
}

#[test]
fn types_inside_themselves_end() {
    assert_eq!(
        shown::<Tree>(),
        "{name: str, children: [Tree again], parent: Tree again?, by_name: {str => Tree again}, size: u32}"
    );
    assert_eq!(shown::<List>(), "Cons(i64, List again, bool) | Nil");
    assert_eq!(shown::<Term>(), "Sum({left: Term again, right: Term again}, u8) | Not(Term again) | Literal(f64)");
    assert!(shown::<Pair>().starts_with("{left: Sum(Pair again, u8) | Not(Term again) | Literal(f64), right: Sum("));
    assert_eq!(shown::<Vec<Option<List>>>(), "[(Cons(i64, List again, bool) | Nil)?]");
}

#[derive(Deserialize)]
struct Wrapped<T> {
    inner: T,
}

#[test]
fn a_generic_type_inside_another_of_its_name_is_not_itself() {
    assert_eq!(shown::<Wrapped<Wrapped<u8>>>(), "{inner: {inner: u8}}");
}

/// Reads only what is written as it expects.
struct Word<const ODD: bool>(String);

impl<'de, const ODD: bool> Deserialize<'de> for Word<ODD> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let pleases = if ODD { text == "swordfish" } else { text.parse::<std::net::Ipv4Addr>().is_ok() };
        if pleases { Ok(Word(text)) } else { Err(de::Error::custom("not a word")) }
    }
}

fn swordfish<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Word::<true>::deserialize(from).map(|word| word.0.len() as u64)
}

#[derive(Deserialize)]
struct Particular {
    count: NonZeroU32,
    address: Word<false>,
    maybe: Option<Word<true>>,
    many: Vec<Word<true>>,
    rank: Rank,
    odd: Word<true>,
    after: u8,
}

#[derive(Deserialize)]
enum Rank {
    Odd(Word<true>),
    Plain,
}

#[derive(Deserialize)]
struct WithFunction {
    before: u8,
    #[serde(deserialize_with = "swordfish")]
    odd: u64,
}

#[derive(Deserialize)]
#[serde(try_from = "Raw")]
struct Checked(u32);

#[derive(Deserialize)]
struct Raw {
    value: u32,
}

impl TryFrom<Raw> for Checked {
    type Error = String;
    fn try_from(raw: Raw) -> Result<Self, String> {
        if raw.value == 2 { Ok(Checked(2)) } else { Err(format!("{} is not two", raw.value)) }
    }
}

#[test]
fn types_that_refuse_made_up_values_are_opaque_where_they_stand() {
    let shape = shown::<Particular>();
    let word = "opaque millpond_state::shape::tests::Word<true>";
    assert_eq!(
        shape,
        format!(
            "{{count: u32, address: str, maybe: {word}?, many: [{word}], rank: Odd({word}) | Plain, odd: {word}, after: unknown}}"
        )
    );
    assert_eq!(shown::<WithFunction>(), "{before: u8, odd: opaque read by `deserialize_with`}");
    assert_eq!(shown::<(Checked, u8)>(), "({value: u32}, u8)");
    assert_eq!(shown::<Word<true>>(), word);
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Untagged {
    A(u8),
    B(String),
}

#[derive(Deserialize)]
struct Flattened {
    id: u8,
    #[serde(flatten)]
    click: Click,
}

#[test]
fn types_the_codec_cannot_decode_are_errors() {
    let error = Shape::of::<Vec<Untagged>>().unwrap_err().to_string();
    assert!(error.contains("Untagged") && error.contains("deserialize_any"), "{error}");
    assert!(Shape::of::<Flattened>().is_err());
    assert!(Shape::of::<HashMap<u8, serde_json::Value>>().is_err());
}

mod before {
    use super::*;
    #[derive(Deserialize)]
    pub(super) struct Visit {
        pub(super) page: String,
        pub(super) at: i64,
        pub(super) place: super::Place,
        pub(super) tags: Vec<(u8, Option<Metres>)>,
    }
}

fn difference<A: DeserializeOwned, B: DeserializeOwned>() -> Option<String> {
    Shape::of::<A>().unwrap().difference(&Shape::of::<B>().unwrap())
}

/// Declares a struct `Now` and says how it differs from `before::Visit`.
macro_rules! against_visit {
    ($($fields:tt)*) => {{
        #[derive(Deserialize)]
        struct Now { $($fields)* }
        difference::<before::Visit, Now>()
    }};
}

#[test]
fn a_difference_is_said_in_a_sentence() {
    type Tags = Vec<(u8, Option<Metres>)>;
    assert_eq!(against_visit!(page: String, at: i64, place: Place, tags: Tags), None, "the name of a struct is free");
    let said = |difference: Option<String>, sentence: &str| assert_eq!(difference.as_deref(), Some(sentence));
    said(against_visit!(page: String, at: u64, place: Place, tags: Tags), "field `at` was i64, is now u64");
    said(against_visit!(page: String, at: Option<i64>, place: Place, tags: Tags), "field `at` was i64, is now i64?");
    said(against_visit!(page: String, at: i64, dwell: u8, place: Place, tags: Tags), "field `dwell` is new");
    said(against_visit!(page: String, at: i64, place: Place, tags: Tags, dwell: u8), "field `dwell` is new");
    said(against_visit!(page: String, at: i64, place: Place), "field `tags` is gone");
    said(against_visit!(page: String, place: Place, tags: Tags), "field `at` is gone");
    said(against_visit!(page: String, time: i64, place: Place, tags: Tags), "field `at` is now called `time`");
    said(
        against_visit!(at: i64, page: String, place: Place, tags: Tags),
        "field `page` has another place in the order",
    );
    said(
        against_visit!(page: String, at: i64, place: Place, tags: Vec<(u8, Option<f64>)>),
        "field `tags.[].1` was Metres(f64), is now f64",
    );
    said(
        against_visit!(page: String, at: i64, place: Direction, tags: Tags),
        "variant `place.Nowhere` is now called `Up`",
    );
    said(difference::<u8, String>(), "the value was u8, is now str");
    said(difference::<Term, List>(), "variant `Sum` is now called `Cons`");
    said(difference::<HashMap<u8, u8>, HashMap<u8, i8>>(), "field `value` was u8, is now i8");
    assert_eq!(difference::<Tree, Tree>(), None);
}

#[test]
fn shapes_read_back_from_json() {
    for shape in [Shape::of::<Particular>().unwrap(), Shape::of::<Place>().unwrap(), Shape::of::<Tree>().unwrap()] {
        let json = serde_json::to_string(&shape).unwrap();
        assert_eq!(serde_json::from_str::<Shape>(&json).unwrap(), shape);
    }
    let json = serde_json::to_string(&Shape::of::<Click>().unwrap()).unwrap();
    assert_eq!(json, r#"{"struct":{"name":"Click","fields":[["page",{"plain":"str"}],["at",{"plain":"i64"}]]}}"#);
}
