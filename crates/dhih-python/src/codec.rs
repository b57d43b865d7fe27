//! `Codec` of Python: vectors, such as embeddings, to codes.

use std::ops::Range;
use std::path::PathBuf;

use dhih_index::{CodeSet, Codes, VectorSet};
use dhih_model::codec::{Codec, FitConfig, Method, Rows, fit};
use dhih_train::Progress;
use dhih_train::vectors::head::{HeadConfig, Labelled, TrainedHead, train_head};
use dhih_train::vectors::views::{TwoViews, ViewsConfig, train_views};
use numpy::{Ix2, PyReadonlyArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arrays;
use crate::code_set::PyCodeSet;
use crate::error::{Error, Result};
use crate::threads::released;

/// Vectors, such as embeddings, to codes: a linear map whose signs are the bits. Threads may share it.
///
///     >>> import dhih, numpy, tempfile
///     >>> x = numpy.random.default_rng(0).standard_normal((1000, 32)).astype(numpy.float32)
///     >>> codec = dhih.Codec.fit(x, bits=16)
///     >>> index = dhih.build(codec.encode(x), tempfile.mkdtemp(), vectors="int8")
///     >>> similarities, ids, certain_within = index.search(codec.encode(x[:2]), 10, rescore=100)
///     >>> ids[:, 0]
///     array([0, 1], dtype=uint64)
#[pyclass(frozen, name = "Codec", module = "dhih")]
pub(crate) struct PyCodec(Codec);

/// Vectors in an array.
struct ArrayRows<'a> {
    numbers: &'a [f32],
    dims: usize,
}

impl<'a> ArrayRows<'a> {
    fn of(array: &'a PyReadonlyArray<'_, f32, Ix2>) -> PyResult<Self> {
        Ok(Self { numbers: array.as_slice()?, dims: array.shape()[1] })
    }
}

impl Rows for ArrayRows<'_> {
    fn len(&self) -> usize {
        self.numbers.len() / self.dims.max(1)
    }

    fn dims(&self) -> usize {
        self.dims
    }

    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> dhih_model::Result<()> {
        to.extend_from_slice(&self.numbers[rows.start * self.dims..rows.end * self.dims]);
        Ok(())
    }
}

/// float32 `[n, dims]`.
pub(crate) fn vectors<'py>(given: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArray<'py, f32, Ix2>> {
    arrays::read("vectors", given)
}

