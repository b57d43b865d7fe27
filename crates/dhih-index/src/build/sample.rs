//! Samples some items of a new segment to learn what its codes are like: how far neighbours are and how full buckets are. The planner
//! estimates costs with this profile; hits never depend on it. There are two ways to the same numbers: searches in the mapped
//! segment, and one pass over its codes that keeps no more than a piece of the file in memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use rayon::prelude::*;

use crate::codes::bits;
use crate::error::{Error, Result};
use crate::hamming;
use crate::hits::{Accept, Bound};
use crate::search::profile::{Profile, WEIGHTS};
use crate::search::scratch::Scratch;
use crate::search::{SegmentSearch, Strategy, search};
use crate::store::format::Kind;
use crate::store::segment::Segment;
use crate::table::probe::Masks;
use crate::table::substring::Substring;

/// Items that are sampled at most.
const ITEMS: usize = 64;
/// Bytes of codes that are read at once in a pass over a file. Few in tests, whose files are small.
const PIECE: usize = if cfg!(test) { 1 << 9 } else { 1 << 20 };
/// Codes whose distances are computed at once.
const TOGETHER: usize = 256;

/// The profile of a segment, by searching in it; `None` where it is empty. Searches may touch every page of the mapped file.
pub(crate) fn profile(segment: &Segment) -> Result<Option<Profile>> {
    let rows = sampled_rows(segment);
    let seen = rows.into_par_iter().with_max_len(1).map_init(Scratch::default, |scratch, row| {
        let code = segment.code(segment.code_of_row()[row])?;
        let bound = Bound::nearest(wanted());
        let (strategy, accept, mut hits) = (Strategy::Auto, Accept::default(), Vec::new());
        let (query, candidates) = (code, segment.rows);
        let (deadline, sharing) = (None, 1);
        let request = SegmentSearch {
            segment,
            query,
            bound,
            strategy,
            accept,
            candidates,
            deadline,
            sharing,
        };
        search(&request, scratch, &mut hits)?;
        let distances = hits.iter().map(|hit| hit.distance).collect();
        let mut buckets = Buckets::default();
        for table in 0..segment.table_count() {
            let table = segment.table(table);
            buckets.add(table.substring, table.directory, code);
        }
        Ok((distances, buckets))
    });
    Ok(summary(seen.collect::<Result<Vec<_>>>()?))
}

/// The same profile, by reading the segment's codes once from start to end and the directory of one table at a time.
pub(crate) fn profile_in_a_pass(segment: &Segment) -> Result<Option<Profile>> {
    let mut file = SectionReader::open(segment)?;
    let mut samples = Vec::new();
    for row in sampled_rows(segment) {
        let number: u32 = file.number(Kind::CodeOfRow, row)?;
        let mut code = vec![0; bits::bytes_per_code(segment.bits)];
        file.read(Kind::Codes, 0, number as usize * code.len(), &mut code)?;
        let nearest = Nearest::new(segment.bits);
        samples.push(Sample { code, nearest, buckets: Buckets::default() });
    }
    find_neighbours(segment, &mut file, &mut samples)?;
    for (table, substring) in (0..).zip(segment.substrings()) {
        let mut directory = vec![0_u32; (1 << substring.bits()) + 1];
        file.read(Kind::Directory, table, 0, bytemuck::cast_slice_mut(&mut directory))?;
        samples
            .iter_mut()
            .for_each(|sample| sample.buckets.add(substring, &directory, &sample.code));
    }
    let seen = |sample: Sample| (sample.nearest.distances(), sample.buckets);
    Ok(summary(samples.into_iter().map(seen).collect()))
}

/// The number of nearest items that are looked for. The first of them is the sampled item itself, or one of the same code.
fn wanted() -> usize {
    1 + Profile::neighbours()
}

/// Rows at even distances.
fn sampled_rows(segment: &Segment) -> Vec<usize> {
    let items = if segment.table_count() == 0 { 0 } else { ITEMS };
    evenly_spaced(segment.rows, items).collect()
}

/// Numbers below `end` at even distances: `count` of them, or all if there are fewer.
pub(crate) fn evenly_spaced(end: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(end);
    (0..count).map(move |at| at * end / count)
}

/// Summarises the sampled items: the distances of their nearest items, and the sizes of buckets.
fn summary(seen: Vec<(Vec<u32>, Buckets)>) -> Option<Profile> {
    if seen.is_empty() {
        return None;
    }
    let mut all = Buckets::default();
    for (_, buckets) in &seen {
        for weight in 0..WEIGHTS {
            all.codes[weight] += buckets.codes[weight];
            all.buckets[weight] += buckets.buckets[weight];
        }
    }
    let mean = |weight: usize| all.codes[weight] as f64 / all.buckets[weight].max(1) as f64;
    let neighbours = |(mut distances, _): (Vec<u32>, Buckets)| {
        distances.drain(..distances.len().min(1));
        distances
    };
    let neighbours: Vec<Vec<u32>> = seen.into_iter().map(neighbours).collect();
    Some(Profile::new(&neighbours, std::array::from_fn(mean)).rounded())
}

