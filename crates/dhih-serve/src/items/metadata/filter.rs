//! `MetadataFilter`: a filter of the metadata, parsed from JSON, checked against the declared fields, and evaluated by the postings.

use std::ops::Bound;

use serde::Deserialize;
use serde_json::Value;

use super::fields::Key;
use super::ids::IdSet;
use super::{Fault, FieldType, Fields, Postings};
use crate::json_object::JsonObject;

/// The longest filter, in bytes of JSON.
const FILTER: usize = 16 << 10;
/// The greatest depth of nested filters.
const DEPTH: usize = 8;

/// A filter as parsed from JSON. An item passes if it meets all of `must`, none of `must_not` and, where `should` is given, at least one of
/// `should`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    must: Option<Conditions>,
    should: Option<Conditions>,
    must_not: Option<Conditions>,
}

type Conditions = Vec<JsonObject<Condition>>;

/// A condition: a `field` with exactly one of `equals`, `any`, `range` and `exists`; or a nested filter with `must`, `should` and
/// `must_not`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    /// The name of a declared field.
    field: Option<String>,
    /// The field has this value, or has it among several values.
    equals: Option<Value>,
    /// The field has at least one of these values.
    any: Option<Vec<Value>>,
    /// The field has a value within these bounds.
    range: Option<JsonObject<Range>>,
    /// Whether the field has any value.
    exists: Option<bool>,
    must: Option<Conditions>,
    should: Option<Conditions>,
    must_not: Option<Conditions>,
}

/// The bounds of a range: at least one, and at most one on each side.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    gt: Option<Value>,
    gte: Option<Value>,
    lt: Option<Value>,
    lte: Option<Value>,
}

/// A filter that was parsed and checked against the declared fields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MetadataFilter(pub(super) Expression);

/// A filter in the form in which it is evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Values { field: String, keys: Vec<Key> },
    Range { field: String, from: Bound<Key>, to: Bound<Key> },
    Exists { field: String },
}

impl MetadataFilter {
    /// Parses a filter.
    ///
    /// # Errors
    /// When the text is too long, is not JSON, or has unknown members; when a field is not declared, or a value has another type than its
    /// field; when a condition has no or several tests.
    pub(crate) fn parse(text: &str, fields: &Fields) -> Result<Self, Fault> {
        if text.len() > FILTER {
            let bytes = text.len();
            return Err(Fault(format!(
                "`filter` has {bytes} bytes of JSON; give at most {FILTER}"
            )));
        }
        let JsonObject(Filter { must, should, must_not }) = serde_json::from_str(text)
            .map_err(|error| Fault(format!("`filter` is not the JSON expected: {error}")))?;
        Lists { must, should, must_not }.expression(fields, 0).map(Self)
    }

    /// The items that pass. A field whose declaration was removed after parsing counts as having no values.
    pub(crate) fn matching(&self, postings: &Postings) -> IdSet {
        self.0.matching(postings)
    }
}

/// The lists of conditions of a filter.
struct Lists {
    must: Option<Conditions>,
    should: Option<Conditions>,
    must_not: Option<Conditions>,
}

impl Lists {
    fn expression(self, fields: &Fields, depth: usize) -> Result<Expression, Fault> {
        if depth == DEPTH {
            return Err(Fault(format!("filters lie in filters more than {DEPTH} deep")));
        }
        let Self { must, should, must_not } = self;
        if must.is_none() && should.is_none() && must_not.is_none() {
            return Err(Fault(
                "the filter has no conditions: give `must`, `should` or `must_not`".into(),
            ));
        }
        let read = |list: Conditions| {
            let read = list.into_iter().map(|JsonObject(it)| it.expression(fields, depth));
            read.collect::<Result<Vec<_>, _>>()
        };
        let mut all = read(must.unwrap_or_default())?;
        if let Some(should) = should {
            all.push(Expression::Any(read(should)?));
        }
        let none = read(must_not.unwrap_or_default())?;
        all.extend(none.into_iter().map(|one| Expression::Not(Box::new(one))));
        Ok(Expression::All(all))
    }
}

impl Condition {
    fn expression(self, fields: &Fields, depth: usize) -> Result<Expression, Fault> {
        let Self { field, equals, any, range, exists, must, should, must_not } = self;
        let tests = [equals.is_some(), any.is_some(), range.is_some(), exists.is_some()];
        let tests = tests.into_iter().filter(|is_given| *is_given).count();
        let is_filter = must.is_some() || should.is_some() || must_not.is_some();
        let Some(field) = field else {
            return match (is_filter, tests) {
                (true, 0) => Lists { must, should, must_not }.expression(fields, depth + 1),
                _ => Err(Fault("a condition names no `field`".into())),
            };
        };
        if tests != 1 || is_filter {
            return Err(Fault(format!(
                "the condition on `{field}` has to have one of `equals`, `any`, `range` and `exists`, and nothing else"
            )));
        }
        let of = fields.type_of(&field)?;
        let key = |value: &Value| named(&field, of, value);
        if let Some(value) = equals {
            let keys = vec![key(&value)?];
            return Ok(Expression::Values { field, keys });
        }
        if let Some(values) = any {
            let keys = values.iter().map(key).collect::<Result<_, _>>()?;
            return Ok(Expression::Values { field, keys });
        }
        if let Some(JsonObject(range)) = range {
            let (from, to) = range.bounds(&field, of)?;
            return Ok(Expression::Range { field, from, to });
        }
        match exists {
            Some(false) => Ok(Expression::Not(Box::new(Expression::Exists { field }))),
            _ => Ok(Expression::Exists { field }),
        }
    }
}

impl Range {
    fn bounds(self, field: &str, of: FieldType) -> Result<(Bound<Key>, Bound<Key>), Fault> {
        let bound = |excluded: Option<Value>, included: Option<Value>| match (excluded, included) {
            (None, None) => Ok(Bound::Unbounded),
            (Some(value), None) => Ok(Bound::Excluded(named(field, of, &value)?)),
            (None, Some(value)) => Ok(Bound::Included(named(field, of, &value)?)),
            (Some(_), Some(_)) => {
                Err(Fault(format!("the range of `{field}` has two bounds on one side")))
            }
        };
        match (bound(self.gt, self.gte)?, bound(self.lt, self.lte)?) {
            (Bound::Unbounded, Bound::Unbounded) => Err(Fault(format!(
                "the range of `{field}` has no bound: give `gt`, `gte`, `lt` or `lte`"
            ))),
            bounds => Ok(bounds),
        }
    }
}

fn named(field: &str, of: FieldType, value: &Value) -> Result<Key, Fault> {
    of.key(value).map_err(|wrong| Fault(format!("the field `{field}` {wrong} in the filter")))
}

impl Expression {
    fn matching(&self, postings: &Postings) -> IdSet {
        match self {
            Self::All(parts) => {
                let sets = parts.iter().map(|part| part.matching(postings));
                sets.fold(IdSet::all(), IdSet::and)
            }
            Self::Any(parts) => {
                let sets = parts.iter().map(|part| part.matching(postings));
                sets.fold(IdSet::none(), IdSet::or)
            }
            Self::Not(part) => part.matching(postings).not(),
            Self::Values { field, keys } => IdSet::Of(postings.with_any(field, keys)),
            Self::Range { field, from, to } => {
                IdSet::Of(postings.within(field, from.clone(), to.clone()))
            }
            Self::Exists { field } => IdSet::Of(postings.with_value(field)),
        }
    }
}
