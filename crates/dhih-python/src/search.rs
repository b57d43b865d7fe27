//! Searches of an index as Python asks for them: arrays of queries, filters by label and id, arrays of hits.

use dhih_index::{CodeSet, Codes, Filter, Hit, Index, Rescore, VectorSet};
use dhih_model::walk::nfc;
use numpy::{Ix2, PyArray1, PyArray2, PyReadonlyArray};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use rayon::prelude::*;

use crate::arrays;
use crate::code_set::PyCodeSet;
use crate::error::{Error, Result};
use crate::threads::{released, released_for_one_query};

/// Distances and ids of `q` queries, `[q, k]` each.
pub(crate) type Nearest<'py> = (Bound<'py, PyArray2<u32>>, Bound<'py, PyArray2<u64>>);
/// Where each query's hits begin, `[q + 1]`, and distances and ids of all of them.
pub(crate) type Within<'py> =
    (Bound<'py, PyArray1<u64>>, Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u64>>);

/// A label that is looked for, or several.
#[derive(FromPyObject)]
enum Wanted {
    /// A number or a name of a class.
    One(Label),
    /// Any of these.
    Any(Vec<Label>),
}

/// A class.
#[derive(FromPyObject)]
enum Label {
    /// By its number.
    Number(i64),
    /// By its name.
    Name(String),
}

/// Which items are looked for; `None` where all are.
pub(crate) fn filter(
    index: &Index,
    label: Option<&Bound<'_, PyAny>>,
    ids: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Filter>> {
    let mut filter = Filter::default();
    if let Some(label) = label {
        let wanted = match label.extract() {
            Ok(Wanted::One(label)) => vec![label],
            Ok(Wanted::Any(labels)) => labels,
            Err(_) => {
                let message = "label: expected a number, a name, or a list of these, got";
                return Err(PyTypeError::new_err(format!("{message} {}", label.repr()?)));
            }
        };
        let numbers = |label| numbers(index, label);
        let numbers: Vec<Vec<i64>> = wanted.into_iter().map(numbers).collect::<Result<_>>()?;
        filter = filter.labels(numbers.concat());
    }
    if let Some(ids) = ids {
        filter = filter.ids(arrays::ids(ids)?);
    }
    Ok((filter != Filter::default()).then_some(filter))
}

/// The number of a class, or the numbers of all classes that have this name.
fn numbers(index: &Index, label: Label) -> Result<Vec<i64>> {
    let name = match label {
        Label::Number(number) => return Ok(vec![number]),
        Label::Name(name) => name,
    };
    let named = |is_named: &dyn Fn(&str) -> bool| -> Vec<i64> {
        let classes = (0..).zip(index.classes());
        classes.filter(|(_, class)| is_named(class)).map(|(number, _)| number).collect()
    };
    let mut found = named(&|class| class == name);
    if found.is_empty() {
        // The normal form in which an accent is one character, however the name of a class folder spells it.
        found = named(&|class| nfc(class) == nfc(&name));
    }
    if found.is_empty() {
        let expected = format!("a number or one of the classes {:?}", index.classes());
        return Err(Error::argument("label", expected, format!("{name:?}")));
    }
    Ok(found)
}

/// Codes that an index can answer, where they lie.
pub(crate) fn queries<'py>(
    index: &Index,
    given: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray<'py, u8, Ix2>> {
    let Ok(set) = given.cast::<PyCodeSet>() else {
        return Ok(arrays::codes("queries", given, Some(index.bits()))?.0);
    };
    let (codes, bits, model) = set.get().codes();
    let none = Codes::new(bits, Vec::new()).map_err(Error::from)?;
    let of_model = CodeSet { model_sha256: model.map(str::to_owned), ..CodeSet::new(none) };
    index.check_queries(&of_model).map_err(Error::from)?;
    Ok(arrays::codes("queries", codes.bind(given.py()), Some(bits))?.0)
}

/// The `k` nearest of each query.
pub(crate) fn nearest<'py>(
    py: Python<'py>,
    index: &Index,
    queries: &PyReadonlyArray<'py, u8, Ix2>,
    k: usize,
    filter: Option<Filter>,
) -> PyResult<Nearest<'py>> {
    let (queries, width) = (queries.as_slice()?, dhih_index::bytes_per_code(index.bits()));
    let alone = queries.len() == width;
    let work = || {
        if k == 0 {
            return Err(dhih_index::Error::ZeroK.into());
        }
        let some = filter.map(|filter| index.select(&filter));
        let count = queries.len() / width;
        let mut distances = arrays::filled(u32::MAX, count, k)?;
        let mut ids = arrays::filled(u64::MAX, count, k)?;
        let search = |(query, (distances, ids)): (&[u8], (&mut [u32], &mut [u64]))| {
            let hits = match &some {
                Some(some) => some.knn(query, k),
                None => index.knn(query, k),
            };
            for (hit, (distance, id)) in hits?.iter().zip(distances.iter_mut().zip(ids)) {
                (*distance, *id) = (hit.distance, hit.id);
            }
            Ok::<(), Error>(())
        };
        if alone {
            search((queries, (&mut distances, &mut ids)))?;
        } else {
            let rows = distances.par_chunks_mut(k).zip(ids.par_chunks_mut(k));
            queries.par_chunks(width).zip(rows).try_for_each(search)?;
        }
        Ok((distances, ids))
    };
    let (distances, ids) =
        if alone { released_for_one_query(py, work) } else { released(py, work) }?;
    Ok((arrays::rows(py, distances, k)?, arrays::rows(py, ids, k)?))
}

