//! `Encoder` of Python: images to codes; `find_pictures`, the pictures of a folder; and `pack`, real values to codes.

use std::ffi::CString;
use std::path::PathBuf;

use dhih_index::Codes;
use dhih_model::image::{Limits, Picture, PictureReader};
use dhih_model::walk::Walk;
use dhih_model::{Encoder, InputShape};
use dhih_train::{Progress, RunDir, device};
use numpy::PyUntypedArrayMethods;
use numpy::{Ix2, Ix3, Ix4, PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray};
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use rayon::prelude::*;

use crate::arrays;
use crate::error::{Error, Result};
use crate::threads::{released, released_here};

/// A trained network as a function from images to codes, on the CPU. Threads may share it.
///
/// `path` is a run's directory, or its model.safetensors. With an encoder, a picture of any size becomes a code like this:
///
///     codes = encoder.encode_files(["a.jpg", "b.png"])                     # of files
///     codes = encoder.encode(numpy.stack([encoder.fit(picture), ...]))     # of arrays
#[pyclass(frozen, name = "Encoder", module = "dhih")]
pub(crate) struct PyEncoder(Encoder, PictureReader);

/// A picture that is not decoded yet.
#[derive(FromPyObject)]
pub(crate) enum File {
    /// Its bytes.
    Bytes(PyBackedBytes),
    /// Where it is.
    Path(PathBuf),
}

impl PyEncoder {
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let file = if path.is_dir() { path.join(RunDir::MODEL) } else { path };
        Ok(Self(
            Encoder::load(&file, &device("cpu", Progress::Silent)?)?,
            PictureReader::new(Limits::files()),
        ))
    }

    fn images<'py>(&self, given: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArray<'py, u8, Ix4>> {
        let images = arrays::read::<u8, Ix4>("images", given)?;
        let InputShape { height, width, channels, .. } = self.0.input();
        if images.shape()[1..] != [height, width, channels] {
            let expected = format!("[n, {height}, {width}, {channels}]; `fit` makes pictures so");
            return Err(Error::argument("images", expected, format!("{:?}", images.shape())).into());
        }
        Ok(images)
    }

    /// Decodes, crops and scales.
    fn pixels(&self, (at, file): (usize, &File)) -> Result<Vec<u8>> {
        let read;
        let (name, bytes) = match file {
            File::Bytes(bytes) => (format!("picture {at}"), &**bytes),
            File::Path(path) => {
                read = std::fs::read(path).map_err(Error::io(path))?;
                (path.display().to_string(), &read[..])
            }
        };
        let fitted = self.1.fitted(bytes, self.0.input());
        fitted.map_err(|cause| Error::Picture { file: name, cause })
    }
}

