//! Filters are compared with an oracle that examines each item, and invalid input is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;

fn fields() -> Fields {
    let declared = [
        ("camera", FieldType::Keyword),
        ("taken", FieldType::Number),
        ("public", FieldType::Bool),
        ("tags", FieldType::Keyword),
    ];
    Fields::new(declared.map(|(name, of)| (name.to_owned(), of)).into()).unwrap()
}

/// Metadata of many kinds: missing fields, nulls, lists, and an undeclared field.
fn metadata(id: u64) -> Value {
    let mut object = json!({"camera": (["a", "b", "c"][id as usize % 3]), "note": {"n": id}});
    if !id.is_multiple_of(5) {
        object["taken"] = json!((id as f64 - 50.0) * 0.5);
    }
    object["public"] =
        [json!(true), json!(false), Value::Null, json!([true, false])][id as usize % 4].clone();
    if id.is_multiple_of(2) {
        object["tags"] = json!((0..id % 7).map(|tag| format!("t{tag}")).collect::<Vec<_>>());
    }
    object
}

const ITEMS: u64 = 300;

fn postings() -> Postings {
    let mut postings = Postings::new(fields());
    for id in 0..ITEMS {
        postings.insert(id, &Metadata::new(metadata(id)).unwrap());
    }
    postings
}

fn values(item: &Value, field: &str) -> Vec<Value> {
    match &item[field] {
        Value::Null => Vec::new(),
        Value::Array(values) => values.clone(),
        one => vec![one.clone()],
    }
}

fn less(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() < b.as_f64(),
        (Value::String(a), Value::String(b)) => a < b,
        (Value::Bool(a), Value::Bool(b)) => !a & b,
        _ => panic!(),
    }
}

/// Whether an item passes a filter: the oracle.
fn passes(item: &Value, filter: &Value) -> bool {
    let list = |name: &str| filter[name].as_array();
    let all =
        |name, wanted| list(name).is_none_or(|list| list.iter().all(|c| meets(item, c) == wanted));
    all("must", true)
        && all("must_not", false)
        && list("should").is_none_or(|list| list.iter().any(|c| meets(item, c)))
}

fn meets(item: &Value, condition: &Value) -> bool {
    let Some(field) = condition["field"].as_str() else { return passes(item, condition) };
    let values = values(item, field);
    let equal = |a: &Value, b: &Value| !less(a, b) && !less(b, a);
    if let Some(exists) = condition["exists"].as_bool() {
        return values.is_empty() != exists;
    }
    if let Some(any) = condition["any"].as_array() {
        return values.iter().any(|value| any.iter().any(|wanted| equal(value, wanted)));
    }
    if condition["range"].is_object() {
        let bound = |name: &str| Some(&condition["range"][name]).filter(|bound| !bound.is_null());
        return values.iter().any(|value| {
            bound("gt").is_none_or(|bound| less(bound, value))
                && bound("gte").is_none_or(|bound| !less(value, bound))
                && bound("lt").is_none_or(|bound| less(value, bound))
                && bound("lte").is_none_or(|bound| !less(bound, value))
        });
    }
    values.iter().any(|value| equal(value, &condition["equals"]))
}

fn found(postings: &Postings, filter: &Value) -> BTreeSet<u64> {
    let filter = MetadataFilter::parse(&filter.to_string(), postings.fields()).unwrap();
    match filter.matching(postings) {
        IdSet::Of(ids) => ids.iter().collect(),
        IdSet::AllBut(ids) => (0..ITEMS).filter(|id| !ids.contains(*id)).collect(),
    }
}

/// A filter of random conditions, nested up to three levels.
fn random_filter(next: &mut impl FnMut(u64) -> u64, depth: u64) -> Value {
    let mut filter = json!({});
    for name in ["must", "should", "must_not"] {
        if next(2) == 0 {
            let list: Vec<Value> = (0..next(3)).map(|_| random_condition(next, depth)).collect();
            filter[name] = list.into();
        }
    }
    if filter == json!({}) {
        filter["must"] = json!([random_condition(next, depth)]);
    }
    filter
}

fn random_condition(next: &mut impl FnMut(u64) -> u64, depth: u64) -> Value {
    if depth > 0 && next(4) == 0 {
        return random_filter(next, depth - 1);
    }
    let field = ["camera", "taken", "public", "tags"][next(4) as usize];
    let mut value = || match field {
        "taken" => json!(next(120) as f64 * 0.5 - 30.0),
        "public" => json!(next(2) == 0),
        "camera" => json!(["a", "b", "c", "d"][next(4) as usize]),
        _ => json!(format!("t{}", next(8))),
    };
    let (first, second) = (value(), value());
    match next(5) {
        0 => json!({"field": field, "equals": first}),
        1 => json!({"field": field, "any": [first, second]}),
        2 => json!({"field": field, "range": {"gte": first, "lt": second}}),
        3 => json!({"field": field, "range": {["gt", "lte"][next(2) as usize]: first}}),
        _ => json!({"field": field, "exists": next(2) == 0}),
    }
}

