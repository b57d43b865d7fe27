//! A filter as a predicate in PostgreSQL's jsonpath, for a store that keeps with each item what filters go by as JSON:
//! `{"labels": [3], "fields": {"year": [2001], "camera": ["north"]}}`. [`document`] makes that JSON. The predicate lets through what the postings
//! let through.

use std::ops::Bound;

use serde_json::{Map, Value};

use super::fields::Key;
use super::filter::{Expression, MetadataFilter};
use super::{Fault, Fields, Metadata};

/// What filters go by, of one item; `None` where there is nothing.
///
/// # Errors
/// A value that is not of its field's type; a character that PostgreSQL cannot keep in JSON.
pub(crate) fn document(
    labels: &[i64],
    fields: &Fields,
    metadata: &Metadata,
) -> Result<Option<String>, Fault> {
    let mut values = Map::new();
    for (name, keys) in fields.keys(metadata)? {
        let keys: Vec<Value> = keys.iter().map(Key::value).collect();
        let has_nul = |value: &Value| value.as_str().is_some_and(|text| text.contains('\0'));
        if name.contains('\0') || keys.iter().any(has_nul) {
            return Err(Fault(format!(
                "the field {name:?} has the character U+0000, which PostgreSQL cannot keep in JSON"
            )));
        }
        if !keys.is_empty() {
            values.insert(name, Value::Array(keys));
        }
    }
    let mut document = Map::new();
    if !labels.is_empty() {
        document.insert("labels".into(), labels.into());
    }
    if !values.is_empty() {
        document.insert("fields".into(), values.into());
    }
    Ok((!document.is_empty()).then(|| Value::Object(document).to_string()))
}

/// The predicate for items that have one of some labels, where labels are given, and that a filter lets through, where there is one.
pub(crate) fn predicate(labels: Option<&[i64]>, filter: Option<&MetadataFilter>) -> String {
    let labels = labels.map(|labels| {
        let one = |label: &i64| format!("$.labels[*] == {label}");
        any(labels.iter().map(one))
    });
    all(labels.into_iter().chain(filter.map(|MetadataFilter(expression)| of(expression))))
}

fn of(expression: &Expression) -> String {
    match expression {
        Expression::All(parts) => all(parts.iter().map(of)),
        Expression::Any(parts) => any(parts.iter().map(of)),
        Expression::Not(part) => format!("!({})", of(part)),
        Expression::Values { field, keys } => {
            // `document` refuses texts with the character U+0000: no item has one.
            let keys = keys.iter().filter(|key| before_nul(key).is_none());
            any(keys.map(|key| format!("{} == {}", path(field), literal(key))))
        }
        Expression::Range { field, from, to } => {
            let from = above(from).map(|(sign, key)| format!("@ {sign} {}", literal(&key)));
            let to = below(to).map(|(sign, key)| format!("@ {sign} {}", literal(&key)));
            format!("exists({} ? ({}))", path(field), all(from.into_iter().chain(to)))
        }
        Expression::Exists { field } => format!("exists({})", path(field)),
    }
}

fn all(parts: impl Iterator<Item = String>) -> String {
    joined(parts, " && ").unwrap_or_else(|| "1 == 1".into())
}

fn any(parts: impl Iterator<Item = String>) -> String {
    joined(parts, " || ").unwrap_or_else(|| "1 == 0".into())
}

fn joined(parts: impl Iterator<Item = String>, by: &str) -> Option<String> {
    let parts: Vec<String> = parts.map(|part| format!("({part})")).collect();
    (!parts.is_empty()).then(|| parts.join(by))
}

/// The values of a field. A string of jsonpath is written as one of JSON.
fn path(field: &str) -> String {
    format!("$.fields.{}[*]", Value::from(field))
}

fn literal(key: &Key) -> String {
    key.value().to_string()
}