#[pymethods]
impl PyEncoder {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        released(py, || Self::open(path))
    }

    /// Real-valued codes, float32 [n, bits], of images, uint8 [n, height, width, channels] of the shape input_shape.
    ///
    /// A bit is 1 where its value is not negative. The code of an image is the same to the last bit, whatever it is encoded with.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let images = self.images(images)?;
        let images = images.as_slice()?;
        let values = released(py, || Ok(self.0.encode(images)?))?;
        arrays::rows(py, values, self.0.bits())
    }

    /// Packed codes, uint8 [n, ceil(bits / 8)], of images as encode takes them: pack(encode(images)), in less memory.
    fn encode_packed<'py>(
        &self,
        py: Python<'py>,
        images: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<u8>>> {
        let images = self.images(images)?;
        let (count, width) = (images.shape()[0], self.0.bits().div_ceil(8));
        let images = images.as_slice()?;
        let codes = released(py, || {
            let mut codes = arrays::filled(0, count, width)?;
            self.0.encode_packed_into(images, &mut codes)?;
            Ok(codes)
        })?;
        arrays::rows(py, codes, width)
    }

    /// Real-valued codes, float32 [n, bits], of pictures of any size (JPEG, PNG, WebP, GIF, BMP, TIFF): paths, or files' bytes.
    ///
    /// Decoded, cropped and scaled as by the command and the service. The first that cannot be used raises. find_pictures lists those of
    /// a folder.
    fn encode_files<'py>(
        &self,
        py: Python<'py>,
        files: Vec<File>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let values = released(py, || {
            // A few batches are decoded at once, which bounds memory, and at least two pictures a thread.
            let at_once =
                (4 * self.0.input().inference_batch()).max(2 * rayon::current_num_threads());
            let (mut values, mut pixels) = (Vec::new(), Vec::new());
            for (first, files) in (0..).step_by(at_once).zip(files.chunks(at_once)) {
                let numbered = files.par_iter().enumerate();
                let decoded = numbered.map(|(at, file)| self.pixels((first + at, file)));
                let decoded: Vec<_> = decoded.collect::<Result<_>>()?;
                pixels.clear();
                pixels.extend(decoded.into_iter().flatten());
                values.extend(self.0.encode(&pixels)?);
            }
            Ok(values)
        })?;
        arrays::rows(py, values, self.0.bits())
    }

    /// A picture, uint8 [height, width, 3] of any size in RGB, as one image for encode: the largest centred part of the
    /// network's proportions, scaled to its input; luma where that has one channel.
    fn fit<'py>(
        &self,
        py: Python<'py>,
        picture: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray3<u8>>> {
        let picture = arrays::read::<u8, Ix3>("picture", picture)?;
        let shape = self.0.input();
        let (height, width) = match picture.shape() {
            &[height, width, 3] if height * width > 0 => (height, width),
            other => {
                let got = format!("{other:?}");
                return Err(Error::argument("picture", "[height, width, 3]", got).into());
            }
        };
        let pixels = picture.as_slice()?;
        let fitted = released(py, || Ok(Picture::new(width, height, pixels.to_vec())?.fit(shape)))?;
        PyArray1::from_vec(py, fitted).reshape([shape.height, shape.width, shape.channels])
    }

    /// Length of a code in bits.
    #[getter]
    fn bits(&self) -> usize {
        self.0.bits()
    }

    /// Names of the classes, in label order.
    #[getter]
    fn classes(&self) -> Vec<String> {
        self.0.classes().to_vec()
    }

    /// (height, width, channels) of one image.
    #[getter]
    fn input_shape(&self) -> (usize, usize, usize) {
        let InputShape { height, width, channels, .. } = self.0.input();
        (height, width, channels)
    }

    /// SHA-256 of the model's file, in hexadecimal: codes of two models must not be mixed.
    #[getter]
    fn model_sha256(&self) -> &str {
        self.0.model_sha256()
    }

    fn __repr__(&self) -> String {
        let (height, width, channels) = self.input_shape();
        format!("<dhih.Encoder: {height} x {width} x {channels} to {} bits>", self.bits())
    }
}

/// Paths of the pictures below a folder, at any depth, in the order of dhih-train encode.
///
/// Pictures are known by their content, links are followed once, hidden names are left out. What cannot be read is passed over with a
/// UserWarning; with strict=True it raises.
///
///     files = dhih.find_pictures("photos")
///     codes = dhih.pack(encoder.encode_files(files))
#[pyfunction]
#[pyo3(signature = (folder, *, strict = false))]
pub(crate) fn find_pictures(
    py: Python<'_>,
    folder: PathBuf,
    strict: bool,
) -> PyResult<Vec<PathBuf>> {
    let Walk { files, left_out, .. } = released(py, || {
        let walk = Walk::pictures(&folder).map_err(Error::io(&folder))?;
        if strict {
            walk.left_out.refuse_faults_and(&walk.files)?;
        }
        Ok(walk)
    })?;
    if let (false, Some(summary)) = (left_out.faults().is_empty(), left_out.summary()) {
        let summary = CString::new(summary)?;
        PyErr::warn(py, &py.get_type::<PyUserWarning>(), &summary, 1)?;
    }
    Ok(files)
}

/// Packs the signs of real-valued codes, float32 [n, bits], to uint8 [n, ceil(bits / 8)]: a bit is 1 where a value is not
/// negative, and bit k of a code is bit k % 8 of byte k // 8, as numpy.packbits does with bitorder="little".
///
///     >>> import dhih, numpy
///     >>> values = numpy.array([[0.5, -1, 0, 2, -1, -1, -1, -1, 3]], dtype=numpy.float32)
///     >>> dhih.pack(values)
///     array([[13,  1]], dtype=uint8)
#[pyfunction]
pub(crate) fn pack<'py>(
    py: Python<'py>,
    values: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray2<u8>>> {
    let values = arrays::read::<f32, Ix2>("values", values)?;
    let bits = u32::try_from(values.shape()[1]).unwrap_or(u32::MAX);
    let values = values.as_slice()?;
    let codes = released_here(py, || Ok(Codes::from_real(bits, values)?))?;
    let width = codes.bytes_per_code();
    arrays::rows(py, codes.into_bytes(), width)
}
