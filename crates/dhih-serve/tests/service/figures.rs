//! Metrics for Prometheus: those of the process and of the index exist, and the dashboard and alerts in `docs/deploy` only use metrics that
//! the service has. A mistyped name there once would have been an empty panel or an alert that never fires.

use std::collections::BTreeSet;

use axum::Router;
use axum::http::Method;
use serde_json::{Value, json as value};

use crate::common::{Fixture, ITEMS, fields, form, get, json, png, send, with_method};

const DASHBOARD: &str = include_str!("../../../../docs/deploy/grafana.json");
const ALERTS: &str = include_str!("../../../../docs/deploy/alerts.yml");

async fn figures(app: &Router) -> String {
    let answer = send(app, get("/metrics")).await;
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).unwrap()
}

/// The value of a metric without labels.
fn figure(figures: &str, name: &str) -> f64 {
    let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("there is no {name} in\n{figures}")).parse().unwrap()
}

/// The names of metrics in an expression.
fn names(expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c: char| !is_part(c));
    let own = words.filter(|word| word.starts_with("dhih_") || word.starts_with("process_"));
    own.map(str::to_owned).collect()
}

/// All expressions in the panels of the dashboard.
fn dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    found
}

fn alerts() -> Vec<String> {
    let lines = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_process_and_the_index_have_figures() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    let code = value!({ "code": fixture.codes().codes.to_hex(3) }).to_string();
    assert_eq!(send(&app, json("/v1/items", &code)).await.status, 201);
    assert_eq!(send(&app, with_method(Method::DELETE, "/v1/items/5")).await.status, 204);
    let text = figures(&app).await;
    // Other tests in the same process record metrics of their own services. Only those of the process are unaffected.
    for name in ["dhih_items", "dhih_index_segments", "dhih_index_segment_bytes"] {
        assert!(figure(&text, name) >= 1.0, "{name}");
    }
    for name in ["dhih_index_log_bytes", "dhih_index_memtable_items", "dhih_index_tombstones"] {
        assert!(figure(&text, name) >= 0.0, "{name}");
    }
    let info = send(&app, get("/v1/info")).await.ok();
    assert_eq!(info["items"], ITEMS);
    for name in ["dhih_rejected_total", "dhih_rate_limited_total", "dhih_log_lines_lost_total"] {
        assert!(figure(&text, name) >= 0.0, "{name} is there before it grows");
    }
    if cfg!(target_os = "linux") {
        assert!(figure(&text, "process_resident_memory_bytes") > 1e6);
        assert!(figure(&text, "process_start_time_seconds") > 1.7e9);
        let (open, most) = (figure(&text, "process_open_fds"), figure(&text, "process_max_fds"));
        assert!((1.0..=most).contains(&open), "{open} of {most}");
        assert!(figure(&text, "process_threads") >= 1.0);
        assert!(figure(&text, "process_cpu_seconds_total") >= 0.0);
        assert!(text.contains("# TYPE process_cpu_seconds_total counter"));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn dashboard_and_alerts_ask_for_figures_that_there_are() {
    let fixture = Fixture::new();
    let app = fixture.writable_app();
    send(&app, form("image", &png(1))).await.ok();
    assert_eq!(send(&app, fields("/v1/items", &[("image", &png(1))])).await.status, 201);
    let text = figures(&app).await;
    let exposed: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let (dashboard, alerts) = (dashboard(), alerts());
    assert!(dashboard.len() > 20 && alerts.len() > 5, "the comparison is empty");
    assert_eq!(alerts.len(), ALERTS.matches("- alert: ").count(), "each alert has an expression");
    for expression in dashboard.iter().chain(&alerts) {
        let names = names(expression);
        assert!(!names.is_empty() || expression.starts_with("up{"), "{expression}");
        for name in names {
            assert!(exposed.contains(&*name), "{name} of {expression} is not in\n{text}");
        }
    }
    // The labels that expressions select by exist.
    assert!(text.contains("route=\"/v1/search\"") && text.contains("outcome=\"failed\""));
}