/// How values compare that are not below a bound. A text without the character U+0000 that is above `a\0`, or equal to it, is above `a`.
fn above(bound: &Bound<Key>) -> Option<(&'static str, Key)> {
    match bound {
        Bound::Unbounded => None,
        Bound::Included(key) | Bound::Excluded(key) if let Some(text) = before_nul(key) => {
            Some((">", text))
        }
        Bound::Included(key) => Some((">=", key.clone())),
        Bound::Excluded(key) => Some((">", key.clone())),
    }
}

/// How values compare that are not above a bound. A text without the character U+0000 that is below `a\0` is `a`, or below `a`.
fn below(bound: &Bound<Key>) -> Option<(&'static str, Key)> {
    match bound {
        Bound::Unbounded => None,
        Bound::Included(key) | Bound::Excluded(key) if let Some(text) = before_nul(key) => {
            Some(("<=", text))
        }
        Bound::Included(key) => Some(("<=", key.clone())),
        Bound::Excluded(key) => Some(("<", key.clone())),
    }
}

/// A text up to its first character U+0000, which PostgreSQL has in no text; `None` where there is none.
fn before_nul(key: &Key) -> Option<Key> {
    match key {
        Key::Keyword(text) => text.split_once('\0').map(|(head, _)| Key::Keyword(head.to_owned())),
        Key::Bool(_) | Key::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::metadata::FieldType;

    fn fields() -> Fields {
        let of = [
            ("a \"b\"", FieldType::Keyword),
            ("year", FieldType::Number),
            ("public", FieldType::Bool),
        ];
        Fields::new(of.into_iter().map(|(name, of)| (name.to_owned(), of)).collect()).unwrap()
    }

    #[test]
    fn a_document_has_what_filters_go_by_and_nothing_else() {
        let document = |labels: &[i64], metadata: Value| {
            document(labels, &fields(), &Metadata::new(metadata).unwrap())
        };
        let all = serde_json::json!({"a \"b\"": ["x", "y"], "year": 7, "public": true, "more": 1});
        assert_eq!(
            document(&[3, 1], all).unwrap().unwrap(),
            r#"{"labels":[3,1],"fields":{"a \"b\"":["x","y"],"public":[true],"year":[7.0]}}"#
        );
        assert_eq!(document(&[], serde_json::json!({"more": 1, "year": []})).unwrap(), None);
        assert!(document(&[], serde_json::json!({"year": "x"})).is_err());
        let nul = document(&[], serde_json::json!({"a \"b\"": "x\0"})).unwrap_err();
        assert!(nul.to_string().contains("U+0000"), "{nul}");
    }

    #[test]
    fn filters_become_predicates() {
        for (labels, filter, expected) in [
            (Some(&[3, 4][..]), None, "(($.labels[*] == 3) || ($.labels[*] == 4))"),
            (Some(&[]), None, "(1 == 0)"),
            (
                None,
                Some(r#"{"must_not":[{"field":"public","equals":true}]}"#),
                "(!(($.fields.\"public\"[*] == true)))",
            ),
            (
                None,
                Some(r#"{"must":[{"field":"year","range":{"gte":-2,"lt":1e300}}]}"#),
                "(exists($.fields.\"year\"[*] ? ((@ >= -2.0) && (@ < 1e300))))",
            ),
            (
                None,
                Some(r#"{"must":[{"field":"a \"b\"","any":["x\u0000","\u00e4\n"]}]}"#),
                "(($.fields.\"a \\\"b\\\"\"[*] == \"ä\\n\"))",
            ),
            (
                None,
                Some(r#"{"must":[{"field":"a \"b\"","range":{"gt":"x\u0000","lt":"y\u0000"}}]}"#),
                "(exists($.fields.\"a \\\"b\\\"\"[*] ? ((@ > \"x\") && (@ <= \"y\"))))",
            ),
        ] {
            let filter = filter.map(|text| MetadataFilter::parse(text, &fields()).unwrap());
            let found = predicate(labels, filter.as_ref());
            // What a filter is made of stands in a list of its own.
            assert!(
                found.contains(expected.trim_start_matches('(').trim_end_matches(')')),
                "{found}"
            );
        }
    }
}
