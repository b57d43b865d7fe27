//! The similarity of a query to stored vectors. `kernel/` computes the sums of products.

use serde::Serialize;

use crate::error::{Error, Result, VectorError};
use crate::vectors::kernel;
use crate::vectors::stored::{Stored, VectorForm, VectorType};

/// The measure of similarity.
///
/// For vectors that are kept as [`Int8`](VectorType::Int8), the query is rounded to 8 bits as they are. The inner product then differs from
/// that of the vectors as they were given by at most `s * |y|_1 / 2 + t * |x|_1 / 2 + d * s * t / 4`, where `x` and `y` have `d` numbers,
/// `s` and `t` are their greatest magnitudes by 127, and `|.|_1` is the sum of magnitudes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Similarity {
    /// The cosine of the angle between the two, from -1 to 1 up to rounding; 0 for a vector of zeros.
    #[default]
    Cosine,
    /// The sum of the products of their numbers.
    InnerProduct,
}

/// A query, ready to be compared with stored vectors of one form.
#[derive(Debug, Clone)]
pub(crate) struct QueryVector {
    form: VectorForm,
    similarity: Similarity,
    numbers: Numbers,
}

#[derive(Debug, Clone)]
enum Numbers {
    Float(Vec<f32>),
    Int8 { numbers: Vec<i8>, sum: i32, scale: f64 },
}

impl QueryVector {
    /// A query of these numbers.
    ///
    /// # Errors
    /// [`VectorError::Query`]: another number of them, one that is not finite, a vector without a direction where the angle counts.
    pub(crate) fn new(form: VectorForm, similarity: Similarity, vector: &[f32]) -> Result<Self> {
        let wrong = |reason: String| Error::from(VectorError::Query { reason });
        // The form that the query takes: its numbers are kept as they are unless they are multiplied with whole numbers.
        let number = match form.number {
            VectorType::F32 | VectorType::F16 => VectorType::F32,
            VectorType::Int8 => VectorType::Int8,
        };
        let (own, mut bytes) = (VectorForm { number, ..form }, Vec::new());
        own.encode(vector, &mut bytes).map_err(wrong)?;
        let Stored { length, scale, numbers } = own.parts(&bytes);
        if similarity == Similarity::Cosine && length == 0.0 {
            return Err(wrong("it is a vector of zeros, which has no direction".to_owned()));
        }
        let by = match similarity {
            Similarity::Cosine => f64::from(length),
            Similarity::InnerProduct => 1.0,
        };
        let numbers = match number {
            VectorType::Int8 => {
                let numbers: Vec<i8> = numbers.iter().map(|&byte| byte as i8).collect();
                let sum = numbers.iter().map(|&number| i32::from(number)).sum();
                Numbers::Int8 { numbers, sum, scale: f64::from(scale) / by }
            }
            _ => Numbers::Float(vector.iter().map(|&x| (f64::from(x) / by) as f32).collect()),
        };
        Ok(Self { form, similarity, numbers })
    }

    /// The similarity of a stored vector.
    pub(crate) fn similarity(&self, stored: &[u8]) -> f32 {
        let Stored { length, scale, numbers } = self.form.parts(stored);
        let product = match (&self.numbers, self.form.number) {
            (Numbers::Int8 { numbers: query, sum, scale: own }, _) => {
                f64::from(kernel::int8(query, *sum, numbers)) * own * f64::from(scale)
            }
            (Numbers::Float(query), VectorType::F16) => f64::from(kernel::f16(query, numbers)),
            (Numbers::Float(query), _) => f64::from(kernel::f32(query, numbers)),
        };
        let similarity = match self.similarity {
            Similarity::Cosine if length == 0.0 => 0.0,
            // Rounding may lead a little beyond 1, of which no angle has that cosine.
            Similarity::Cosine => (product / f64::from(length)).clamp(-1.0, 1.0),
            Similarity::InnerProduct => product,
        };
        // Adding zero makes -0 the same as 0.
        similarity as f32 + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (1..200_usize).prop_flat_map(|dims| {
            let number = || prop_oneof![Just(0.0_f32), -2.0..2.0_f32, Just(1.0_f32)];
            let vector = || prop::collection::vec(number(), dims);
            (vector(), vector())
        })
    }

