//! `Index` of Python, and `build`, which makes one. Searches: `search.rs`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use dhih_index::{
    CheckpointOptions, CodeSet, Index, IndexBuilder, IndexConfig, IndexWriter, Rescore, VectorType,
};
use pyo3::prelude::*;

use crate::code_set::{Given, PyCodeSet, owned};
use crate::error::{Error, Result};
use crate::evaluation::to_python;
use crate::search::{self, Nearest, Within};
use crate::threads::released;

/// An index in a directory, opened: exact search among binary codes. Threads may share it.
///
/// Searches see the index as it was when it was opened, and what this object changed since; `Index(path)` again sees what
/// others changed.
///
///     >>> import dhih, numpy, tempfile
///     >>> codes = numpy.array([[0b0000], [0b0001], [0b0111]], dtype=numpy.uint8)
///     >>> index = dhih.build(codes, tempfile.mkdtemp())
///     >>> distances, ids = index.search(codes[:1], 2)
///     >>> distances, ids
///     (array([[0, 1]], dtype=uint32), array([[0, 1]], dtype=uint64))
#[pyclass(frozen, name = "Index", module = "dhih")]
pub(crate) struct PyIndex {
    path: PathBuf,
    /// As it was last opened or changed.
    index: RwLock<Arc<Index>>,
    /// Held while it is changed: the calls of this object wait for each other.
    writing: Mutex<()>,
}

impl PyIndex {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let index = RwLock::new(Arc::new(Index::open(path)?));
        Ok(Self { path: path.to_owned(), index, writing: Mutex::new(()) })
    }

    fn now(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Items that are to be added.
    fn items(
        &self,
        codes: &Bound<'_, PyAny>,
        ids: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<CodeSet> {
        let bits = codes.cast::<PyCodeSet>().is_err().then(|| self.now().bits());
        owned("codes", codes, Given { bits, ids, labels, ..Given::default() })
    }

    /// Changes it by a writer that is there for this change only, so that others can write too.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut IndexWriter) -> dhih_index::Result<T>,
    ) -> Result<T> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = IndexWriter::open(&self.path)?;
        let changed = change(&mut writer);
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(writer.snapshot());
        Ok(changed?)
    }
}

