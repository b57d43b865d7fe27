//! `VectorSet`: the vectors of the items of a set, in memory or in a file that is read some rows at a time. `stored.rs` defines the stored
//! form of a vector.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use crate::codes::bytes::Bytes;
use crate::error::{Result, VectorError};
use crate::vectors::stored::{VectorForm, VectorType};

/// Vectors that are somewhere else, such as in a file.
pub(crate) trait VectorSource: Debug + Send + Sync {
    /// Appends the numbers of some rows. An error names the row that cannot be used.
    fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> Result<()>;

    /// Gives the memory of some rows back to the system; they stay readable.
    fn release(&self, rows: Range<usize>);

    /// Refuses vectors that somebody has changed since they were opened.
    fn check_unchanged(&self) -> Result<()>;
}

/// Vectors of one length, such as the embeddings that codes were made of. An index keeps them to rescore what it finds by codes.
///
/// ```
/// use dhih_index::{VectorSet, VectorType};
///
/// let set = VectorSet::from_f32(3, &[0.0, 3.0, 4.0, 1.0, 0.0, 0.0])?;
/// assert_eq!((set.len(), set.dims(), set.number_type()), (2, 3, VectorType::F32));
/// assert_eq!(set.get(0)?, [0.0, 3.0, 4.0]);
/// assert_eq!(set.to_type(VectorType::Int8)?.get(1)?, [1.0, 0.0, 0.0]);
/// # Ok::<(), dhih_index::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct VectorSet {
    form: VectorForm,
    rows: Rows,
}

#[derive(Debug, Clone)]
enum Rows {
    /// Stored vectors, one after the other.
    Stored(Bytes),
    /// Consecutive rows of a source.
    Source(Arc<dyn VectorSource>, Range<usize>),
}

impl VectorSet {
    /// Takes vectors of `dims` numbers, one after the other.
    ///
    /// # Shapes
    /// `numbers`: `[n, dims]`, row-major.
    ///
    /// # Errors
    /// [`VectorError::Dims`] for `dims` outside 1..=65536; [`VectorError::Numbers`] for numbers that are not whole vectors; [`VectorError::Unusable`] for
    /// a number that is not finite, and for a vector longer than 1e18.
    pub fn from_f32(dims: usize, numbers: &[f32]) -> Result<Self> {
        let form = form(VectorType::F32, dims)?;
        if !numbers.len().is_multiple_of(dims) {
            return Err(VectorError::Numbers { dims, numbers: numbers.len() }.into());
        }
        let mut bytes = Vec::with_capacity(numbers.len() / dims * form.bytes());
        for (row, vector) in numbers.chunks_exact(dims).enumerate() {
            form.encode(vector, &mut bytes)
                .map_err(|reason| VectorError::Unusable { row, reason })?;
        }
        Ok(Self::of_stored(form, bytes))
    }

    /// Stored vectors, one after the other.
    pub(crate) fn of_stored(form: VectorForm, bytes: Vec<u8>) -> Self {
        debug_assert!(bytes.len().is_multiple_of(form.bytes()));
        Self { form, rows: Rows::Stored(bytes.into()) }
    }

    /// All rows of a source.
    pub(crate) fn of_source(
        number: VectorType,
        [rows, dims]: [usize; 2],
        source: impl VectorSource + 'static,
    ) -> Result<Self> {
        Ok(Self { form: form(number, dims)?, rows: Rows::Source(Arc::new(source), 0..rows) })
    }

    /// The number of vectors.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Stored(bytes) => bytes.len() / self.form.bytes(),
            Rows::Source(_, rows) => rows.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of a vector.
    pub fn dims(&self) -> usize {
        self.form.dims()
    }

    /// The type of the stored numbers.
    pub fn number_type(&self) -> VectorType {
        self.form.number
    }

    /// The numbers of a vector, as they are stored.
    ///
    /// # Errors
    /// A vector of a file that holds NaN or an infinity.
    ///
    /// # Panics
    /// Where there is no such vector, as slices do.
    pub fn get(&self, row: usize) -> Result<Vec<f32>> {
        let mut numbers = Vec::with_capacity(self.dims());
        self.read(row..row + 1, &mut numbers)?;
        Ok(numbers)
    }

