//! `Index`: an open index directory, to search and to look into. How a search goes: `search.rs`;
//! how an index is made: `builder.rs`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use serde::Serialize;

use crate::code_set::CodeSet;
use crate::codes::{self, Codes};
use crate::error::{Error, Result};
use crate::format::{self, Kind};
use crate::gathered::Reach;
use crate::manifest::{Entry, Manifest};
use crate::search::{self, Explanation, Scratch, Strategy};
use crate::segment::Segment;
use crate::substring::Substring;
use crate::topk::Hit;
use crate::verify;

/// An open index: an immutable snapshot, mapped into memory, that any number of threads may search.
#[derive(Debug)]
pub struct Index {
    dir: PathBuf,
    manifest: Manifest,
    segment: Segment,
    scratch: Mutex<Vec<Scratch>>,
}

/// The label of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label<'a> {
    /// The number of its class.
    Single(i64),
    /// A one for each class that it has.
    MultiHot(&'a [u8]),
}

impl Index {
    /// Opens the index in a directory. Reads and checks the header, not the contents:
    /// [`verify`](Self::verify) does.
    ///
    /// # Errors
    /// No index there, one of another version, a header that is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut manifest = Manifest::read(dir)?;
        let segment = loop {
            let entry = manifest.segment(dir)?;
            match open_segment(dir, entry) {
                Ok(segment) => break segment,
                // A build may have replaced the index since its manifest was read.
                Err(error) => match Manifest::read(dir)? {
                    newer if newer != manifest => manifest = newer,
                    _ => return Err(error),
                },
            }
        };
        Ok(Self { dir: dir.to_path_buf(), manifest, segment, scratch: Mutex::default() })
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.segment.rows
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of a code in bits.
    pub fn bits(&self) -> u32 {
        self.segment.bits
    }

    /// Number of different codes.
    pub fn distinct(&self) -> usize {
        self.segment.distinct
    }

    /// SHA-256 of the model that made the codes, if known.
    pub fn model_sha256(&self) -> Option<&str> {
        self.segment.metadata.model_sha256.as_deref()
    }

    /// Names of the classes; empty where they have none.
    pub fn classes(&self) -> &[String] {
        &self.segment.metadata.classes
    }

    /// The `k` nearest items, or all where they are fewer, by distance, then id.
    ///
    /// # Errors
    /// `k` is 0; a query of another length, or with unused bits that are not zero; a damaged file.
    pub fn knn(&self, query: &[u8], k: usize) -> Result<Vec<Hit>> {
        self.knn_by(Strategy::Auto, query, k)
    }

    /// All items within `radius` bits, by distance, then id.
    ///
    /// # Errors
    /// A query of another length, or with unused bits that are not zero; a damaged file.
    pub fn within(&self, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.within_by(Strategy::Auto, query, radius)
    }

    /// [`knn`](Self::knn) by a strategy of the caller's choice.
    ///
    /// # Errors
    /// As for `knn`.
    pub fn knn_by(&self, strategy: Strategy, query: &[u8], k: usize) -> Result<Vec<Hit>> {
        if k == 0 {
            return Err(Error::ZeroK);
        }
        self.search(query, Reach::nearest(k), strategy)
    }

    /// [`within`](Self::within) by a strategy of the caller's choice.
    ///
    /// # Errors
    /// As for `within`.
    pub fn within_by(&self, strategy: Strategy, query: &[u8], radius: u32) -> Result<Vec<Hit>> {
        self.search(query, Reach::within(radius), strategy)
    }

    /// As [`knn_by`](Self::knn_by), and what the search did and why.
    ///
    /// # Errors
    /// As for `knn`.
    pub fn explain_knn(
        &self,
        strategy: Strategy,
        query: &[u8],
        k: usize,
    ) -> Result<(Vec<Hit>, Explanation)> {
        if k == 0 {
            return Err(Error::ZeroK);
        }
        self.search_with(query, Reach::nearest(k), strategy, true)
    }

    /// As [`within_by`](Self::within_by), and what the search did and why.
    ///
    /// # Errors
    /// As for `within`.
    pub fn explain_within(
        &self,
        strategy: Strategy,
        query: &[u8],
        radius: u32,
    ) -> Result<(Vec<Hit>, Explanation)> {
        self.search_with(query, Reach::within(radius), strategy, true)
    }

    /// [`knn`](Self::knn) of many queries on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As for one, and queries of another number of bits.
    pub fn knn_batch(&self, queries: &Codes, k: usize) -> Result<Vec<Vec<Hit>>> {
        queries.check_bits(self.bits())?;
        (0..queries.len()).into_par_iter().map(|i| self.knn(queries.get(i), k)).collect()
    }

    /// [`within`](Self::within) of many queries on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As for one, and queries of another number of bits.
    pub fn within_batch(&self, queries: &Codes, radius: u32) -> Result<Vec<Vec<Hit>>> {
        queries.check_bits(self.bits())?;
        (0..queries.len()).into_par_iter().map(|i| self.within(queries.get(i), radius)).collect()
    }

