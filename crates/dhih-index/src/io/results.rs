//! Writing search results as safetensors. Showing them to people: the commands.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Result;
use crate::hits::Hit;
use crate::io::tensor_file::{self, Tensor};

/// Writes the hits of k-NN searches: `distances` u32 `[q, k]` and `ids` u64 `[q, k]`. Where a query
/// has fewer than `k` hits, the row ends with distance `u32::MAX` and id `u64::MAX`.
///
/// # Errors
/// A file that cannot be written; a row of more than `k` hits is cut to `k`.
pub fn write_knn(path: &Path, k: usize, results: &[Vec<Hit>]) -> Result<()> {
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
    tensor_file::write(path, &BTreeMap::new(), tensors)
}

/// Writes the hits of radius searches: `distances` u32 and `ids` u64 of all queries one after the
/// other, and `offsets` u64 `[q + 1]`, where those of query `i` are `offsets[i]..offsets[i + 1]`.
///
/// # Errors
/// A file that cannot be written.
pub fn write_within(path: &Path, results: &[Vec<Hit>]) -> Result<()> {
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
    tensor_file::write(path, &BTreeMap::new(), tensors)
}