    /// The numbers of all vectors, as they are stored.
    ///
    /// # Shapes
    /// Returns `[len, dims]`, row-major.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn to_numbers(&self) -> Result<Vec<f32>> {
        let mut numbers = Vec::with_capacity(self.len() * self.dims());
        self.read(0..self.len(), &mut numbers)?;
        Ok(numbers)
    }

    /// A copy in memory whose numbers have another type.
    ///
    /// # Errors
    /// [`VectorError::Unusable`] for a vector that this type cannot store; as for [`get`](Self::get).
    pub fn to_type(&self, number: VectorType) -> Result<Self> {
        let form = VectorForm { number, ..self.form };
        let mut bytes = Vec::with_capacity(self.len() * form.bytes());
        let mut reader = self.reader(form);
        (0..self.len()).try_for_each(|row| reader.append(row, &mut bytes))?;
        Ok(Self::of_stored(form, bytes))
    }

    pub(crate) fn form(&self) -> VectorForm {
        self.form
    }

    /// Appends the numbers of some vectors.
    pub(crate) fn read(&self, rows: Range<usize>, to: &mut Vec<f32>) -> Result<()> {
        match &self.rows {
            Rows::Stored(bytes) => {
                let width = self.form.bytes();
                let bytes = &bytes[rows.start * width..rows.end * width];
                bytes.chunks_exact(width).for_each(|bytes| self.form.decode(bytes, to));
                Ok(())
            }
            Rows::Source(source, own) => {
                assert!(rows.end <= own.len(), "there are {} vectors", own.len());
                source.read(own.start + rows.start..own.start + rows.end, to)
            }
        }
    }

    /// Consecutive vectors. Those of a file stay there.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        let (form, width) = (self.form, self.form.bytes());
        let rows = match &self.rows {
            Rows::Stored(bytes) => {
                Rows::Stored(bytes[rows.start * width..rows.end * width].to_vec().into())
            }
            Rows::Source(source, own) => {
                Rows::Source(Arc::clone(source), own.start + rows.start..own.start + rows.end)
            }
        };
        Self { form, rows }
    }

    /// A reader of the vectors in the given stored form.
    pub(crate) fn reader(&self, form: VectorForm) -> StoredReader<'_> {
        debug_assert_eq!(form.dims, self.form.dims);
        StoredReader { set: self, form, numbers: Vec::new() }
    }

    /// Gives the memory of some vectors back to the system where they are in a mapped file; they stay readable.
    pub(crate) fn release(&self, rows: Range<usize>) {
        if let Rows::Source(source, own) = &self.rows {
            source.release(own.start + rows.start..own.start + rows.end);
        }
    }

    /// Refuses vectors in a file that somebody has changed since it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        match &self.rows {
            Rows::Stored(_) => Ok(()),
            Rows::Source(source, _) => source.check_unchanged(),
        }
    }
}

impl PartialEq for VectorSet {
    /// Whether both keep the same numbers in the same way. Vectors that cannot be read are equal only to those at the same place in the
    /// same source.
    fn eq(&self, other: &Self) -> bool {
        if self.form != other.form || self.len() != other.len() {
            return false;
        }
        match (&self.rows, &other.rows) {
            (Rows::Stored(a), Rows::Stored(b)) => a == b,
            (Rows::Source(a, rows), Rows::Source(b, others))
                if Arc::ptr_eq(a, b) && rows == others =>
            {
                true
            }
            _ => (0..self.len()).all(|row| match (self.get(row), other.get(row)) {
                (Ok(a), Ok(b)) => a == b,
                _ => false,
            }),
        }
    }
}

impl Eq for VectorSet {}

/// Reads vectors of a set one by one, as they are to be stored.
#[derive(Debug)]
pub(crate) struct StoredReader<'a> {
    set: &'a VectorSet,
    form: VectorForm,
    numbers: Vec<f32>,
}

impl StoredReader<'_> {
    /// Appends the stored vector of a row.
    pub(crate) fn append(&mut self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if let Rows::Stored(bytes) = &self.set.rows
            && self.form == self.set.form
        {
            let width = self.form.bytes();
            out.extend_from_slice(&bytes[row * width..(row + 1) * width]);
            return Ok(());
        }
        self.numbers.clear();
        self.set.read(row..row + 1, &mut self.numbers)?;
        let kept = self.form.encode(&self.numbers, out);
        Ok(kept.map_err(|reason| VectorError::Unusable { row, reason })?)
    }
}

/// The form of vectors with `dims` numbers.
fn form(number: VectorType, dims: usize) -> Result<VectorForm> {
    let form = VectorForm { number, dims: u32::try_from(dims).unwrap_or(u32::MAX) };
    match form.is_possible() {
        true => Ok(form),
        false => Err(VectorError::Dims { dims }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::vectors::stored::MAX_DIMS;

    #[test]
    fn vectors_are_what_was_put_in() {
        let numbers: Vec<f32> = (0..12).map(|x| x as f32 / 4.0 - 1.0).collect();
        let set = VectorSet::from_f32(3, &numbers).unwrap();
        assert_eq!((set.len(), set.is_empty(), set.dims()), (4, false, 3));
        assert_eq!(set.get(2).unwrap(), numbers[6..9]);
        assert_eq!(set.slice(1..3).get(1).unwrap(), numbers[6..9]);
        // These numbers are exact in half precision.
        let half = set.to_type(VectorType::F16).unwrap();
        assert_eq!(half.get(3).unwrap(), numbers[9..]);
        assert!(half != set && half.to_type(VectorType::F32).unwrap() == set);
        assert_ne!(set.slice(0..2), set.slice(1..3));
    }

    #[test]
    fn what_are_no_vectors_is_refused() {
        for dims in [0, MAX_DIMS + 1] {
            assert!(matches!(
                VectorSet::from_f32(dims, &[]),
                Err(Error::Vectors(VectorError::Dims { .. }))
            ));
        }
        let refused = VectorSet::from_f32(3, &[0.0; 4]);
        assert!(matches!(
            refused,
            Err(Error::Vectors(VectorError::Numbers { dims: 3, numbers: 4 }))
        ));
        let refused = VectorSet::from_f32(1, &[0.0, f32::NAN]);
        assert!(matches!(refused, Err(Error::Vectors(VectorError::Unusable { row: 1, .. }))));
        let large = VectorSet::from_f32(1, &[1.0, 1e6]).unwrap();
        assert!(matches!(
            large.to_type(VectorType::F16),
            Err(Error::Vectors(VectorError::Unusable { row: 1, .. }))
        ));
    }
}