#[pymethods]
impl PyIndex {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        released(py, || Self::open(&path))
    }

    /// The k nearest items of each query, by distance, then id: distances uint32 [q, k] and ids uint64 [q, k].
    ///
    /// `queries` are packed codes, uint8 [q, ceil(bits / 8)], or a CodeSet. `label` (a number, a name, or several) and `ids`
    /// restrict the search to items with one of these labels, among these ids. Where fewer than k items are found, a row
    /// ends with distances 2**32 - 1 and ids 2**64 - 1.
    ///
    /// With `rescore`, so many candidates are found by code, and the k most similar of these by the cosine of their vectors are returned:
    /// similarities float32 [q, k], ids, and certain_within int64 [q]: every item whose code is within so many bits was rescored, -1
    /// for none. The index was built with vectors, and `queries` is the CodeSet that a codec made of vectors. A row that has fewer than k
    /// ends with similarities of minus infinity.
    #[pyo3(signature = (queries, k, *, label=None, ids=None, rescore=None))]
    fn search<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        k: usize,
        label: Option<&Bound<'py, PyAny>>,
        ids: Option<&Bound<'py, PyAny>>,
        rescore: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let index = self.now();
        let filter = search::filter(&index, label, ids)?;
        let codes = search::queries(&index, queries)?;
        match rescore {
            None => {
                let found: Nearest<'py> = search::nearest(py, &index, &codes, k, filter)?;
                Ok(found.into_pyobject(py)?.into_any())
            }
            Some(candidates) => {
                let set = queries.cast::<PyCodeSet>().ok().and_then(|set| set.get().vector_set());
                let vectors = set.ok_or_else(|| {
                    let expected = "a CodeSet of a codec, which has vectors to rescore with";
                    Error::argument("queries", expected, "codes without vectors")
                })?;
                let rescore = Rescore::new(k, candidates);
                let found = search::rescored(py, &index, (&codes, vectors), &rescore, filter)?;
                Ok(found.into_pyobject(py)?.into_any())
            }
        }
    }

    /// All items within `radius` bits of each query, by distance, then id: (offsets, distances, ids).
    ///
    /// The hits of query i are distances[offsets[i]:offsets[i + 1]] and ids[offsets[i]:offsets[i + 1]]. Arguments as for search.
    ///
    ///     >>> import dhih, numpy, tempfile
    ///     >>> codes = numpy.array([[0b0000], [0b0001], [0b0111]], dtype=numpy.uint8)
    ///     >>> index = dhih.build(codes, tempfile.mkdtemp())
    ///     >>> offsets, distances, ids = index.radius_search(codes, 1)
    ///     >>> ids[offsets[1]:offsets[2]]
    ///     array([1, 0], dtype=uint64)
    #[pyo3(signature = (queries, radius, *, label=None, ids=None))]
    fn radius_search<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        radius: u32,
        label: Option<&Bound<'py, PyAny>>,
        ids: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Within<'py>> {
        self.within(py, queries, radius, None, label, ids)
    }

    /// All items within `radius` bits of each query, or the `k` nearest of them: (offsets, distances, ids) as for radius_search.
    ///
    ///     >>> import dhih, numpy, tempfile
    ///     >>> codes = numpy.array([[0b0000], [0b0001], [0b0111]], dtype=numpy.uint8)
    ///     >>> index = dhih.build(codes, tempfile.mkdtemp())
    ///     >>> offsets, distances, ids = index.within(codes, 2, k=2)
    ///     >>> ids[offsets[1]:offsets[2]]
    ///     array([1, 0], dtype=uint64)
    #[pyo3(signature = (queries, radius, *, k=None, label=None, ids=None))]
    fn within<'py>(
        &self,
        py: Python<'py>,
        queries: &Bound<'py, PyAny>,
        radius: u32,
        k: Option<usize>,
        label: Option<&Bound<'py, PyAny>>,
        ids: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Within<'py>> {
        let index = self.now();
        let filter = search::filter(&index, label, ids)?;
        let queries = search::queries(&index, queries)?;
        search::within(py, &index, &queries, search::SearchBound { radius, k }, filter)
    }

    /// Adds items. They are on disk when this returns.
    ///
    /// `codes` are packed codes or a CodeSet. Items without ids are numbered after the greatest id that there is. Items have
    /// labels where those of the index have. One call with many items is much faster than many calls.
    ///
    ///     >>> import dhih, numpy, tempfile
    ///     >>> codes = numpy.array([[0b0000], [0b0111]], dtype=numpy.uint8)
    ///     >>> index = dhih.build(codes, tempfile.mkdtemp())
    ///     >>> index.add(codes, ids=[40, 30])
    ///     >>> index.remove([0, 7])
    ///     1
    ///     >>> len(index), 40 in index, 0 in index
    ///     (3, True, False)
    #[pyo3(signature = (codes, *, ids=None, labels=None))]
    fn add(
        &self,
        py: Python<'_>,
        codes: &Bound<'_, PyAny>,
        ids: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let set = self.items(codes, ids, labels)?;
        released(py, || self.change(|writer| writer.add(&set)))
    }

    /// Adds items, or replaces those that have the same ids; returns how many were added, and how many replaced. They are on disk when
    /// this returns, all of them or, after a failure, none. Arguments as for add.
    ///
    ///     >>> import dhih, numpy, tempfile
    ///     >>> codes = numpy.array([[0b0000], [0b0111]], dtype=numpy.uint8)
    ///     >>> index = dhih.build(codes, tempfile.mkdtemp())
    ///     >>> index.upsert(codes, ids=[1, 2])
    ///     (1, 1)
    #[pyo3(signature = (codes, *, ids=None, labels=None))]
    fn upsert(
        &self,
        py: Python<'_>,
        codes: &Bound<'_, PyAny>,
        ids: Option<&Bound<'_, PyAny>>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(usize, usize)> {
        let set = self.items(codes, ids, labels)?;
        let changed = released(py, || self.change(|writer| writer.upsert(&set)))?;
        Ok((changed.added, changed.replaced))
    }

    /// Writes the index as it is now into another directory, while it may be changed: a backup that can be opened, or moved to where the
    /// index was. Its files are hard links where the file system has them, unless `copy` is true.
    ///
    ///     >>> import dhih, numpy, os, tempfile
    ///     >>> codes = numpy.array([[0b0000], [0b0111]], dtype=numpy.uint8)
    ///     >>> path = tempfile.mkdtemp()
    ///     >>> index = dhih.build(codes, os.path.join(path, "index"))
    ///     >>> index.checkpoint(os.path.join(path, "backup"))
    ///     >>> len(dhih.Index(os.path.join(path, "backup")))
    ///     2
    #[pyo3(signature = (path, *, copy=false))]
    fn checkpoint(&self, py: Python<'_>, path: PathBuf, copy: bool) -> PyResult<()> {
        let options = CheckpointOptions::default().with_copy(copy);
        released(py, || Ok(self.now().checkpoint(&path, options)?))
    }

    /// Removes items; returns how many of these ids there were. They are gone from the disk when this returns.
    fn remove(&self, py: Python<'_>, ids: &Bound<'_, PyAny>) -> PyResult<usize> {
        let ids = crate::arrays::ids(ids)?;
        released(py, || self.change(|writer| writer.remove(&ids)))
    }

    /// Turns all data files and the log of changes into one data file, without what was removed.
    fn compact(&self, py: Python<'_>) -> PyResult<()> {
        released(py, || self.change(IndexWriter::compact))
    }

    /// Checks every byte of the index.
    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        released(py, || Ok(self.now().verify().map(drop)?))
    }

    /// What the index is, in numbers: what `dhih-index inspect --json` prints.
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &released(py, || Ok(self.now().info()))?)
    }

    /// All items, by id. Copies them.
    fn codes(&self, py: Python<'_>) -> PyResult<PyCodeSet> {
        let set = released(py, || Ok(self.now().to_code_set()?))?;
        PyCodeSet::new(py, set)
    }

    /// Length of a code in bits.
    #[getter]
    fn bits(&self) -> u32 {
        self.now().bits()
    }

    /// Names of the classes; empty where they have none.
    #[getter]
    fn classes(&self) -> Vec<String> {
        self.now().classes().to_vec()
    }

    /// SHA-256 of the model that made the codes, or None.
    #[getter]
    fn model_sha256(&self) -> Option<String> {
        self.now().model_sha256().map(str::to_owned)
    }

    /// The directory.
    #[getter]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn __len__(&self) -> usize {
        self.now().len()
    }

    fn __contains__(&self, id: i128) -> bool {
        u64::try_from(id).is_ok_and(|id| self.now().contains(id))
    }

    fn __repr__(&self) -> String {
        let index = self.now();
        format!(
            "<dhih.Index {:?}: {} codes of {} bits>",
            self.path.display().to_string(),
            index.len(),
            index.bits()
        )
    }
}