    /// Refuses queries that cannot be compared with this index: of another length, or encoded by
    /// another model. Where either side does not know its model, only the length is compared.
    ///
    /// # Errors
    /// As said.
    pub fn check_queries(&self, queries: &CodeSet) -> Result<()> {
        queries.codes.check_bits(self.bits())?;
        match (self.model_sha256(), &queries.model_sha256) {
            (Some(expected), Some(found)) if expected != found => {
                Err(Error::OtherModel { expected: expected.into(), found: found.clone() })
            }
            _ => Ok(()),
        }
    }

    /// All ids, ascending.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        (0..self.len()).map(|row| self.segment.ids().map_or(row as u64, |ids| ids[row]))
    }

    /// The label of an item; `None` where there is no such item, or it has none.
    pub fn label(&self, id: u64) -> Option<Label<'_>> {
        let (row, labels) = (self.row(id)?, self.segment.labels()?);
        match self.segment.metadata.label_columns {
            Some(columns) => labels.chunks_exact(columns).nth(row).map(Label::MultiHot),
            None => bytemuck::cast_slice(labels).get(row).copied().map(Label::Single),
        }
    }

    /// The code of an item; `None` where there is no such item.
    pub fn code(&self, id: u64) -> Option<&[u8]> {
        let code = *self.segment.code_of_row().get(self.row(id)?)?;
        self.segment.code(code).ok()
    }

    /// Checks every byte: all checksums, and that all contents agree with each other.
    ///
    /// # Errors
    /// The first fault found.
    pub fn verify(&self) -> Result<()> {
        self.manifest.verify(&self.dir)?;
        format::verify(&self.segment.path, self.segment.file(), &self.segment.header)?;
        verify::verify(&self.segment)
    }

    /// What the index is.
    pub fn info(&self) -> Info {
        let Segment { header, metadata, .. } = &self.segment;
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let section = |section: &format::Section| SectionInfo {
            kind: section.kind,
            part: section.part,
            offset: section.range.start,
            bytes: section.range.len(),
            xxh3: format!("{:016x}", section.xxh3),
        };
        Info {
            version: header.version,
            bits: self.bits(),
            codes: self.len(),
            distinct: self.distinct(),
            substrings: self.segment.substrings().cloned().collect(),
            labels: match metadata.label_columns {
                _ if self.segment.labels().is_none() => "none",
                Some(_) => "multi-hot",
                None => "single",
            },
            ids: if self.segment.ids().is_some() { "given" } else { "0..n" },
            classes: metadata.classes.clone(),
            model_sha256: metadata.model_sha256.clone(),
            file: name(&self.segment.path),
            bytes: header.file_bytes,
            bytes_per_code: header.file_bytes as f64 / self.len().max(1) as f64,
            sections: header.sections.iter().map(section).collect(),
        }
    }

    fn row(&self, id: u64) -> Option<usize> {
        match self.segment.ids() {
            Some(ids) => ids.binary_search(&id).ok(),
            None => usize::try_from(id).ok().filter(|&row| row < self.len()),
        }
    }

    fn search(&self, query: &[u8], reach: Reach, strategy: Strategy) -> Result<Vec<Hit>> {
        self.search_with(query, reach, strategy, false).map(|(hits, _)| hits)
    }

    fn search_with(
        &self,
        query: &[u8],
        reach: Reach,
        strategy: Strategy,
        explain: bool,
    ) -> Result<(Vec<Hit>, Explanation)> {
        codes::check_query(self.bits(), query)?;
        let pool = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = pool().pop().unwrap_or_default();
        let hits = search::search(&self.segment, query, reach, strategy, &mut scratch, explain);
        let explanation = std::mem::take(&mut scratch.explanation);
        pool().push(scratch);
        hits.map(|hits| (hits, explanation))
    }
}

fn open_segment(dir: &Path, entry: &Entry) -> Result<Segment> {
    let mut segment = Segment::open(&dir.join(&entry.file))?;
    let (bytes, xxh3) = (segment.header.file_bytes, segment.header.xxh3);
    segment.profile = entry.profile.clone();
    if *entry != (Entry { profile: entry.profile.clone(), ..Entry::new(bytes, xxh3) }) {
        return Err(segment.corrupt("it is not the file that the manifest names"));
    }
    Ok(segment)
}

/// What an index is, as `dhih-index inspect --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// Version of the file format.
    pub version: u32,
    /// Length of a code in bits.
    pub bits: u32,
    /// Number of items.
    pub codes: usize,
    /// Number of different codes.
    pub distinct: usize,
    /// The substrings, a table for each.
    pub substrings: Vec<Substring>,
    /// `none`, `single` or `multi-hot`.
    pub labels: &'static str,
    /// `given`, or `0..n`.
    pub ids: &'static str,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// SHA-256 of the model that made the codes.
    pub model_sha256: Option<String>,
    /// The data file.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its length by item.
    pub bytes_per_code: f64,
    /// Its sections.
    pub sections: Vec<SectionInfo>,
}

/// A section of the data file; `docs/src/FORMAT.md` says what they hold.
#[derive(Debug, Clone, Serialize)]
pub struct SectionInfo {
    pub(crate) kind: Kind,
    /// Number of the substring whose table it belongs to.
    pub part: u32,
    /// Where it starts in the file.
    pub offset: usize,
    /// Its length.
    pub bytes: usize,
    /// Its checksum, in hexadecimal.
    pub xxh3: String,
}
