//! The query string of a search. It is parsed by hand because `label` may be repeated, which axum's `Query` does not support.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::Uri;

use crate::api::{DEFAULT_K, MAX_BUDGET_US, MAX_K, SearchParams};
use crate::http::ApiError;
use crate::http::form::{LABEL, too_many_labels};
use crate::run::Run;
use crate::run::view::Shown;
use crate::search::MOST_CANDIDATES;

/// The checked parameters of a search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extent {
    pub(crate) k: usize,
    /// The number of nearest neighbours to skip.
    pub(crate) offset: usize,
    pub(crate) radius: u32,
    pub(crate) labels: Vec<String>,
    /// A filter of the metadata, as JSON text.
    pub(crate) filter: Option<String>,
    pub(crate) codes: bool,
    /// Whether hits contain metadata and external ids.
    pub(crate) metadata: bool,
    pub(crate) rerank: bool,
    /// The number of candidates to rescore.
    pub(crate) rescore: Option<usize>,
    /// The time after which the search by codes stops.
    pub(crate) budget: Option<Duration>,
    /// Whether the images of a form are one query, their mean.
    pub(crate) mean: bool,
    /// Whether the answer explains how the index was searched.
    pub(crate) explain: bool,
}

impl Extent {
    /// Whether the index alone can answer, without a filter, labels, metadata or another order.
    pub(crate) fn is_plain(&self) -> bool {
        let is_ordered = self.rerank || self.rescore.is_some() || self.budget.is_some();
        self.labels.is_empty() && self.filter.is_none() && !self.metadata && !is_ordered
    }

    /// The number of nearest neighbours to search for, which includes the skipped ones.
    pub(crate) fn reach(&self) -> usize {
        self.k + self.offset
    }

    /// The optional fields of hits.
    pub(crate) fn shown(&self) -> Shown {
        Shown { codes: self.codes, metadata: self.metadata }
    }
}

/// The bounds that a run sets for parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bits of its codes.
    pub(crate) bits: u32,
    /// The most labels that a request may name.
    pub(crate) labels: usize,
}

impl Bounds {
    pub(crate) fn of(run: &Run) -> Self {
        Self { bits: run.bits(), labels: run.most_labels() }
    }
}

/// Reads and checks a query string.
pub(crate) fn extent(uri: &Uri, bounds: Bounds) -> Result<Extent, ApiError> {
    checked(parse(uri.query().unwrap_or_default()).map_err(wrong)?, bounds)
}

/// Reads and checks the query string of a request for the pairs of an item.
pub(crate) fn pairs_extent(uri: &Uri, bounds: Bounds) -> Result<Extent, ApiError> {
    let params = parse(uri.query().unwrap_or_default()).map_err(wrong)?;
    if params.rerank.is_some() || params.rescore.is_some() || params.budget_us.is_some() {
        let message =
            "pairs are all within a distance: leave `rerank`, `rescore` and `budget_us` out";
        return Err(wrong(message.into()));
    }
    if params.offset.is_some() || params.explain.is_some() || params.mean.is_some() {
        let message = "pairs are those of one item, have no pages and are not explained: leave `offset`, `explain` and `mean` out";
        return Err(wrong(message.into()));
    }
    if params.radius.is_none() {
        return Err(wrong("`radius` is missing: give the largest distance of a pair".into()));
    }
    checked(SearchParams { k: params.k.or(Some(MAX_K)), ..params }, bounds)
}

fn checked(params: SearchParams, bounds: Bounds) -> Result<Extent, ApiError> {
    let Bounds { bits, labels } = bounds;
    if params.label.len() > labels {
        return Err(too_many_labels(labels));
    }
    let k = params.k.unwrap_or(DEFAULT_K);
    let (radius, offset) = (params.radius.unwrap_or(bits), params.offset.unwrap_or(0));
    if !(1..=MAX_K).contains(&k) {
        return Err(wrong(format!("k is {k}; give 1 to {MAX_K}")));
    }
    if offset > MAX_K - k {
        let message = format!(
            "k is {k} and offset is {offset}; together give at most {MAX_K}: to go further, narrow the search, for example by `filter`"
        );
        return Err(wrong(message));
    }
    if radius > bits {
        let message = format!("radius is {radius}; codes have {bits} bits, give 0 to {bits}");
        return Err(wrong(message));
    }
    let (codes, rerank) = (params.codes.unwrap_or(false), params.rerank.unwrap_or(false));
    if let Some(candidates) = params.rescore {
        if rerank {
            return Err(wrong("`rerank` and `rescore` are two orders: give one".into()));
        }
        let least = k + offset;
        if !(least..=MOST_CANDIDATES).contains(&candidates) {
            let what = if offset == 0 { "k" } else { "k and offset" };
            let message =
                format!("rescore is {candidates}; give {least} ({what}) to {MOST_CANDIDATES}");
            return Err(wrong(message));
        }
    }
    if let Some(budget) = params.budget_us {
        if rerank {
            let message = "`rerank` orders all that is found: leave `budget_us` out";
            return Err(wrong(message.into()));
        }
        if !(1..=MAX_BUDGET_US).contains(&budget) {
            return Err(wrong(format!("budget_us is {budget}; give 1 to {MAX_BUDGET_US}")));
        }
    }
    let explain = params.explain.unwrap_or(false);
    if explain && (rerank || params.rescore.is_some() || params.budget_us.is_some()) {
        let message = "`explain` says how an exact search by code was made: leave `rerank`, `rescore` and `budget_us` out";
        return Err(wrong(message.into()));
    }
    let (labels, filter, rescore) = (params.label, params.filter, params.rescore);
    let metadata = params.metadata.unwrap_or(false);
    let budget = params.budget_us.map(Duration::from_micros);
    Ok(Extent {
        k,
        offset,
        radius,
        labels,
        filter,
        codes,
        metadata,
        rerank,
        rescore,
        budget,
        mean: params.mean.unwrap_or(false),
        explain,
    })
}

