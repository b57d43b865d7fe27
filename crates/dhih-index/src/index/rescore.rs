//! Rescoring: candidates are found by the distance of their codes, and ordered by the similarity of their vectors. `query.rs` has searches
//! by codes alone, and `vectors/` computes similarities.

use std::time::Duration;

use rayon::prelude::*;
use serde::Serialize;

use crate::codes::Codes;
use crate::error::{Error, Result, VectorError};
use crate::hamming;
use crate::hits::{Hit, RescoredHit};
use crate::index::Index;
use crate::index::certificate::{Certificate, Certified};
use crate::index::scope::Scope;
use crate::index::selection::Selection;
use crate::store::mmap;
use crate::vectors::similarity::{QueryVector, Similarity};

/// Bytes of a vector that are prefetched; the hardware prefetches those after them by itself.
const PREFETCHED: usize = 512;

/// How candidates are found and ordered.
///
/// ```
/// use std::time::Duration;
/// use dhih_index::{Rescore, Similarity};
///
/// // The 10 most similar of the 100 nearest by code, as far as these are found in a millisecond.
/// let rescore = Rescore::new(10, 100)
///     .with_similarity(Similarity::InnerProduct)
///     .with_budget(Duration::from_millis(1));
/// # let _ = rescore;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rescore {
    /// The number of hits.
    pub k: usize,
    /// The number of candidates: the items that are nearest by code, and by id where some are equally near.
    pub candidates: usize,
    /// What candidates are put in order by.
    pub similarity: Similarity,
    /// The time after which the search for candidates stops; `None` lets it come to its end. Candidates are rescored in any case.
    pub budget: Option<Duration>,
}

impl Rescore {
    /// Wants the `k` items with the greatest cosine among `candidates` candidates.
    pub fn new(k: usize, candidates: usize) -> Self {
        Self { k, candidates, similarity: Similarity::default(), budget: None }
    }

    /// Sets the similarity by which candidates are ordered.
    #[must_use]
    pub fn with_similarity(self, similarity: Similarity) -> Self {
        Self { similarity, ..self }
    }

    /// Sets the time after which the search for candidates of a query stops. `None` removes the limit.
    #[must_use]
    pub fn with_budget(self, budget: impl Into<Option<Duration>>) -> Self {
        Self { budget: budget.into(), ..self }
    }
}

/// The most similar of the candidates.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rescored {
    /// Items by falling similarity, then by id.
    pub hits: Vec<RescoredHit>,
    /// How far it is certain that the candidates are the nearest by code. Every item whose code is within
    /// [`certain_within`](Certificate::certain_within) was rescored.
    #[serde(flatten)]
    pub certificate: Certificate,
}

impl Index {
    /// The items whose vectors are the most similar to a query's, of the candidates whose codes are the nearest to its code.
    ///
    /// ```
    /// use dhih_index::{CodeSet, Codes, Index, IndexBuilder, Rescore, VectorSet};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let dir = dir.path().join("index");
    /// let vectors = [[0.9_f32, 0.1], [0.1, 0.9], [-0.2, 0.8], [-0.9, -0.1]];
    /// let set = CodeSet {
    ///     vectors: Some(VectorSet::from_f32(2, vectors.as_flattened())?),
    ///     ..CodeSet::new(Codes::from_real(2, vectors.as_flattened())?)
    /// };
    /// IndexBuilder::default().build(&set, &dir)?;
    /// let index = Index::open(&dir)?;
    ///
    /// let query = [0.3, 0.7];
    /// let code = Codes::from_real(2, &query)?;
    /// let answer = index.knn_rescored(&code[0], &query, &Rescore::new(2, 3))?;
    /// assert_eq!(answer.hits.iter().map(|hit| hit.id).collect::<Vec<_>>(), [1, 2]);
    /// assert_eq!(answer.certificate.certain_within, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`knn`](Self::knn); [`VectorError::NotKept`]; [`VectorError::Candidates`]; [`VectorError::Query`] for a vector of another length, one that
    /// is not finite, and one without a direction where the cosine counts.
    pub fn knn_rescored(&self, code: &[u8], vector: &[f32], rescore: &Rescore) -> Result<Rescored> {
        self.scope().rescored(code, vector, rescore)
    }

