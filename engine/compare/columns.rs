//! In which columns two values differ, with tolerances.
//!
//! A JSON object has a column for each field, nested ones as `outer.inner`, elements of arrays as `list.0`. Anything else is one column,
//! `value`.

use std::collections::BTreeMap;

use serde_json::Value;

/// The column of values that have none.
const WHOLE: &str = "value";

/// How far numbers may lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// By this much.
    Absolute(f64),
    /// By this share of the greater one.
    Relative(f64),
}

impl Tolerance {
    fn holds(self, left: f64, right: f64) -> bool {
        let apart = (left - right).abs();
        match self {
            Tolerance::Absolute(most) => apart <= most,
            Tolerance::Relative(share) => apart <= share * left.abs().max(right.abs()),
        }
    }
}

/// Tolerances by column; `*` is every other one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tolerances(BTreeMap<String, Tolerance>);

impl Tolerances {
    /// Adds one in the words of the command line: `total=0.01`, `share=1%`, `*=0.5`.
    ///
    /// # Errors
    /// A sentence for the reader.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let refused = || format!("{text:?} is not a column and how far it may be off, like total=0.01 or share=1%");
        let (column, most) = text.rsplit_once('=').filter(|(column, _)| !column.is_empty()).ok_or_else(refused)?;
        let (number, relative) = most.strip_suffix('%').map_or((most, false), |number| (number, true));
        let number: f64 = number.trim().parse().map_err(|_| refused())?;
        if !number.is_finite() || number < 0.0 {
            return Err(refused());
        }
        let tolerance = if relative { Tolerance::Relative(number / 100.0) } else { Tolerance::Absolute(number) };
        self.0.insert(column.to_owned(), tolerance);
        Ok(())
    }

    fn holds(&self, column: &str, left: Option<&Value>, right: Option<&Value>) -> bool {
        let tolerance = self.0.get(column).or_else(|| self.0.get("*"));
        let number = |value: Option<&Value>| value.and_then(Value::as_f64);
        match (tolerance, number(left), number(right)) {
            (Some(tolerance), Some(left), Some(right)) => tolerance.holds(left, right),
            _ => false,
        }
    }
}

/// Rows that are looked into for columns besides those that differ.
const LOOKED_INTO: usize = 1_000;

/// Columns that have a tolerance and have not been seen: mistyped, maybe.
pub(super) struct Unseen {
    columns: Vec<String>,
    looked: usize,
}

impl Unseen {
    pub(super) fn new(tolerances: &Tolerances) -> Self {
        Unseen { columns: tolerances.0.keys().filter(|column| *column != "*").cloned().collect(), looked: 0 }
    }

    /// Looks into a row, while there have been few; into one that `differs` in any case.
    pub(super) fn look(&mut self, value: Option<&[u8]>, differs: bool) {
        if self.columns.is_empty() || (self.looked == LOOKED_INTO && !differs) {
            return;
        }
        self.looked = LOOKED_INTO.min(self.looked + 1);
        let parsed = value.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
        each(&mut String::new(), parsed.as_ref().unwrap_or(&Value::Null), &mut |column| {
            self.columns.retain(|unseen| unseen != column);
        });
    }

    pub(super) fn columns(self) -> Vec<String> {
        self.columns
    }
}

/// Every column of a value.
fn each(path: &mut String, value: &Value, take: &mut dyn FnMut(&str)) {
    let mut below = |path: &mut String, name: &str, value: &Value| {
        let len = path.len();
        step(path, name);
        each(path, value, take);
        path.truncate(len);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| below(path, name, value)),
        Value::Array(items) => (0..).zip(items).for_each(|(n, value): (usize, _)| below(path, &n.to_string(), value)),
        _ => take(column(path)),
    }
}

