//! What differences are meant: `--expect FILE`.
//!
//! ```json
//! { "page-views": { "only_in_first": 12, "only_in_second": 0, "differing": { "least": 1, "most": 500 }, "columns": ["views"] } }
//! ```
//! A count is exact, or lies between `least` and `most`. What is not said must not be. `columns` are the only ones that may differ.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::OutputReport;

/// What is expected of each output.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Expected(BTreeMap<String, ExpectedOutput>);

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ExpectedOutput {
    only_in_first: Count,
    only_in_second: Count,
    differing: Count,
    columns: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Count {
    Exactly(u64),
    Within(Bounds),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    #[serde(default)]
    least: u64,
    #[serde(default = "unbounded")]
    most: u64,
}

fn unbounded() -> u64 {
    u64::MAX
}

impl Default for Count {
    fn default() -> Self {
        Count::Exactly(0)
    }
}

impl Count {
    fn check(&self, what: &str, found: u64, wrong: &mut Vec<String>) {
        match *self {
            Count::Exactly(want) if want != found => wrong.push(format!("{what}: {found}, expected {want}")),
            Count::Within(Bounds { least, most }) if found < least || found > most => {
                let most = if most == u64::MAX { "any number".to_owned() } else { most.to_string() };
                wrong.push(format!("{what}: {found}, expected {least} to {most}"));
            }
            _ => {}
        }
    }
}

impl Expected {
    /// Reads the file's text.
    ///
    /// # Errors
    /// A sentence for the reader.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The outputs it speaks of.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What of a report is not as expected.
    pub(super) fn check(&self, report: &OutputReport) -> Vec<String> {
        let nothing = ExpectedOutput::default();
        let expected = self.0.get(&report.output).unwrap_or(&nothing);
        let mut wrong = Vec::new();
        expected.only_in_first.check("rows only in the first", report.only_in_first, &mut wrong);
        expected.only_in_second.check("rows only in the second", report.only_in_second, &mut wrong);
        expected.differing.check("rows that differ", report.differing, &mut wrong);
        if let Some(columns) = &expected.columns {
            for (column, rows) in report.columns.iter().filter(|(column, _)| !columns.contains(column)) {
                wrong.push(format!("{column} differs in {rows} rows, and was not to"));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_or_between_and_what_is_not_said_must_not_be() {
        let text = r#"{"views":{"only_in_first":2,"differing":{"most":5},"columns":["n"]}}"#;
        let expected = Expected::parse(text).unwrap();
        let report = |first, differing, column: &str| OutputReport {
            only_in_first: first,
            differing,
            columns: BTreeMap::from([(column.to_owned(), differing)]),
            ..OutputReport::new("views")
        };
        assert_eq!(expected.check(&report(2, 5, "n")), Vec::<String>::new());
        assert_eq!(expected.check(&report(1, 6, "m")).len(), 3);
        assert_eq!(expected.check(&OutputReport { output: "other".into(), ..report(0, 1, "n") }).len(), 1);
        for wrong in ["[]", r#"{"views":{"only":1}}"#, r#"{"views":{"differing":{"lest":1}}}"#, "{"] {
            assert!(Expected::parse(wrong).is_err(), "{wrong}");
        }
    }
}