    /// [`knn_rescored`](Self::knn_rescored) of many queries on the threads of the current rayon pool.
    ///
    /// # Shapes
    /// `vectors`: `[codes.len(), dims]`, row-major.
    ///
    /// # Errors
    /// As for one query; codes of another number of bits; another number of vectors than of codes.
    pub fn knn_rescored_batch(
        &self,
        codes: &Codes,
        vectors: &[f32],
        rescore: &Rescore,
    ) -> Result<Vec<Rescored>> {
        self.scope().rescored_batch(codes, vectors, rescore)
    }
}

impl Selection {
    /// As [`Index::knn_rescored`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_rescored(&self, code: &[u8], vector: &[f32], rescore: &Rescore) -> Result<Rescored> {
        self.scope().rescored(code, vector, rescore)
    }

    /// As [`Index::knn_rescored_batch`], among these items.
    ///
    /// # Errors
    /// The same errors.
    pub fn knn_rescored_batch(
        &self,
        codes: &Codes,
        vectors: &[f32],
        rescore: &Rescore,
    ) -> Result<Vec<Rescored>> {
        self.scope().rescored_batch(codes, vectors, rescore)
    }
}

impl Scope<'_> {
    fn rescored(self, code: &[u8], vector: &[f32], rescore: &Rescore) -> Result<Rescored> {
        let &Rescore { k, candidates, similarity, budget } = rescore;
        if k == 0 {
            return Err(Error::ZeroK);
        }
        if candidates < k {
            return Err(VectorError::Candidates { candidates, k }.into());
        }
        let form = self.index.metadata.vectors.ok_or_else(|| self.no_vectors())?;
        let query = QueryVector::new(form, similarity, vector)?;
        let mut guard = self.lend(false);
        let Certified { hits, certificate } =
            self.certified(code, candidates, budget, guard.scratch())?;
        let damaged =
            |id: u64| Error::corrupt(&self.index.dir, format!("the item {id} has no vector"));
        let stored = hits.iter().map(|hit| {
            let stored = self.index.stored_vector(hit.id).ok_or_else(|| damaged(hit.id))?;
            if self.index.options.is_on_disk() {
                mmap::request(stored, 0..stored.len());
            }
            (0..stored.len().min(PREFETCHED))
                .step_by(64)
                .for_each(|at| hamming::prefetch(stored, at));
            Ok(stored)
        });
        let stored: Vec<&[u8]> = stored.collect::<Result<_>>()?;
        let score = |(hit, stored): (&Hit, &&[u8])| {
            let (distance, id) = (hit.distance, hit.id);
            RescoredHit { similarity: query.similarity(stored), distance, id }
        };
        let mut hits: Vec<RescoredHit> = hits.iter().zip(&stored).map(score).collect();
        hits.sort_unstable_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.id.cmp(&b.id)));
        hits.truncate(k);
        Ok(Rescored { hits, certificate })
    }

    fn rescored_batch(
        self,
        codes: &Codes,
        vectors: &[f32],
        rescore: &Rescore,
    ) -> Result<Vec<Rescored>> {
        codes.check_bits(self.index.bits())?;
        let dims = self.index.vector_dims().ok_or_else(|| self.no_vectors())?;
        if codes.len().checked_mul(dims) != Some(vectors.len()) {
            let reason = format!(
                "{} numbers for {} codes are not {dims} for each",
                vectors.len(),
                codes.len()
            );
            return Err(VectorError::Query { reason }.into());
        }
        let numbers = (0..codes.len()).into_par_iter().with_max_len(1);
        let one = |number: usize| {
            self.rescored(codes.get(number), &vectors[number * dims..][..dims], rescore)
        };
        numbers.map(one).collect()
    }

    fn no_vectors(self) -> Error {
        VectorError::NotKept { dir: self.index.dir.clone() }.into()
    }
}

#[cfg(test)]
mod tests;