pub(super) fn wrong(message: String) -> ApiError {
    ApiError::BadRequest("invalid_parameter", message)
}

fn parse(query: &str) -> Result<SearchParams, String> {
    let mut params = SearchParams::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let repeated = match &*name {
            "k" => params.k.replace(number(&name, &value)?).is_some(),
            "offset" => params.offset.replace(number(&name, &value)?).is_some(),
            "explain" => params.explain.replace(truth(&name, &value)?).is_some(),
            "mean" => params.mean.replace(truth(&name, &value)?).is_some(),
            "radius" => params.radius.replace(number(&name, &value)?).is_some(),
            "codes" => params.codes.replace(truth(&name, &value)?).is_some(),
            "rescore" => params.rescore.replace(number(&name, &value)?).is_some(),
            "budget_us" => params.budget_us.replace(number(&name, &value)?).is_some(),
            "rerank" => params.rerank.replace(truth(&name, &value)?).is_some(),
            "metadata" => params.metadata.replace(truth(&name, &value)?).is_some(),
            "filter" => params.filter.replace(value.into_owned()).is_some(),
            "label" => push_label(&mut params.label, value)?,
            _ => {
                return Err(format!(
                    "there is no parameter `{name}`; there are k, offset, radius, label, filter, codes, metadata, rerank, rescore, budget_us, mean and explain"
                ));
            }
        };
        if repeated {
            return Err(format!("`{name}` is given twice"));
        }
    }
    Ok(params)
}

/// Appends a label. Returns `false`, which means "not given twice", because labels may be repeated.
pub(super) fn push_label(labels: &mut Vec<String>, label: Cow<'_, str>) -> Result<bool, String> {
    if label.len() > LABEL {
        return Err(format!("a `label` is longer than {LABEL} bytes"));
    }
    labels.push(label.into_owned());
    Ok(false)
}

pub(super) fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|_| digits);
    number.ok_or_else(|| format!("`{name}` is {value:?}; give a whole number"))
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("`{name}` is {value:?}; give true or false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_checked() {
        let bounds = Bounds { bits: 48, labels: 3 };
        let read = |query: &str| extent(&format!("/v1/search?{query}").parse().unwrap(), bounds);
        let all =
            read("k=5&offset=7&radius=9&label=a%20b&label=c&codes=true&rerank=true&metadata=true")
                .unwrap();
        let labels = vec!["a b".to_owned(), "c".to_owned()];
        let expected = Extent {
            k: 5,
            offset: 7,
            radius: 9,
            labels,
            filter: None,
            codes: true,
            metadata: true,
            rerank: true,
            rescore: None,
            budget: None,
            mean: false,
            explain: false,
        };
        assert_eq!(all, expected);
        assert_eq!(all.reach(), 12);
        assert!(read("offset=980").is_ok() && read("k=1&offset=999&explain=true").is_ok());
        let timed = read("k=5&rescore=50&budget_us=300").unwrap();
        let budget = Some(Duration::from_micros(300));
        assert_eq!((timed.rescore, timed.budget), (Some(50), budget));
        assert!(!timed.is_plain() && !read("budget_us=1").unwrap().is_plain());
        let filtered = read("filter=%7B%22must%22%3A%5B%5D%7D").unwrap();
        assert_eq!(filtered.filter.as_deref(), Some("{\"must\":[]}"));
        assert!(!filtered.is_plain() && !read("metadata=true").unwrap().is_plain());
        let none = read("").unwrap();
        assert!(none.is_plain());
        assert_eq!((none.k, none.radius, none.labels.len()), (DEFAULT_K, 48, 0));
        for (query, part) in [
            ("k=0", "1 to 1000"),
            ("k=1001", "1 to 1000"),
            ("k=-1", "whole number"),
            ("k=+5", "whole number"),
            ("k=", "whole number"),
            ("k=1&k=2", "twice"),
            ("filter=a&filter=b", "twice"),
            ("radius=49", "48 bits"),
            ("codes=1", "true or false"),
            ("k=5&rescore=4", "5 (k) to 10000"),
            ("rescore=10001", "20 (k) to 10000"),
            ("rerank=true&rescore=50", "two orders"),
            ("budget_us=0", "1 to 10000000"),
            ("budget_us=10000001", "1 to 10000000"),
            ("rerank=true&budget_us=5", "leave `budget_us` out"),
            ("limit=3", "rerank, rescore, budget_us, mean and explain"),
            ("offset=981", "k is 20 and offset is 981; together give at most 1000"),
            ("offset=18446744073709551615", "together give at most 1000"),
            ("offset=-1", "whole number"),
            ("k=5&offset=5&rescore=9", "10 (k and offset) to 10000"),
            ("explain=yes", "true or false"),
            ("explain=true&rerank=true", "leave `rerank`, `rescore` and `budget_us` out"),
            ("explain=true&rescore=50", "leave `rerank`, `rescore` and `budget_us` out"),
            ("explain=true&budget_us=50", "leave `rerank`, `rescore` and `budget_us` out"),
            (&format!("label={}", "a".repeat(LABEL + 1)), "longer than 256 bytes"),
        ] {
            match read(query) {
                Err(ApiError::BadRequest("invalid_parameter", message)) => {
                    assert!(message.contains(part), "{message}");
                }
                other => panic!("{query}: {other:?}"),
            }
        }
        assert!(read("label=a&label=b&label=c").is_ok());
        match read("label=a&label=b&label=c&label=d") {
            Err(ApiError::BadRequest("unknown_label", message)) => {
                assert!(message.contains("at most 3"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}
