//! `CodeSet` of Python: codes with ids, labels and origin as arrays, and the way to dhih-index's own and back.

use std::path::PathBuf;

use dhih_index::{CodeSet, Codes, VectorSet};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use crate::arrays;
use crate::threads::released;

/// The codes of a set of items, and what is known of them: what a codes file holds.
///
/// `codes` are uint8 `[n, ceil(bits / 8)]`, bit k of a code being bit `k % 8` of byte `k // 8`; `bits` is eight a byte unless
/// given. `ids` are uint64 `[n]`, None for 0 to n - 1; `labels` int64 `[n]`, or uint8 `[n, classes]` of 0 and 1; `classes` the
/// names of the classes; `model_sha256` tells of which model the codes are.
///
///     >>> import dhih, numpy
///     >>> set = dhih.CodeSet(numpy.array([[1, 2], [3, 4]], dtype=numpy.uint8), labels=[0, 1])
///     >>> set.bits, len(set), set.labels
///     (16, 2, array([0, 1]))
#[pyclass(frozen, name = "CodeSet", module = "dhih")]
pub(crate) struct PyCodeSet {
    /// Packed codes, uint8 `[n, ceil(bits / 8)]`.
    #[pyo3(get)]
    codes: Py<PyArray2<u8>>,
    /// Length of a code in bits.
    #[pyo3(get)]
    bits: u32,
    /// The items' ids, uint64 `[n]`; None stands for 0 to n - 1.
    #[pyo3(get)]
    ids: Option<Py<PyArray1<u64>>>,
    /// Class numbers, int64 `[n]`, -1 for none; or 0 and 1, uint8 `[n, classes]`. None where there are none.
    #[pyo3(get)]
    labels: Option<Py<PyAny>>,
    /// Names of the classes; empty where they have none.
    #[pyo3(get)]
    classes: Vec<String>,
    /// SHA-256 of the model that made the codes, in hexadecimal, or None.
    #[pyo3(get)]
    model_sha256: Option<String>,
    /// What the model was computed in where that is not floating point: "int8"; else None.
    #[pyo3(get)]
    precision: Option<String>,
    /// The vectors that the codes were made of, for an index to keep and to rescore with.
    vectors: Option<VectorSet>,
}

/// What a caller says of codes beside the codes themselves.
#[derive(Default)]
pub(crate) struct Given<'a, 'py> {
    pub(crate) bits: Option<u32>,
    pub(crate) ids: Option<&'a Bound<'py, PyAny>>,
    pub(crate) labels: Option<&'a Bound<'py, PyAny>>,
    pub(crate) classes: Option<Vec<String>>,
    pub(crate) model_sha256: Option<String>,
}

/// An array of codes, or a `CodeSet`, as dhih-index takes it: it owns its codes, so this copies them. What is given beside a
/// `CodeSet` counts in place of its own.
pub(crate) fn owned(
    what: &str,
    codes: &Bound<'_, PyAny>,
    given: Given<'_, '_>,
) -> PyResult<CodeSet> {
    let py = codes.py();
    let set = codes.cast::<PyCodeSet>().ok().map(Bound::get);
    let array = set.map_or_else(|| codes.clone(), |set| set.codes.bind(py).clone().into_any());
    let (array, bits) = arrays::codes(what, &array, given.bits.or(set.map(|set| set.bits)))?;
    let mut owned = CodeSet::new(Codes::new(bits, array.as_slice()?.to_vec()).map_err(own)?);
    owned.ids = match (given.ids, set.and_then(|set| set.ids.as_ref())) {
        (Some(ids), _) => Some(arrays::ids(ids)?),
        (None, Some(ids)) => Some(ids.bind(py).readonly().as_slice()?.to_vec()),
        (None, None) => None,
    };
    let labels = set.and_then(|set| set.labels.as_ref()).map(|labels| labels.bind(py));
    owned.labels = given.labels.or(labels).map(arrays::labels).transpose()?;
    let classes = given.classes.or_else(|| set.map(|set| set.classes.clone()));
    owned.classes = classes.unwrap_or_default();
    owned.vectors = set.and_then(|set| set.vectors.clone());
    owned.precision = set.and_then(|set| set.precision.clone());
    owned.model_sha256 =
        given.model_sha256.or_else(|| set.and_then(|set| set.model_sha256.clone()));
    Ok(owned)
}

fn own(error: dhih_index::Error) -> crate::error::Error {
    error.into()
}

impl PyCodeSet {
    /// Of a set, whose codes it takes over.
    pub(crate) fn new(py: Python<'_>, set: CodeSet) -> PyResult<Self> {
        let CodeSet { codes, ids, labels, classes, model_sha256, precision, vectors } = set;
        let (bits, width) = (codes.bits(), codes.bytes_per_code());
        Ok(Self {
            codes: arrays::rows(py, codes.into_bytes(), width)?.unbind(),
            bits,
            ids: ids.map(|ids| PyArray1::from_vec(py, ids).unbind()),
            labels: labels
                .map(|labels| arrays::labels_to_python(py, labels).map(Bound::unbind))
                .transpose()?,
            classes,
            model_sha256,
            precision,
            vectors,
        })
    }

    /// The vectors; `None` where there are none.
    pub(crate) fn vector_set(&self) -> Option<&VectorSet> {
        self.vectors.as_ref()
    }

    /// The codes, their length, and the model that made them.
    pub(crate) fn codes(&self) -> (&Py<PyArray2<u8>>, u32, Option<&str>) {
        (&self.codes, self.bits, self.model_sha256.as_deref())
    }
}

#[pymethods]
impl PyCodeSet {
    #[new]
    #[pyo3(signature = (codes, *, bits=None, ids=None, labels=None, classes=None, model_sha256=None))]
    fn python(
        codes: &Bound<'_, PyAny>,
        bits: Option<u32>,
        ids: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
        classes: Option<Vec<String>>,
        model_sha256: Option<String>,
    ) -> PyResult<Self> {
        let py = codes.py();
        let set = owned("codes", codes, Given { bits, ids, labels, classes, model_sha256 })?;
        let set = released(py, || Ok(set.check().map(|()| set)?))?;
        Self::new(py, set)
    }

    /// The vectors that the codes were made of, float32 [n, dims]; None where they are not known. Codes files have none.
    #[getter]
    fn vectors<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray2<f32>>>> {
        let Some(vectors) = &self.vectors else { return Ok(None) };
        let numbers = released(py, || Ok(vectors.to_numbers()?))?;
        Ok(Some(arrays::rows(py, numbers, vectors.dims())?))
    }

    /// Writes a codes file: Parquet or npy by the path's extension, safetensors otherwise.
    ///
    /// An npy file holds the packed codes alone.
    fn write(slf: &Bound<'_, Self>, path: PathBuf) -> PyResult<()> {
        let set = owned("codes", slf.as_any(), Given::default())?;
        released(slf.py(), || Ok(set.write(&path)?))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.codes.bind(py).len()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let labels = if self.labels.is_some() { ", labelled" } else { "" };
        Ok(format!("<dhih.CodeSet: {} codes of {} bits{labels}>", self.__len__(py)?, self.bits))
    }
}

/// Reads a codes file: npy or Parquet by its extension, safetensors otherwise.
///
/// npy files, and Parquet files of others, do not say how long their codes are: they need `bits`.
#[pyfunction]
#[pyo3(signature = (path, bits=None))]
pub(crate) fn read_codes(py: Python<'_>, path: PathBuf, bits: Option<u32>) -> PyResult<PyCodeSet> {
    let set = released(py, || Ok(CodeSet::read(&path, bits)?))?;
    PyCodeSet::new(py, set)
}