/// Builds an index in a directory, which is made where it is missing; an index that is there is replaced. Returns it, opened.
///
/// `codes` are packed codes, uint8 [n, ceil(bits / 8)], of eight bits a byte unless `bits` says how many, or a CodeSet. `ids`
/// are 0 to n - 1 unless given. `labels` are numbers, one an item, or rows of 0 and 1 with a column a class. `substrings` is the
/// number of the index's tables, chosen by itself unless given. The vectors of a CodeSet that has some are kept, to rescore with, as
/// `vectors` says: "f32", "f16" or "int8".
///
///     >>> import dhih, numpy, tempfile
///     >>> codes = numpy.array([[0b0000], [0b0001], [0b0111]], dtype=numpy.uint8)
///     >>> index = dhih.build(codes, tempfile.mkdtemp(), bits=4, ids=[7, 8, 9], labels=[0, 1, 1])
///     >>> index.search(codes[:1], 1, label=1)
///     (array([[1]], dtype=uint32), array([[8]], dtype=uint64))
#[pyfunction]
#[pyo3(signature = (codes, path, *, bits=None, ids=None, labels=None, substrings=None, vectors=None))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub(crate) fn build(
    py: Python<'_>,
    codes: &Bound<'_, PyAny>,
    path: PathBuf,
    bits: Option<u32>,
    ids: Option<&Bound<'_, PyAny>>,
    labels: Option<&Bound<'_, PyAny>>,
    substrings: Option<u32>,
    vectors: Option<&str>,
) -> PyResult<PyIndex> {
    let number = vectors.map(str::parse::<VectorType>).transpose();
    let number = number.map_err(|_| {
        Error::argument("vectors", "\"f32\", \"f16\" or \"int8\"", vectors.unwrap_or_default())
    })?;
    let set = owned("codes", codes, Given { bits, ids, labels, ..Given::default() })?;
    if number.is_some() && set.vectors.is_none() {
        let expected = "a CodeSet of a codec, which has vectors to keep";
        return Err(Error::argument("codes", expected, "codes without vectors").into());
    }
    released(py, || {
        let config = IndexConfig::default().with_substrings(substrings).with_vectors(number);
        IndexBuilder::new(config).build(&set, &path)?;
        PyIndex::open(&path)
    })
}
