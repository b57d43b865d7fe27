//! The metrics agree with independent float64 values. The folder comes from `DHIH_REFERENCE`, or lies beside the
//! repository; where it is absent the test says so and passes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use std::path::PathBuf;

use dhih_index::{CodeSet, Codes, Labels};
use dhih_train::evaluation::{Empty, EvaluationConfig, Metrics, evaluate};
use serde_json::Value;

fn reference() -> Option<Value> {
    let beside =
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference"));
    let folder = std::env::var_os("DHIH_REFERENCE").map_or_else(beside, PathBuf::from);
    match std::fs::read(folder.join("metrics.json")) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(error) => {
            println!("skipped: {}: {error}", folder.join("metrics.json").display());
            None
        }
    }
}

fn codes(rows: &Value) -> Codes {
    let signs = |row: &Value| -> Vec<f32> {
        row.as_str().unwrap().chars().map(|c| if c == '1' { 1.0 } else { -1.0 }).collect()
    };
    let values: Vec<f32> = rows.as_array().unwrap().iter().flat_map(signs).collect();
    Codes::from_real(16, &values).unwrap()
}

fn set(codes: &Codes, labels: Labels) -> CodeSet {
    CodeSet { labels: Some(labels), ..CodeSet::new(codes.clone()) }
}

fn single(labels: &Value) -> Labels {
    Labels::Single(labels.as_array().unwrap().iter().map(|l| l.as_i64().unwrap()).collect())
}

fn multi_hot(labels: &Value) -> Labels {
    let rows = labels.as_array().unwrap();
    let values = rows.iter().flat_map(|row| row.as_array().unwrap());
    let classes = rows[0].as_array().unwrap().len();
    Labels::MultiHot { classes, values: values.map(|v| v.as_u64().unwrap() as u8).collect() }
}

fn close(what: &str, got: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((got - expected).abs() < 1e-12, "{what}: {got}, expected {expected}");
}

fn assert_agrees(expected: &Value, measure: impl Fn(Empty) -> Metrics) {
    let metrics = measure(Empty::Zero);
    close("map", metrics.map, &expected["map_tie_aware"]);
    close("optimistic", metrics.map_bounds.optimistic, &expected["map_optimistic"]);
    close("pessimistic", metrics.map_bounds.pessimistic, &expected["map_pessimistic"]);
    close("stable", metrics.map_at[&240], &expected["map_stable"]);
    close("at 50", metrics.map_at[&50], &expected["map_stable_at_50"]);
    let omitting = measure(Empty::Omit).map_at[&50];
    close("omit", omitting, &expected["map_stable_at_50_omit_empty"]);
    for (n, value) in expected["precision_at_n"].as_object().unwrap() {
        close(n, metrics.precision_at[&n.parse().unwrap()], value);
    }
    close("precision r2", metrics.precision_radius_2, &expected["precision_radius_2"]);
    close("recall r2", metrics.recall_radius_2, &expected["recall_radius_2"]);
    let curve = expected["pr_by_radius"].as_array().unwrap();
    assert_eq!(curve.len(), metrics.curves.precision_recall_by_radius.len());
    for (expected, got) in curve.iter().zip(&metrics.curves.precision_recall_by_radius) {
        close("precision by radius", got[0], &expected[0]);
        close("recall by radius", got[1], &expected[1]);
    }
}

#[test]
fn metrics_agree_with_the_reference() {
    let Some(reference) = reference() else { return };
    let (database, queries) =
        (codes(&reference["database_codes"]), codes(&reference["query_codes"]));
    let config = |empty| EvaluationConfig {
        map_at: vec![100_000, 50],
        precision_at: vec![1, 10, 100, 1000],
        empty,
    };
    assert_agrees(&reference["single_label"], |empty| {
        let database = set(&database, single(&reference["database_labels"]));
        let queries = set(&queries, single(&reference["query_labels"]));
        evaluate(&database, &queries, &config(empty)).unwrap()
    });
    assert_agrees(&reference["multi_label"], |empty| {
        let database = set(&database, multi_hot(&reference["database_multi_hot"]));
        let queries = set(&queries, multi_hot(&reference["query_multi_hot"]));
        evaluate(&database, &queries, &config(empty)).unwrap()
    });
}