#[pymethods]
impl PyCodec {
    /// Fits a codec to vectors, float32 [n, dims].
    ///
    /// `method` is `itq` (iterative quantisation), `pca-sign`, `rotation` or `sign`; vectors are brought to length 1 first unless
    /// `normalize` is false. At the lengths `nested`, ascending, the first bits are codes of their own: see `shortened`. The same vectors
    /// and `seed` give the same codec.
    #[staticmethod]
    #[pyo3(signature = (vectors, bits=256, method="itq", *, normalize=true, seed=0, iterations=50, nested=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn fit(
        py: Python<'_>,
        vectors: &Bound<'_, PyAny>,
        bits: usize,
        method: &str,
        normalize: bool,
        seed: u64,
        iterations: usize,
        nested: Option<Vec<usize>>,
    ) -> PyResult<Self> {
        let array = self::vectors(vectors)?;
        let rows = ArrayRows::of(&array)?;
        let named = Method::named(method).filter(|method| !method.is_trained());
        let found = named.ok_or_else(|| {
            let fitted = Method::ALL.into_iter().filter(|(_, method, _)| !method.is_trained());
            let names = fitted.map(|(name, ..)| name).collect::<Vec<_>>().join(", ");
            let expected =
                format!("one of {names}; Codec.train and Codec.train_on_views make head");
            Error::argument("method", expected, format!("{method:?}"))
        })?;
        let nested = nested.unwrap_or_default();
        let config = FitConfig { method: found, bits, normalize, seed, iterations, nested };
        released(py, || Ok(Self(fit(&rows, &config, &mut |_| ())?)))
    }

    /// Trains a codec on labelled vectors, float32 [n, dims], with one of the losses.
    ///
    /// `labels` are whole numbers [n], -1 for none, or 0 and 1 [n, classes]; `loss` is a loss and constants of it, as `dhih-train codec --loss`
    /// takes them. `hidden` units with ReLU come before the bits, none at 0. The same vectors, labels and `seed` give the same codec.
    #[staticmethod]
    #[pyo3(signature = (vectors, labels, bits=64, *, loss="hi", hidden=1024, epochs=15, batch_size=256, learning_rate=0.1,
        weight_decay=0.01, label_smoothing=0.0, normalize=true, seed=0, nested=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn train(
        py: Python<'_>,
        vectors: &Bound<'_, PyAny>,
        labels: &Bound<'_, PyAny>,
        bits: usize,
        loss: &str,
        hidden: usize,
        epochs: usize,
        batch_size: usize,
        learning_rate: f64,
        weight_decay: f64,
        label_smoothing: f64,
        normalize: bool,
        seed: u64,
        nested: Option<Vec<usize>>,
    ) -> PyResult<Self> {
        let array = self::vectors(vectors)?;
        let rows = ArrayRows::of(&array)?;
        let labels = arrays::labels(labels)?;
        let loss = loss.parse().map_err(|reason: String| {
            Error::argument("loss", "NAME or NAME:CONSTANT=VALUE".to_owned(), reason)
        })?;
        let (nested, validation) = (nested.unwrap_or_default(), 0.0);
        let config = HeadConfig {
            bits,
            nested,
            normalize,
            loss,
            hidden,
            epochs,
            batch_size,
            learning_rate,
            weight_decay,
            label_smoothing,
            validation,
            seed,
        };
        released(py, || {
            let data = Labelled { rows: &rows, labels: &labels };
            let TrainedHead { codec, .. } = train_head(data, &config, Progress::Silent)?;
            Ok(Self(codec))
        })
    }

    /// Trains a codec on two views of each vector, without labels, both float32 [n, dims]: row i of `views` is the embedding of another crop of
    /// the same picture, of another text with the same meaning, or the like. If it is None, both views are the vector with some of its numbers
    /// left out.
    ///
    /// Training starts from `itq`, fitted to `vectors` in rounds of `iterations`. The same vectors, views and `seed` give the same codec.
    #[staticmethod]
    #[pyo3(signature = (vectors, views=None, bits=256, *, epochs=15, batch_size=256, learning_rate=0.05, normalize=true, seed=0,
        iterations=50, nested=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn train_on_views(
        py: Python<'_>,
        vectors: &Bound<'_, PyAny>,
        views: Option<&Bound<'_, PyAny>>,
        bits: usize,
        epochs: usize,
        batch_size: usize,
        learning_rate: f64,
        normalize: bool,
        seed: u64,
        iterations: usize,
        nested: Option<Vec<usize>>,
    ) -> PyResult<Self> {
        let array = self::vectors(vectors)?;
        let others = views.map(|views| arrays::read::<f32, Ix2>("views", views)).transpose()?;
        let rows = ArrayRows::of(&array)?;
        let others = others.as_ref().map(ArrayRows::of).transpose()?;
        let nested = nested.unwrap_or_default();
        let start = FitConfig { bits, normalize, seed, iterations, nested, ..FitConfig::default() };
        let config = ViewsConfig { start, epochs, batch_size, learning_rate, ..Default::default() };
        released(py, || {
            let others = others.as_ref().map(|others| others as &dyn Rows);
            let data = TwoViews { rows: &rows, others };
            Ok(Self(train_views(data, &config, Progress::Silent)?))
        })
    }

    /// The codec of the first `bits` bits, one of the lengths that it was made with as `nested`.
    fn shortened(&self, py: Python<'_>, bits: usize) -> PyResult<Self> {
        released(py, || Ok(Self(self.0.shortened(bits)?)))
    }

    /// Reads what `save` or `dhih-train codec` wrote.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        released(py, || Ok(Self(Codec::load(&path)?)))
    }

    /// Writes a codec.safetensors, which `dhih-train encode --codec` takes.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        released(py, || Ok(self.0.save(&path)?))
    }

    /// The codes of vectors, float32 [n, dims]: a CodeSet that has the vectors, too, for an index to keep, or to rescore with.
    fn encode(&self, py: Python<'_>, vectors: &Bound<'_, PyAny>) -> PyResult<PyCodeSet> {
        let array = self::vectors(vectors)?;
        let (numbers, dims) = (array.as_slice()?, array.shape()[1]);
        if dims != self.0.dims() {
            let expected = format!("[n, {}]", self.0.dims());
            return Err(Error::argument("vectors", expected, format!("{:?}", array.shape())).into());
        }
        let set = released(py, || self.codes_of(numbers))?;
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
        self.0.dims()
    }

    /// Shorter lengths at which the first bits are codes of their own.
    #[getter]
    fn nested(&self) -> Vec<usize> {
        self.0.config().nested.clone()
    }

    /// How its map was found.
    #[getter]
    fn method(&self) -> &'static str {
        self.0.config().method.name()
    }

    /// SHA-256 of its content, in hexadecimal: codes of two codecs must not be mixed.
    #[getter]
    fn model_sha256(&self) -> &str {
        self.0.sha256()
    }

    fn __repr__(&self) -> String {
        format!(
            "<dhih.Codec: {} numbers to {} bits by {}>",
            self.dims(),
            self.bits(),
            self.method()
        )
    }
}

impl PyCodec {
    fn codes_of(&self, numbers: &[f32]) -> Result<CodeSet> {
        /// Numbers that are coded at once.
        const PART: usize = 1 << 20;
        let (dims, bits) = (self.0.dims(), self.0.bits() as u32);
        let mut codes = Codes::new(bits, Vec::new())?;
        for part in numbers.chunks((PART / dims).max(1) * dims) {
            codes.try_extend(Codes::from_real(bits, &self.0.encode(part)?)?.iter())?;
        }
        Ok(CodeSet {
            vectors: Some(VectorSet::from_f32(dims, numbers)?),
            model_sha256: Some(self.0.sha256().to_owned()),
            ..CodeSet::new(codes)
        })
    }
}
