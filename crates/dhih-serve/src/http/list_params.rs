//! The query strings of listings, counts, deletions and exports. They are parsed by hand because labels may be repeated, as in `params.rs`.

use axum::http::Uri;

use crate::api::{ChoiceParams, DEFAULT_LIMIT, ExportFormat, ExportParams};
use crate::http::ApiError;
use crate::http::form::too_many_labels;
use crate::http::params::{Bounds, number, push_label, wrong};

/// The most items of a page.
const MAX_LIMIT: usize = 1000;

/// The checked parameters of a listing.
#[derive(Debug, PartialEq)]
pub(crate) struct Listed {
    /// The smallest id to list.
    pub(crate) first: u64,
    pub(crate) limit: usize,
    pub(crate) external_id: Option<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) filter: Option<String>,
}

/// Reads and checks the query string of a listing.
pub(crate) fn listed(uri: &Uri, bounds: Bounds) -> Result<Listed, ApiError> {
    let params = parse(uri, Accepted::Page).map_err(wrong)?;
    let AllParams { after, limit, external_id, label, filter, .. } = params;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(wrong(format!("limit is {limit}; give 1 to {MAX_LIMIT}")));
    }
    check_labels(&label, bounds)?;
    let first = after.map_or(0, |after| after.saturating_add(1));
    Ok(Listed { first, limit, external_id, labels: label, filter })
}

/// Reads and checks a query string that selects items by labels and by a filter of the metadata.
pub(crate) fn choice(uri: &Uri, bounds: Bounds) -> Result<ChoiceParams, ApiError> {
    let AllParams { label, filter, .. } = parse(uri, Accepted::Choice).map_err(wrong)?;
    check_labels(&label, bounds)?;
    Ok(ChoiceParams { label, filter })
}

/// Reads and checks the query string of an export.
pub(crate) fn exported(uri: &Uri, bounds: Bounds) -> Result<ExportParams, ApiError> {
    let AllParams { label, filter, format, .. } = parse(uri, Accepted::Export).map_err(wrong)?;
    check_labels(&label, bounds)?;
    let format = format.unwrap_or_default();
    if format == ExportFormat::Parquet && cfg!(not(feature = "parquet")) {
        let missing = "this service was built without Parquet; give format=ndjson, or build dhih-serve with `--features parquet`";
        return Err(wrong(missing.to_owned()));
    }
    Ok(ExportParams { label, filter, format })
}

fn format(text: &str) -> Result<ExportFormat, String> {
    match text {
        "parquet" => Ok(ExportFormat::Parquet),
        "ndjson" => Ok(ExportFormat::Ndjson),
        _ => Err(format!("format is {text:?}; give parquet or ndjson")),
    }
}

/// The parameters that are accepted beside `label` and `filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    /// The parameters of a page.
    Page,
    /// No further parameters.
    Choice,
    /// The parameter `format`.
    Export,
}

/// The parameters of all these query strings together.
#[derive(Debug, Default)]
struct AllParams {
    after: Option<u64>,
    limit: Option<usize>,
    external_id: Option<String>,
    label: Vec<String>,
    filter: Option<String>,
    format: Option<ExportFormat>,
}

fn check_labels(labels: &[String], bounds: Bounds) -> Result<(), ApiError> {
    match labels.len() > bounds.labels {
        true => Err(too_many_labels(bounds.labels)),
        false => Ok(()),
    }
}

fn parse(uri: &Uri, accepted: Accepted) -> Result<AllParams, String> {
    let is_list = accepted == Accepted::Page;
    let mut params = AllParams::default();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let repeated = match &*name {
            "after" if is_list => params.after.replace(number(&name, &value)?).is_some(),
            "limit" if is_list => params.limit.replace(number(&name, &value)?).is_some(),
            "external_id" if is_list => params.external_id.replace(value.into_owned()).is_some(),
            "filter" => params.filter.replace(value.into_owned()).is_some(),
            "label" => push_label(&mut params.label, value)?,
            "format" if accepted == Accepted::Export => {
                params.format.replace(format(&value)?).is_some()
            }
            _ => {
                let others = match accepted {
                    Accepted::Page => "after, limit, external_id, ",
                    Accepted::Export => "format, ",
                    Accepted::Choice => "",
                };
                return Err(format!(
                    "there is no parameter `{name}`; there are {others}label and filter"
                ));
            }
        };
        if repeated {
            return Err(format!("`{name}` is given twice"));
        }
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_checked() {
        let bounds = Bounds { bits: 48, labels: 2 };
        let uri = |query: &str| format!("/v1/items?{query}").parse::<Uri>().unwrap();
        let read = |query: &str| listed(&uri(query), bounds);
        let all = read("after=5&limit=9&label=a%20b&label=c&filter=%7B%7D&external_id=x").unwrap();
        let expected = Listed {
            first: 6,
            limit: 9,
            external_id: Some("x".into()),
            labels: vec!["a b".into(), "c".into()],
            filter: Some("{}".into()),
        };
        assert_eq!(all, expected);
        let none = read("").unwrap();
        assert_eq!((none.first, none.limit), (0, DEFAULT_LIMIT));
        assert_eq!(read(&format!("after={}", u64::MAX)).unwrap().first, u64::MAX);
        let chosen = choice(&uri("label=a&filter=b"), bounds).unwrap();
        assert_eq!((chosen.label, chosen.filter), (vec!["a".into()], Some("b".into())));
        for (query, part) in [
            ("limit=0", "1 to 1000"),
            ("limit=1001", "1 to 1000"),
            ("after=-1", "whole number"),
            ("after=1&after=2", "twice"),
            ("k=3", "label and filter"),
        ] {
            match read(query) {
                Err(ApiError::BadRequest("invalid_parameter", message)) => {
                    assert!(message.contains(part), "{message}");
                }
                other => panic!("{query}: {other:?}"),
            }
        }
        assert!(choice(&uri("limit=3"), bounds).is_err());
        assert_eq!(exported(&uri(""), bounds).unwrap().format, ExportFormat::Parquet);
        assert_eq!(exported(&uri("format=ndjson"), bounds).unwrap().format, ExportFormat::Ndjson);
        for wrong in ["format=csv", "limit=3", "format=ndjson&format=ndjson"] {
            assert!(exported(&uri(wrong), bounds).is_err(), "{wrong}");
        }
        assert!(read("label=a&label=b&label=c").is_err());
    }
}
