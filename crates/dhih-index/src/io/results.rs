//! Writes search results as safetensors files. The commands of the program print them as text.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::hits::{Hit, RescoredHit};
use crate::io::tensor_file::{self, Tensor};

/// Writes the hits of k-NN searches as the tensors `distances` u32 `[q, k]` and `ids` u64 `[q, k]`. Where a query has fewer than
/// `k` hits, its row ends with distance `u32::MAX` and id `u64::MAX`; where it has more, only the first `k` are written.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("hits.safetensors");
/// use dhih_index::{Codes, Flat, write_knn};
///
/// let codes = Codes::new(8, vec![0x0f, 0xf0])?;
/// let hits = Flat::new(&codes).knn_batch(&codes, 2)?;
/// write_knn(&file, 2, &hits)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A file that cannot be written.
pub fn write_knn(path: impl AsRef<Path>, k: usize, results: &[Vec<Hit>]) -> Result<()> {
    let none = Hit { distance: u32::MAX, id: u64::MAX };
    let padded = move || {
        results
            .iter()
            .flat_map(move |hits| hits.iter().copied().chain(std::iter::repeat(none)).take(k))
    };
    let shape = vec![results.len() as u64, k as u64];
    let tensors = vec![
        Tensor::u32("distances", shape.clone(), padded().map(|hit| hit.distance)),
        Tensor::u64("ids", shape, padded().map(|hit| hit.id)),
    ];
    tensor_file::write(path.as_ref(), &BTreeMap::new(), tensors)
}

/// Writes rescored hits as [`write_knn`] does, by falling similarity, and `similarities` f32 `[q, k]`, minus infinity where there is no hit.
///
/// # Errors
/// A file that cannot be written.
pub fn write_rescored(
    path: impl AsRef<Path>,
    k: usize,
    results: &[Vec<RescoredHit>],
) -> Result<()> {
    let none = (f32::NEG_INFINITY, u32::MAX, u64::MAX);
    let padded = move || {
        results.iter().flat_map(move |hits| {
            let hits = hits.iter().map(|hit| (hit.similarity, hit.distance, hit.id));
            hits.chain(std::iter::repeat(none)).take(k)
        })
    };
    let shape = || vec![results.len() as u64, k as u64];
    let tensors = vec![
        Tensor::u32("distances", shape(), padded().map(|(_, distance, _)| distance)),
        Tensor::f32("similarities", shape(), padded().map(|(similarity, ..)| similarity)),
        Tensor::u64("ids", shape(), padded().map(|(.., id)| id)),
    ];
    tensor_file::write(path.as_ref(), &BTreeMap::new(), tensors)
}

/// Writes the hits of radius searches as the tensors `distances` u32 and `ids` u64, in which the hits of all queries follow each
/// other, and `offsets` u64 `[q + 1]`: the hits of query `i` are at `offsets[i]..offsets[i + 1]`.
///
/// # Errors
/// A file that cannot be written.
pub fn write_within(path: impl AsRef<Path>, results: &[Vec<Hit>]) -> Result<()> {
    let hits = || results.iter().flatten();
    let ends = results.iter().scan(0, |end, hits| {
        *end += hits.len() as u64;
        Some(*end)
    });
    let total = vec![hits().count() as u64];
    let tensors = vec![
        Tensor::u64("offsets", vec![results.len() as u64 + 1], std::iter::once(0).chain(ends)),
        Tensor::u32("distances", total.clone(), hits().map(|hit| hit.distance)),
        Tensor::u64("ids", total, hits().map(|hit| hit.id)),
    ];
    tensor_file::write(path.as_ref(), &BTreeMap::new(), tensors)
}
