//! Translates filters into predicates of PostgreSQL's jsonpath. The store holds a JSON document for each item:
//! `{"labels": [3], "fields": {"year": [2001], "camera": ["north"]}}`. [`document`] makes it, and [`predicate`] matches the same items as the
//! postings do.

use std::ops::Bound;

use serde_json::{Map, Value};

use super::fields::Key;
use super::filter::{Expression, MetadataFilter};
use super::{Fault, Fields, Metadata};

/// The document of an item: its labels and its values in the declared fields. `None` if it has neither.
///
/// # Errors
/// When a value does not have the type of its field, or has the character U+0000, which PostgreSQL cannot store in JSON.
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

/// The predicate of the items that have one of `labels`, if given, and pass `filter`, if given.
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
            // No item has a text with the character U+0000, because `document` refuses it.
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

/// The path of the values of a field. Strings have the same syntax in jsonpath and in JSON.
fn path(field: &str) -> String {
    format!("$.fields.{}[*]", Value::from(field))
}

fn literal(key: &Key) -> String {
    key.value().to_string()
}

/// The comparison with a lower bound. A bound such as `a\0` becomes `> a`, which is the same for texts without the character U+0000.
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

/// The comparison with an upper bound. A bound such as `a\0` becomes `<= a`, which is the same for texts without the character U+0000.
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

/// The part of a text before its first character U+0000; `None` if it has no such character.
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
            // The outermost parentheses depend on how the parts are joined.
            assert!(
                found.contains(expected.trim_start_matches('(').trim_end_matches(')')),
                "{found}"
            );
        }
    }
}
