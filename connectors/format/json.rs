//! JSON, by serde.

use serde::{Serialize, de::DeserializeOwned};

use super::{Format, FormatError, text};

/// JSON, one value a record.
///
/// What is JSON of a type is serde's word. So an array of the fields' values, in their order, is taken as a struct of derived `Deserialize`, and
/// fields that the struct has not are stepped over, unless it says `#[serde(deny_unknown_fields)]`. Where an array must not pass, refuse it in the type
/// (`#[serde(flatten)]` of a struct in another takes objects only, and is slower).
///
/// ```
/// use millpond_connectors::{Format, Json};
/// assert_eq!(Format::<Vec<u8>>::decode(&Json, b"[1, 2]").unwrap(), [1, 2]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl<T: Serialize + DeserializeOwned> Format<T> for Json {
    // By way of `str`: checking UTF-8 once at full speed is faster than what serde_json does for each string of a slice.
    #[inline]
    fn decode(&self, bytes: &[u8]) -> Result<T, FormatError> {
        serde_json::from_str(text(bytes)?).map_err(|error| FormatError::new(format!("not the JSON expected: {error}")))
    }

    #[inline]
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), FormatError> {
        serde_json::to_writer(out, value).map_err(|error| FormatError::new(format!("no JSON for this value: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Click {
        page: String,
        at: i64,
    }

    #[test]
    fn an_error_says_where_and_what() {
        let decode = |bytes: &[u8]| Format::<Click>::decode(&Json, bytes);
        assert_eq!(decode(br#"{"page":"a","at":-1}"#).unwrap(), Click { page: "a".into(), at: -1 });
        for (bytes, part) in [
            (&br#"{"page":"a","at":"x"}"#[..], "invalid type: string \"x\", expected i64 at line 1 column 20"),
            (br#"{"page":"a"}"#, "missing field `at`"),
            (br#"{"page":"a","#, "EOF while parsing"),
            (br#"{"page":"a","at":1} x"#, "trailing characters"),
            (b"", "EOF while parsing a value"),
            (b"{\"page\":\"\xff\",\"at\":1}", "not UTF-8 at byte 9"),
        ] {
            let error = decode(bytes).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn an_array_is_a_struct_unless_the_type_refuses_it() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Strict {
            #[serde(flatten)]
            click: Click,
        }
        let click = Format::<Click>::decode(&Json, br#"["a",1]"#).unwrap();
        assert_eq!(click, Click { page: "a".into(), at: 1 });
        assert!(Format::<Strict>::decode(&Json, br#"["a",1]"#).is_err());
        assert_eq!(Format::<Strict>::decode(&Json, br#"{"page":"a","at":1}"#).unwrap(), Strict { click });
    }

    #[test]
    fn a_value_without_json_is_an_error() {
        let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = Json.encode(&odd, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("key must be a string"), "{error}");
    }
}