fn step(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn column(path: &str) -> &str {
    if path.is_empty() { WHOLE } else { path }
}

/// The columns in which two values differ by more than they may; empty when they are equal enough.
pub(super) fn differing(left: Option<&[u8]>, right: Option<&[u8]>, tolerances: &Tolerances) -> Vec<String> {
    if left == right {
        return Vec::new();
    }
    let parsed = |bytes: Option<&[u8]>| serde_json::from_slice::<Value>(bytes?).ok();
    let (Some(left), Some(right)) = (parsed(left), parsed(right)) else { return vec![WHOLE.to_owned()] };
    let mut found = Vec::new();
    walk(&mut String::new(), Some(&left), Some(&right), tolerances, &mut found);
    found
}

fn walk(
    path: &mut String,
    left: Option<&Value>,
    right: Option<&Value>,
    tolerances: &Tolerances,
    found: &mut Vec<String>,
) {
    if left == right {
        return;
    }
    let below =
        |path: &mut String, name: &str, left: Option<&Value>, right: Option<&Value>, found: &mut Vec<String>| {
            let len = path.len();
            step(path, name);
            walk(path, left, right, tolerances, found);
            path.truncate(len);
        };
    match (left, right) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for name in names {
                below(path, name, left.get(name), right.get(name), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            for index in 0..left.len().max(right.len()) {
                below(path, &index.to_string(), left.get(index), right.get(index), found);
            }
        }
        _ => {
            let column = column(path);
            if !tolerances.holds(column, left, right) {
                found.push(column.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(left: &str, right: &str, tolerances: &[&str]) -> Vec<String> {
        let mut known = Tolerances::default();
        tolerances.iter().for_each(|text| known.add(text).unwrap());
        differing(Some(left.as_bytes()), Some(right.as_bytes()), &known)
    }

    #[test]
    fn columns_are_fields_by_path() {
        assert_eq!(columns(r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"b":{"d":4,"c":2},"a":1,"e":null}"#, &[]), ["b.d", "e"]);
        assert_eq!(columns(r#"{"value":[1,2]}"#, r#"{"value":[1,3,4]}"#, &[]), ["value.1", "value.2"]);
        assert_eq!(columns(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, &[]), Vec::<String>::new(), "order is nothing");
        assert_eq!(columns("7", "8", &[]), ["value"]);
        assert_eq!(columns("not json", "8", &[]), ["value"]);
    }

    #[test]
    fn a_column_that_no_row_has_is_told() {
        let unseen = |tolerances: &[&str], rows: &[&str]| {
            let mut known = Tolerances::default();
            tolerances.iter().for_each(|text| known.add(text).unwrap());
            let mut unseen = Unseen::new(&known);
            rows.iter().for_each(|row| unseen.look(Some(row.as_bytes()), false));
            unseen.columns()
        };
        let tolerances = ["a=1", "b.0=1", "b=1", "value=1", "*=1"];
        assert_eq!(unseen(&tolerances, &[r#"{"a":1}"#, r#"{"b":[2]}"#]), ["b", "value"]);
        assert_eq!(unseen(&["value=1"], &["7"]), [""; 0]);
        let many = vec![r#"{"a":1}"#; LOOKED_INTO];
        let mut last = Unseen::new(&{
            let mut known = Tolerances::default();
            known.add("c=1").unwrap();
            known
        });
        many.iter().for_each(|row| last.look(Some(row.as_bytes()), false));
        last.look(Some(br#"{"c":1}"#), false);
        assert_eq!(last.columns, ["c"], "not every row is looked into");
        last.look(Some(br#"{"c":1}"#), true);
        assert_eq!(last.columns, [""; 0], "and every one that differs is");
    }

    #[test]
    fn numbers_may_be_off_by_a_little_where_that_is_said() {
        assert_eq!(columns(r#"{"a":1.0,"b":5}"#, r#"{"a":1.01,"b":6}"#, &["a=0.02"]), ["b"]);
        assert_eq!(columns(r#"{"a":100,"b":5}"#, r#"{"a":101,"b":6}"#, &["*=1%"]), ["b"]);
        assert_eq!(columns(r#"{"a":"x"}"#, r#"{"a":"y"}"#, &["a=1"]), ["a"], "texts are not numbers");
        assert_eq!(columns("1", "2", &["value=1"]), Vec::<String>::new());
        for text in ["a", "=1", "a=x", "a=-1", "a=NaN"] {
            assert!(Tolerances::default().add(text).is_err(), "{text}");
        }
    }
}
