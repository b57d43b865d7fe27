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
    let array = whole_numbers("ids", given, 1)?;
    if kind(&array)? == 'b' {
        let message = "ids: expected whole numbers, got bool: numpy.flatnonzero gives the numbers of the rows that a mask selects";
        return Err(PyTypeError::new_err(message));
    }
    let array = within("ids", array, 0, u64::MAX.into())?;
    let ids = array.call_method1("astype", ("uint64",))?;
    Ok(read::<u64, Ix1>("ids", &ids)?.as_slice()?.to_vec())
}

/// Class numbers of any kind of whole number, one an item; or rows of 0 and 1, with a column a class.
pub(crate) fn labels(given: &Bound<'_, PyAny>) -> PyResult<Labels> {
    let array = numpy(given.py())?.call_method1("asarray", (given,))?;
    if array.getattr("ndim")?.extract::<usize>()? == 2 {
        let what = "labels of several classes";
        let rows = within(what, whole_numbers(what, &array, 2)?, 0, u8::MAX.into())?;
        let rows = rows.call_method1("astype", ("uint8",))?;
        let rows = read::<u8, Ix2>(what, &rows)?;
        return Ok(Labels::MultiHot {
            classes: rows.shape()[1],
            values: rows.as_slice()?.to_vec(),
        });
    }
    let array = whole_numbers("labels", &array, 1)?;
    let array = within("labels", array, i64::MIN.into(), i64::MAX.into())?;
    let labels = array.call_method1("astype", ("int64",))?;
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

/// An array or a list of whole numbers, with so many axes.
fn whole_numbers<'py>(
    what: &str,
    given: &Bound<'py, PyAny>,
    expected_axes: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let array = numpy(given.py())?.call_method1("asarray", (given,))?;
    let axes: usize = array.getattr("ndim")?.extract()?;
    if axes != expected_axes {
        let expected = if expected_axes == 1 { "one axis" } else { "two axes" };
        return Err(Error::argument(what, expected, format!("{axes}")).into());
    }
    match kind(&array)? {
        'i' | 'u' | 'b' => return Ok(array),
        // An empty list has no kind of its own.
        _ if array.len()? == 0 => return array.call_method1("astype", ("int64",)),
        // numpy makes floating-point numbers of a list that has whole numbers with a sign and without one, and objects of larger ones.
        'f' | 'O' if given.cast::<PyUntypedArray>().is_err() => {
            if let Ok(numbers) = given.extract::<Vec<i128>>() {
                return of_integers(what, given.py(), &numbers);
            }
        }
        _ => {}
    }
    let dtype = array.getattr("dtype")?;
    Err(PyTypeError::new_err(format!("{what}: expected whole numbers, got {dtype}")))
}

/// numpy's letter for the kind of an array's numbers.
fn kind(array: &Bound<'_, PyAny>) -> PyResult<char> {
    array.getattr("dtype")?.getattr("kind")?.extract()
}

/// An array of numbers of 64 bits, without a sign where none is negative.
fn of_integers<'py>(what: &str, py: Python<'py>, numbers: &[i128]) -> PyResult<Bound<'py, PyAny>> {
    let unsigned: Option<Vec<u64>> = numbers.iter().map(|&n| n.try_into().ok()).collect();
    if let Some(unsigned) = unsigned {
        return Ok(PyArray1::from_vec(py, unsigned).into_any());
    }
    let signed: Option<Vec<i64>> = numbers.iter().map(|&n| n.try_into().ok()).collect();
    let signed = signed.ok_or_else(|| {
        let (least, largest) = (numbers.iter().min(), numbers.iter().max());
        let got = format!("{} to {}", least.unwrap_or(&0), largest.unwrap_or(&0));
        Error::argument(what, "numbers of 64 bits", got)
    })?;
    Ok(PyArray1::from_vec(py, signed).into_any())
}

/// Whole numbers, none of which is below `least` or above `most`.
fn within<'py>(
    what: &str,
    array: Bound<'py, PyAny>,
    least: i128,
    most: i128,
) -> PyResult<Bound<'py, PyAny>> {
    if array.getattr("size")?.extract::<usize>()? == 0 {
        return Ok(array);
    }
    let found = |method| array.call_method0(method)?.call_method0("item")?.extract::<i128>();
    let (smallest, largest) = (found("min")?, found("max")?);
    if smallest < least {
        let expected = format!("no number below {least}");
        return Err(Error::argument(what, expected, smallest.to_string()).into());
    }
    if largest > most {
        let expected = format!("no number above {most}");
        return Err(Error::argument(what, expected, largest.to_string()).into());
    }
    Ok(array)
}

fn numpy(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("numpy")
}