    fn stored(form: VectorForm, vector: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        form.encode(vector, &mut bytes).unwrap();
        bytes
    }

    fn exact(x: &[f32], y: &[f32]) -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    }

    fn magnitudes(x: &[f32]) -> (f64, f64) {
        let sum = x.iter().map(|x| f64::from(x.abs())).sum();
        (sum, x.iter().fold(0.0, |max: f64, x| max.max(f64::from(x.abs()))) / 127.0)
    }

    proptest! {
        #[test]
        fn products_are_within_their_bounds((x, y) in pairs()) {
            let dims = x.len() as u32;
            let ((x_sum, s), (y_sum, t)) = (magnitudes(&x), magnitudes(&y));
            let expected = exact(&x, &y);
            let rounding = 1e-6 * x_sum.max(1.0) * y_sum.max(1.0);
            for (number, bound) in [
                (VectorType::F32, 0.0),
                (VectorType::F16, exact(&x.iter().map(|x| x.abs()).collect::<Vec<_>>(), &y.iter().map(|y| y.abs()).collect::<Vec<_>>()) / 2048.0 + 1e-6),
                (VectorType::Int8, s * y_sum / 2.0 + t * x_sum / 2.0 + f64::from(dims) * s * t / 4.0),
            ] {
                let form = VectorForm { number, dims };
                let query = QueryVector::new(form, Similarity::InnerProduct, &x).unwrap();
                let found = f64::from(query.similarity(&stored(form, &y)));
                prop_assert!((found - expected).abs() <= bound + rounding, "{number}: {found}, not {expected}");
            }
        }

        #[test]
        fn the_cosine_is_the_product_by_the_lengths((x, y) in pairs()) {
            let dims = x.len() as u32;
            for number in [VectorType::F32, VectorType::F16, VectorType::Int8] {
                let form = VectorForm { number, dims };
                let Ok(query) = QueryVector::new(form, Similarity::Cosine, &x) else {
                    prop_assert!(x.iter().all(|x| *x == 0.0));
                    continue;
                };
                let itself = query.similarity(&stored(form, &x));
                prop_assert!(itself <= 1.0 && (itself - 1.0).abs() < if number == VectorType::F16 { 1e-3 } else { 1e-5 }, "{number}: {itself}");
                let (bytes, mut read) = (stored(form, &y), Vec::new());
                form.decode(&bytes, &mut read);
                let mut own = Vec::new();
                let of_query = if number == VectorType::Int8 { form } else { VectorForm { number: VectorType::F32, ..form } };
                of_query.decode(&stored(of_query, &x), &mut own);
                let lengths = exact(&own, &own).sqrt() * exact(&read, &read).sqrt();
                let expected = if lengths == 0.0 { 0.0 } else { exact(&own, &read) / lengths };
                let found = f64::from(query.similarity(&bytes));
                prop_assert!((found - expected).abs() < 1e-5, "{number}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn queries_that_cannot_be_compared_are_refused() {
        let form = VectorForm { number: VectorType::F16, dims: 2 };
        let reason = |similarity, vector: &[f32]| {
            QueryVector::new(form, similarity, vector).unwrap_err().to_string()
        };
        assert!(reason(Similarity::Cosine, &[0.0, 0.0]).contains("no direction"));
        assert!(reason(Similarity::Cosine, &[1.0]).contains("1 numbers, not 2"));
        assert!(reason(Similarity::InnerProduct, &[1.0, f32::NAN]).contains("NaN"));
        assert!(QueryVector::new(form, Similarity::InnerProduct, &[0.0, 0.0]).is_ok());
        // Tiny vectors have a direction, too.
        for number in [VectorType::F32, VectorType::Int8] {
            let form = VectorForm { number, dims: 2 };
            let query = QueryVector::new(form, Similarity::Cosine, &[3e-30, 4e-30]).unwrap();
            let found = query.similarity(&stored(form, &[3e-30, 4e-30]));
            assert!((found - 1.0).abs() < 1e-5, "{number}: {found}");
        }
    }
}