#[test]
fn filters_let_through_what_an_oracle_does_whatever_was_changed() {
    let mut postings = postings();
    let mut state = 9_u64;
    let mut next = move |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut items: BTreeMap<u64, Value> = (0..ITEMS).map(|id| (id, metadata(id))).collect();
    let mut kinds = [0; 3];
    for _ in 0..3000 {
        // Replace the metadata of an item by that of another, or by none.
        let (id, other) = (next(ITEMS), next(ITEMS));
        let before =
            items.insert(id, if other < 20 { json!({}) } else { metadata(other) }).unwrap();
        postings.remove(id, &Metadata::new(before).unwrap());
        postings.insert(id, &Metadata::new(items[&id].clone()).unwrap());
        let filter = random_filter(&mut next, 3);
        let expected: BTreeSet<u64> =
            items.iter().filter(|(_, item)| passes(item, &filter)).map(|(id, _)| *id).collect();
        assert_eq!(found(&postings, &filter), expected, "{filter}");
        kinds[usize::from(!expected.is_empty()) + usize::from(expected.len() as u64 == ITEMS)] += 1;
    }
    assert!(kinds.iter().all(|count| *count > 50), "{kinds:?}");
    // Removing all items leaves the postings empty.
    for (id, item) in items {
        postings.remove(id, &Metadata::new(item).unwrap());
    }
    assert!(postings.counts(9).iter().all(|field| (field.items, field.distinct) == (0, 0)));
}

#[test]
fn counts_tell_the_most_frequent_values() {
    let counts = postings().counts(2);
    let names: Vec<&str> = counts.iter().map(|field| &*field.name).collect();
    assert_eq!(names, ["camera", "public", "tags", "taken"]);
    assert_eq!((counts[0].items, counts[0].distinct), (300, 3));
    assert_eq!(counts[0].values, [(json!("a"), 100), (json!("b"), 100)]);
    assert_eq!((counts[1].items, &counts[1].values[0]), (225, &(json!(false), 150)));
    assert_eq!((counts[3].items, counts[3].distinct, counts[3].of), (240, 240, FieldType::Number));
    assert_eq!(counts[3].values[0], (json!(-24.5), 1));
}

#[test]
fn what_is_wrong_is_said() {
    let postings = postings();
    for (filter, says) in [
        (json!({}), "no conditions"),
        (json!({"must": [{"equals": 1}]}), "names no `field`"),
        (
            json!({"must": [{"field": "lens", "equals": 1}]}),
            "there are camera, public, tags, taken",
        ),
        (json!({"must": [{"field": "camera"}]}), "one of `equals`"),
        (json!({"must": [{"field": "camera", "equals": "a", "exists": true}]}), "one of `equals`"),
        (
            json!({"must": [{"field": "camera", "equals": 1}]}),
            "declared as `keyword`, and is given a number",
        ),
        (
            json!({"must": [{"field": "taken", "equals": "a"}]}),
            "declared as `number`, and is given a text",
        ),
        (json!({"must": [{"field": "taken", "range": {}}]}), "no bound"),
        (json!({"must": [{"field": "taken", "range": {"gt": 1, "gte": 1}}]}), "two bounds"),
        (json!({"must": [{"field": "taken", "equals": 9_007_199_254_740_993_u64}]}), "not exact"),
        (
            json!({"must": [{"must": [{"must": [{"must": [{"must": [{"must": [{"must": [{"must": [{"must": []}]}]}]}]}]}]}]}]}),
            "more than 8 deep",
        ),
    ] {
        let read = MetadataFilter::parse(&filter.to_string(), postings.fields());
        let Err(Fault(message)) = read else { panic!("{filter:?}") };
        assert!(message.contains(says), "{message}");
    }
    for (text, says) in [
        ("[]", "expected a JSON object"),
        ("[[],null,null]", "expected a JSON object"),
        ("{\"must\":[[\"camera\",\"a\"]]}", "expected a JSON object"),
        ("{\"must\":[{\"field\":\"taken\",\"range\":[1]}]}", "expected a JSON object"),
        ("{\"musst\":[]}", "unknown field `musst`"),
        (&" ".repeat(20_000), "16384"),
    ] {
        let Err(Fault(message)) = MetadataFilter::parse(text, postings.fields()) else {
            panic!("{text}")
        };
        assert!(message.contains(says), "{message}");
    }
    let text = "{\"must\":[{\"field\":\"a\",\"exists\":true}]}";
    let Err(Fault(message)) = MetadataFilter::parse(text, &Fields::default()) else { panic!() };
    assert!(message.contains("PUT /v1/fields"), "{message}");
    for (metadata, says) in [
        (json!({"camera": 7}), "`camera` is declared as `keyword`"),
        (json!({"tags": ["a", ["b"]]}), "a list"),
        (json!({"camera": "x".repeat(257)}), "256"),
        (json!({"tags": vec!["a"; 65]}), "65 values"),
    ] {
        let Err(Fault(message)) = fields().check(&Metadata::new(metadata).unwrap()) else {
            panic!()
        };
        assert!(message.contains(says), "{message}");
    }
    assert!(
        Metadata::new(json!([])).is_err()
            && Metadata::new(json!({"a": "b".repeat(17_000)})).is_err()
    );
    assert!(Metadata::new(Value::Null).unwrap().is_empty());
    let many = (0..65).map(|field| (field.to_string(), FieldType::Bool)).collect();
    assert!(
        Fields::new(many).is_err()
            && Fields::new([(String::new(), FieldType::Bool)].into()).is_err()
    );
    assert!(check_external_id("a b/c").is_ok());
    assert!(["", "a\nb", &"x".repeat(257)].iter().all(|id| check_external_id(id).is_err()));
}