/// Similarities and ids of `q` queries, `[q, k]` each, and how far each answer is certain, `[q]`.
pub(crate) type MostSimilar<'py> =
    (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray2<u64>>, Bound<'py, PyArray1<i64>>);

/// The most similar of the candidates of each query.
pub(crate) fn rescored<'py>(
    py: Python<'py>,
    index: &Index,
    (queries, vectors): (&PyReadonlyArray<'py, u8, Ix2>, &VectorSet),
    rescore: &Rescore,
    filter: Option<Filter>,
) -> PyResult<MostSimilar<'py>> {
    let (queries, k) = (queries.as_slice()?, rescore.k);
    let (similarities, ids, certain) = released(py, || {
        let codes = Codes::new(index.bits(), queries.to_vec())?;
        let numbers = vectors.to_numbers()?;
        let answers = match filter {
            Some(filter) => index.select(&filter).knn_rescored_batch(&codes, &numbers, rescore),
            None => index.knn_rescored_batch(&codes, &numbers, rescore),
        }?;
        let mut similarities = arrays::filled(f32::NEG_INFINITY, answers.len(), k)?;
        let mut ids = arrays::filled(u64::MAX, answers.len(), k)?;
        let rows = similarities.chunks_mut(k.max(1)).zip(ids.chunks_mut(k.max(1)));
        for (answer, (similarities, ids)) in answers.iter().zip(rows) {
            for (hit, (similarity, id)) in answer.hits.iter().zip(similarities.iter_mut().zip(ids))
            {
                (*similarity, *id) = (hit.similarity, hit.id);
            }
        }
        let within = |within: Option<u32>| within.map_or(-1, i64::from);
        let certain = answers.iter().map(|answer| within(answer.certificate.certain_within));
        Ok((similarities, ids, certain.collect()))
    })?;
    let certain = PyArray1::from_vec(py, certain);
    Ok((arrays::rows(py, similarities, k)?, arrays::rows(py, ids, k)?, certain))
}

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchBound {
    pub(crate) radius: u32,
    /// The most hits of a query; `None` for all.
    pub(crate) k: Option<usize>,
}

/// All within a radius of each query, or the nearest of them.
pub(crate) fn within<'py>(
    py: Python<'py>,
    index: &Index,
    queries: &PyReadonlyArray<'py, u8, Ix2>,
    bound: SearchBound,
    filter: Option<Filter>,
) -> PyResult<Within<'py>> {
    let (queries, width) = (queries.as_slice()?, dhih_index::bytes_per_code(index.bits()));
    let alone = queries.len() == width;
    let work = || {
        let some = filter.map(|filter| index.select(&filter));
        let SearchBound { radius, k } = bound;
        let search = |query| match (&some, k) {
            (Some(some), None) => some.within(query, radius),
            (None, None) => index.within(query, radius),
            (Some(some), Some(k)) => some.knn_within(query, k, radius),
            (None, Some(k)) => index.knn_within(query, k, radius),
        };
        let found: Vec<Vec<Hit>> = match alone {
            true => vec![search(queries)?],
            false => {
                queries.par_chunks(width).map(search).collect::<dhih_index::Result<Vec<_>>>()?
            }
        };
        let mut offsets = Vec::with_capacity(found.len() + 1);
        offsets.push(0);
        offsets.extend(found.iter().scan(0, |end, hits| {
            *end += hits.len() as u64;
            Some(*end)
        }));
        let hits = || found.iter().flatten();
        let distances: Vec<u32> = hits().map(|hit| hit.distance).collect();
        let ids: Vec<u64> = hits().map(|hit| hit.id).collect();
        Ok((offsets, distances, ids))
    };
    let (offsets, distances, ids) =
        if alone { released_for_one_query(py, work) } else { released(py, work) }?;
    let array = (PyArray1::from_vec(py, offsets), PyArray1::from_vec(py, distances));
    Ok((array.0, array.1, PyArray1::from_vec(py, ids)))
}
