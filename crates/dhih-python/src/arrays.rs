//! Numpy arrays as arguments and results. An argument of the right type is read where it lies; only one whose rows are not
//! one after the other in memory is copied. A result is the memory that it was computed in.

use dhih_index::Labels;
use numpy::{
    Element, Ix1, Ix2, PyArray, PyArray1, PyArray2, PyArrayDescrMethods, PyArrayMethods,
    PyReadonlyArray, PyUntypedArray, PyUntypedArrayMethods, dtype, ndarray::Dimension,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::error::{Error, Result};

/// An array of `T` with as many axes as `D`, C-contiguous.
pub(crate) fn read<'py, T: Element, D: Dimension>(
    what: &str,
    given: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    let py = given.py();
    let Ok(array) = given.cast::<PyUntypedArray>() else {
        let got = given.get_type().name()?;
        return Err(PyTypeError::new_err(format!("{what}: expected a numpy array, got {got}")));
    };
    let expected = dtype::<T>(py);
    if !array.dtype().is_equiv_to(&expected) {
        let got = array.dtype();
        return Err(PyTypeError::new_err(format!("{what}: expected {expected}, got {got}")));
    }
    if D::NDIM.is_some_and(|axes| axes != array.ndim()) {
        let expected = format!("{} axes", D::NDIM.unwrap_or_default());
        return Err(Error::argument(what, expected, format!("{:?}", array.shape())).into());
    }
    let array = numpy(py)?.call_method1("require", (array, py.None(), "CA"))?;
    Ok(array.cast_into::<PyArray<T, D>>()?.try_readonly()?)
}

/// Packed codes and their length in bits: eight a byte where `bits` does not say it.
pub(crate) fn codes<'py>(
    what: &str,
    given: &Bound<'py, PyAny>,
    bits: Option<u32>,
) -> PyResult<(PyReadonlyArray<'py, u8, Ix2>, u32)> {
    let codes = read::<u8, Ix2>(what, given)?;
    let columns = codes.shape()[1];
    let bits = bits.unwrap_or((columns * 8).try_into().unwrap_or(u32::MAX));
    let width = dhih_index::bytes_per_code(bits);
    if columns != width {
        let expected = format!("[n, {width}] for codes of {bits} bits");
        return Err(Error::argument(what, expected, format!("{:?}", codes.shape())).into());
    }
    Ok((codes, bits))
}

/// Whole numbers of any kind as ids.
pub(crate) fn ids(given: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    let array = whole_numbers("ids", given)?;
    let smallest: Option<i128> = match array.len()? {
        0 => None,
        _ => Some(array.call_method0("min")?.call_method0("item")?.extract()?),
    };
    if let Some(smallest) = smallest.filter(|smallest| *smallest < 0) {
        return Err(Error::argument("ids", "no number below 0", smallest.to_string()).into());
    }
    let ids = array.call_method1("astype", ("uint64",))?;
    Ok(read::<u64, Ix1>("ids", &ids)?.as_slice()?.to_vec())
}

/// Class numbers of any kind of whole number, one an item; or rows of 0 and 1, bool or uint8, with a column a class.
pub(crate) fn labels(given: &Bound<'_, PyAny>) -> PyResult<Labels> {
    let array = numpy(given.py())?.call_method1("asarray", (given,))?;
    if array.getattr("ndim")?.extract::<usize>()? == 2 {
        let array = match array.getattr("dtype")?.getattr("kind")?.extract::<char>()? {
            'b' => array.call_method1("view", ("uint8",))?,
            _ => array,
        };
        let rows = read::<u8, Ix2>("labels of several classes", &array)?;
        return Ok(Labels::MultiHot {
            classes: rows.shape()[1],
            values: rows.as_slice()?.to_vec(),
        });
    }
    let array = whole_numbers("labels", &array)?;
    let labels = array.call_method1("astype", ("int64", "C", "safe"))?;
    Ok(Labels::Single(read::<i64, Ix1>("labels", &labels)?.as_slice()?.to_vec()))
}

/// Labels as they are given.
pub(crate) fn labels_to_python<'py>(
    py: Python<'py>,
    labels: Labels,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(match labels {
        Labels::Single(labels) => PyArray1::from_vec(py, labels).into_any(),
        Labels::MultiHot { classes, values } => rows(py, values, classes)?.into_any(),
        _ => py.None().into_bound(py),
    })
}

/// Values as an array of rows, which takes them over.
pub(crate) fn rows<T: Element>(
    py: Python<'_>,
    values: Vec<T>,
    columns: usize,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    let shape = [values.len() / columns.max(1), columns];
    PyArray1::from_vec(py, values).reshape(shape)
}

/// `rows * columns` times `value`; where memory does not hold them, an error in place of the end of the process.
pub(crate) fn filled<T: Clone>(value: T, rows: usize, columns: usize) -> Result<Vec<T>> {
    let memory = || Error::Memory { values: rows as u128 * columns as u128 };
    let len = rows.checked_mul(columns).ok_or_else(memory)?;
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| memory())?;
    values.resize(len, value);
    Ok(values)
}

/// An array or a list of whole numbers, one axis.
fn whole_numbers<'py>(what: &str, given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let array = numpy(given.py())?.call_method1("asarray", (given,))?;
    let axes: usize = array.getattr("ndim")?.extract()?;
    if axes != 1 {
        return Err(Error::argument(what, "one axis", format!("{axes}")).into());
    }
    let dtype = array.getattr("dtype")?;
    match dtype.getattr("kind")?.extract::<char>()? {
        'i' | 'u' | 'b' => Ok(array),
        // An empty list has no kind of its own.
        _ if array.len()? == 0 => array.call_method1("astype", ("int64",)),
        _ => Err(PyTypeError::new_err(format!("{what}: expected whole numbers, got {dtype}"))),
    }
}

fn numpy(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("numpy")
}
