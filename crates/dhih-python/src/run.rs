//! `Run` of Python: the directory that a training leaves, and what lies in it.

use std::path::PathBuf;

use dhih_index::CodeSet;
use dhih_train::RunDir;
use dhih_train::evaluation;
use dhih_train::run::Evaluation;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::code_set::PyCodeSet;
use crate::encoder::PyEncoder;
use crate::error::Error;
use crate::evaluation::{config, read_json, to_python};
use crate::index::PyIndex;
use crate::threads::released;

/// A run: the directory that `dhih-train` writes, runs/latest unless given.
///
///     run = dhih.Run("runs/latest")
///     run.evaluation["map"], run.config["train"]["bits"]
///     encoder, index = run.encoder(), run.index()
#[pyclass(frozen, name = "Run", module = "dhih")]
pub(crate) struct PyRun {
    run: RunDir,
    codes: PyOnceLock<Py<PyCodeSet>>,
    queries: PyOnceLock<Py<PyCodeSet>>,
}

impl PyRun {
    /// One of its codes files, read the first time.
    fn set(
        &self,
        py: Python<'_>,
        kept: &PyOnceLock<Py<PyCodeSet>>,
        name: &str,
    ) -> PyResult<Py<PyCodeSet>> {
        let read = || {
            let set = released(py, || Ok(CodeSet::read(self.run.file(name), None)?))?;
            Py::new(py, PyCodeSet::new(py, set)?)
        };
        kept.get_or_try_init(py, read).map(|set| set.clone_ref(py))
    }
}

#[pymethods]
impl PyRun {
    #[new]
    #[pyo3(signature = (path=PathBuf::from("runs/latest")))]
    fn new(path: PathBuf) -> PyResult<Self> {
        let run = RunDir::open(&path).map_err(Error::from)?;
        run.read_config().map_err(Error::from)?;
        Ok(Self { run, codes: PyOnceLock::new(), queries: PyOnceLock::new() })
    }

    /// The settings and the data they were applied to: config.toml.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.run.read_config().map_err(Error::from)?)
    }

    /// The metrics as they were recorded, and everything they depend on: evaluation.json.
    #[getter]
    fn evaluation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let path = self.run.file(RunDir::EVALUATION);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        read_json(py, &text)
    }

    /// The database's codes with their labels; read once.
    #[getter]
    fn codes(&self, py: Python<'_>) -> PyResult<Py<PyCodeSet>> {
        self.set(py, &self.codes, RunDir::CODES)
    }

    /// The queries' codes with their labels; read once.
    #[getter]
    fn queries(&self, py: Python<'_>) -> PyResult<Py<PyCodeSet>> {
        self.set(py, &self.queries, RunDir::QUERIES)
    }

    /// The directory.
    #[getter]
    fn path(&self) -> PathBuf {
        self.run.path().to_owned()
    }

    /// Its network.
    fn encoder(&self, py: Python<'_>) -> PyResult<PyEncoder> {
        released(py, || PyEncoder::open(self.run.path().to_owned()))
    }

    /// Its index, which `dhih-index build` or `dhih.build(run.codes, run.path / "index")` makes.
    fn index(&self, py: Python<'_>) -> PyResult<PyIndex> {
        released(py, || PyIndex::open(&self.run.file("index")))
    }

    /// Computes the metrics again from the codes: the dictionary that `dhih-train evaluate --run DIR --json` prints, without `precision`,
    /// because no code is computed.
    ///
    /// Arguments as for dhih.evaluate.
    #[pyo3(signature = (*, map_at=None, precision_at=None, empty="zero"))]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        map_at: Option<Vec<usize>>,
        precision_at: Option<Vec<usize>>,
        empty: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let config = config(map_at, precision_at, empty)?;
        let evaluation = released(py, || {
            let read = |name| CodeSet::read(self.run.file(name), None);
            let (database, queries) = (read(RunDir::CODES)?, read(RunDir::QUERIES)?);
            let metrics = evaluation::evaluate(&database, &queries, &config)?;
            let recorded: Evaluation = self.run.read_json(RunDir::EVALUATION)?;
            Ok(Evaluation { metrics, ..recorded })
        })?;
        to_python(py, &evaluation)
    }

    fn __repr__(&self) -> String {
        format!("<dhih.Run {:?}>", self.run.path().display().to_string())
    }
}
