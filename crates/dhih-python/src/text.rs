//! `TextEncoder` of Python: texts to codes that are compared with those of pictures.

use std::ffi::CString;
use std::io;
use std::path::PathBuf;

use dhih_index::{CodeSet, Codes, VectorSet};
use dhih_model::text::TextEncoder;
use dhih_train::{Progress, RunDir, device};
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;

use crate::code_set::PyCodeSet;
use crate::error::{Error, Result};
use crate::threads::released;

/// The text tower of a run, such as that of CLIP, as a function from texts to codes, on the CPU. Threads may share it.
///
/// `path` is the directory of a run that `dhih-train photos` made, or its text.safetensors. With an encoder, the pictures that texts
/// describe are found like this:
///
///     index = dhih.Index("runs/latest/index")
///     texts = dhih.TextEncoder("runs/latest").encode(["a red car", "a dog in the snow"])
///     similarities, ids, certain_within = index.search(texts, 10, rescore=1000)
#[pyclass(frozen, name = "TextEncoder", module = "dhih")]
pub(crate) struct PyTextEncoder(TextEncoder);

impl PyTextEncoder {
    fn open(path: PathBuf) -> Result<Self> {
        let file = if path.is_dir() { path.join(RunDir::TEXT) } else { path };
        if !file.exists() {
            let reason = "there is no text tower; `dhih-train photos` with an encoder such as clip-vit-b32 makes a run with one";
            return Err(Error::io(&file)(io::Error::new(io::ErrorKind::NotFound, reason)));
        }
        Ok(Self(TextEncoder::load(&file, &device("cpu", Progress::Silent)?)?))
    }

    /// The numbers of the texts that the tower has no room for.
    fn too_long(&self, texts: &[String]) -> Result<Vec<usize>> {
        let mut too_long = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let left_out = self.0.left_out(text);
            if left_out.map_err(|cause| Error::Text { number, cause })? > 0 {
                too_long.push(number);
            }
        }
        Ok(too_long)
    }

    fn codes_of(&self, texts: &[String]) -> Result<CodeSet> {
        let encoded = self.0.encode_all(texts)?;
        let (bits, dims) = (self.0.bits() as u32, self.0.config().features);
        let vectors = VectorSet::from_f32(dims, &encoded.features.unwrap_or_default())?;
        Ok(CodeSet {
            vectors: Some(vectors),
            model_sha256: Some(self.0.model_sha256().to_owned()),
            ..CodeSet::new(Codes::from_real(bits, &encoded.values)?)
        })
    }
}

#[pymethods]
impl PyTextEncoder {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        released(py, || Self::open(path))
    }

    /// The codes of texts: a CodeSet that has their vectors, too, to rescore pictures by.
    ///
    /// The first text that is empty or has more than 4,096 bytes raises. A text that is longer than the tower reads loses its end, with a
    /// UserWarning.
    fn encode(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<PyCodeSet> {
        let (too_long, set) =
            released(py, || Ok((self.too_long(&texts)?, self.codes_of(&texts)?)))?;
        if let Some(first) = too_long.first() {
            let (count, all) = (too_long.len(), texts.len());
            let said = CString::new(format!(
                "texts that are longer than the text tower reads, of {all}: {count}; their ends do not count; the first is text {first}"
            ))?;
            PyErr::warn(py, &py.get_type::<PyUserWarning>(), &said, 1)?;
        }
        PyCodeSet::new(py, set)
    }

    /// Length of a code in bits.
    #[getter]
    fn bits(&self) -> usize {
        self.0.bits()
    }

    /// Numbers of a vector.
    #[getter]
    fn dims(&self) -> usize {
        self.0.config().features
    }

    /// Tokens of the longest text, including those at its start and end.
    #[getter]
    fn context(&self) -> usize {
        self.0.config().context
    }

    /// SHA-256 of the model that makes the codes of pictures with which those of texts are compared, in hexadecimal.
    #[getter]
    fn model_sha256(&self) -> &str {
        self.0.model_sha256()
    }

    fn __repr__(&self) -> String {
        format!("<dhih.TextEncoder: {} tokens to {} bits>", self.context(), self.bits())
    }
}
