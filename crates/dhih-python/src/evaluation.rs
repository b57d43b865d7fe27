//! `evaluate` of Python: the metrics of dhih-train, as a dictionary with the keys of `dhih-train evaluate --json`.

use dhih_train::evaluation::{self, Empty, EvaluationConfig};
use pyo3::prelude::*;
use serde::Serialize;

use crate::code_set::{Given, owned};
use crate::error::{Error, Result};
use crate::threads::released;

/// Measures labelled queries against a labelled database: the dictionary that `dhih-train evaluate --json` prints.
///
/// `database` and `queries` are packed codes or CodeSets; labels are theirs, unless given: numbers, one an item, or rows of 0 and
/// 1 with a column a class. `map_at` and `precision_at` are the k of mAP@k and the N of precision@N, 100, 1000, 5000 and 1, 10, 100,
/// 1000 unless given. `empty` says what a query without a relevant item in its top k adds to mAP@k: "zero", or "omit".
///
///     >>> import dhih, numpy
///     >>> codes = numpy.array([[0b0000], [0b0001], [0b1111], [0b0111]], dtype=numpy.uint8)
///     >>> found = dhih.evaluate(codes, codes[:2], database_labels=[0, 0, 1, 1], query_labels=[0, 0])
///     >>> found["map"], found["map_at"], found["distinct_codes"]
///     (1.0, {'4': 1.0}, 4)
#[pyfunction]
#[pyo3(signature = (database, queries, *, database_labels=None, query_labels=None, bits=None,
    map_at=None, precision_at=None, empty="zero"))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub(crate) fn evaluate<'py>(
    py: Python<'py>,
    database: &Bound<'py, PyAny>,
    queries: &Bound<'py, PyAny>,
    database_labels: Option<&Bound<'py, PyAny>>,
    query_labels: Option<&Bound<'py, PyAny>>,
    bits: Option<u32>,
    map_at: Option<Vec<usize>>,
    precision_at: Option<Vec<usize>>,
    empty: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let config = config(map_at, precision_at, empty)?;
    let labelled = |labels| Given { bits, labels, ..Given::default() };
    let database = owned("database", database, labelled(database_labels))?;
    let queries = owned("queries", queries, labelled(query_labels))?;
    let metrics = released(py, || {
        database.check()?;
        queries.check()?;
        Ok(evaluation::evaluate(&database, &queries, &config)?)
    })?;
    to_python(py, &metrics)
}

/// What to measure, checked.
pub(crate) fn config(
    map_at: Option<Vec<usize>>,
    precision_at: Option<Vec<usize>>,
    empty: &str,
) -> Result<EvaluationConfig> {
    let default = EvaluationConfig::default();
    let empty = match empty {
        "zero" => Empty::Zero,
        "omit" => Empty::Omit,
        other => {
            return Err(Error::argument("empty", "\"zero\" or \"omit\"", format!("{other:?}")));
        }
    };
    let map_at = map_at.unwrap_or(default.map_at);
    if map_at.contains(&0) {
        return Err(Error::argument("map_at", "at least 1", "0"));
    }
    Ok(EvaluationConfig {
        map_at,
        precision_at: precision_at.unwrap_or(default.precision_at),
        empty,
    })
}

/// A value as Python reads its JSON: numbers are the ones that the commands print, to the last digit.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    value: &impl Serialize,
) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|error| Error::Defect { reason: error.to_string() })?;
    read_json(py, &text)
}

/// A JSON text as Python reads it.
pub(crate) fn read_json<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (text,))
}