/// Codes and buckets that were counted, by the distance of the bucket's value from the item's own.
#[derive(Debug, Default)]
struct Buckets {
    codes: [u64; WEIGHTS],
    buckets: [u64; WEIGHTS],
}

impl Buckets {
    /// Counts the buckets of a table near the value of a code.
    fn add(&mut self, substring: &Substring, directory: &[u32], code: &[u8]) {
        let value = substring.of(code);
        for weight in 0..WEIGHTS {
            for mask in Masks::new(substring.bits(), weight as u32) {
                let at = (value ^ mask) as usize;
                let bounds = directory.get(at).zip(directory.get(at + 1));
                self.codes[weight] += bounds.map_or(0, |(a, b)| u64::from(b.saturating_sub(*a)));
                self.buckets[weight] += 1;
            }
        }
    }
}

/// A sampled item during a pass.
struct Sample {
    code: Vec<u8>,
    nearest: Nearest,
    buckets: Buckets,
}

/// Counts the nearest items of a code by their distance.
struct Nearest {
    /// The number of items at each distance.
    items: Vec<u64>,
    /// The number of items up to `limit`.
    within: u64,
    /// The greatest distance that still matters.
    limit: u32,
}

impl Nearest {
    fn new(bits: u32) -> Self {
        Self { items: vec![0; bits as usize + 1], within: 0, limit: bits }
    }

    fn add(&mut self, distance: u32, items: u64) {
        if distance > self.limit {
            return;
        }
        self.items[distance as usize] += items;
        self.within += items;
        while self.limit > 0 && self.within - self.items[self.limit as usize] >= wanted() as u64 {
            self.within -= self.items[self.limit as usize];
            self.limit -= 1;
        }
    }

    /// The distances of the nearest items, ascending.
    fn distances(&self) -> Vec<u32> {
        let of_distance = |(distance, items): (u32, &u64)| {
            std::iter::repeat_n(distance, (*items).min(wanted() as u64) as usize)
        };
        let up_to_limit = (0..=self.limit).zip(&self.items);
        up_to_limit.flat_map(of_distance).take(wanted()).collect()
    }
}

/// Compares all codes of a segment with those of the samples, piece by piece.
fn find_neighbours(
    segment: &Segment,
    file: &mut SectionReader,
    samples: &mut [Sample],
) -> Result<()> {
    let width = bits::bytes_per_code(segment.bits);
    let in_piece = (PIECE / width).max(1);
    let (mut codes, mut starts) = (vec![0; in_piece * width], vec![0_u32; in_piece + 1]);
    for first in (0..segment.distinct).step_by(in_piece) {
        let count = in_piece.min(segment.distinct - first);
        file.read(Kind::Codes, 0, first * width, &mut codes[..count * width])?;
        let (codes, starts) = (&codes[..count * width], &mut starts[..=count]);
        if segment.distinct < segment.rows {
            file.read(Kind::Starts, 0, 4 * first, bytemuck::cast_slice_mut(starts))?;
        } else {
            (0..).zip(&mut *starts).for_each(|(at, start)| *start = at);
        }
        let starts = &*starts;
        samples.par_iter_mut().for_each(|Sample { code, nearest, .. }| {
            let mut distances = [0; TOGETHER];
            for (block, codes) in codes.chunks(TOGETHER * width).enumerate() {
                let distances = &mut distances[..codes.len() / width];
                hamming::distances_into(code, codes, distances);
                // Most blocks hold no near code, and one pass over the distances shows this.
                let limit = nearest.limit;
                if distances.iter().fold(true, |far, &distance| far & (distance > limit)) {
                    continue;
                }
                let first = block * TOGETHER;
                for (at, &distance) in (first..).zip(&*distances) {
                    let items = starts[at + 1].saturating_sub(starts[at]);
                    nearest.add(distance, u64::from(items));
                }
            }
        });
    }
    Ok(())
}

/// Reads from sections of a data file without mapping them, so that no more of it is in this process's memory than was asked for.
struct SectionReader<'a> {
    segment: &'a Segment,
    file: File,
}

impl<'a> SectionReader<'a> {
    fn open(segment: &'a Segment) -> Result<Self> {
        let file = File::open(&segment.path).map_err(Error::io("open", &segment.path))?;
        Ok(Self { segment, file })
    }

    /// Fills `out` from byte `at` of a section on.
    fn read(&mut self, kind: Kind, table: u32, at: usize, out: &mut [u8]) -> Result<()> {
        let sections = &self.segment.header.sections;
        let section = sections.iter().find(|s| (s.kind, s.part) == (kind, table));
        let start = section.map(|section| (section.range.start + at) as u64);
        let start = start.ok_or_else(|| io::Error::other(format!("it has no section {kind:?}")));
        let read = start.and_then(|start| {
            self.file.seek(SeekFrom::Start(start))?;
            self.file.read_exact(out)
        });
        read.map_err(Error::io("read", &self.segment.path))
    }

    /// Number `at` of a section.
    fn number(&mut self, kind: Kind, at: usize) -> Result<u32> {
        let mut bytes = [0; 4];
        self.read(kind, 0, 4 * at, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}
