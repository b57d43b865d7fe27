//! Merging runs: a tournament between them that any number of runs can take part in, and with it the runs of codes
//! (`code_runs.rs`), from which the different codes and their rows come out in order.

use std::cmp::Ordering;

use crate::build::external::code_runs::CodeRuns;
use crate::build::external::job::{Job, REPORT_EVERY};
use crate::build::external::numbers::{NumberWriter, Numbers};
use crate::build::spill::{Spill, SpillReader, SpillWriter};
use crate::error::Result;
use crate::progress::Stage;
use crate::table::substring::{Extractor, Substring};

/// A loser tree (Knuth, "The Art of Computer Programming", vol. 3, 5.4.1): it knows which of some players is the least, and finds the
/// next one in as many comparisons as the tree is high when that player has changed.
pub(super) struct LoserTree {
    /// At each inner node, numbered from 1 as in a heap, the player who lost there.
    losers: Vec<usize>,
    winner: usize,
}

impl LoserTree {
    /// Starts a tournament of `players` players. `less` compares two of them and never calls them equal.
    pub(super) fn new(players: usize, less: impl Fn(usize, usize) -> bool) -> Self {
        let mut losers = vec![0; players];
        let mut winners: Vec<usize> = (0..players).chain(0..players).collect();
        for node in (1..players).rev() {
            let (a, b) = (winners[2 * node], winners[2 * node + 1]);
            (winners[node], losers[node]) = if less(a, b) { (a, b) } else { (b, a) };
        }
        Self { losers, winner: winners.get(1).copied().unwrap_or_default() }
    }

    /// The least player.
    #[inline]
    pub(super) fn winner(&self) -> usize {
        self.winner
    }

    /// Finds the least player, where only the last winner has changed.
    #[inline]
    pub(super) fn replay(&mut self, less: impl Fn(usize, usize) -> bool) {
        let mut node = (self.winner + self.losers.len()) / 2;
        while node > 0 {
            if less(self.losers[node], self.winner) {
                std::mem::swap(&mut self.losers[node], &mut self.winner);
            }
            node /= 2;
        }
    }
}

/// The different codes of all items, and which rows have them.
pub(super) struct Merged {
    /// The codes, packed, in order.
    pub(super) codes: Spill,
    /// The rows code by code, 4 bytes each.
    pub(super) rows: Spill,
    /// Where the rows of each code start, and the end.
    pub(super) starts: Numbers,
    /// Where the codes of each value of the first substring start, and the end.
    pub(super) directory: Vec<u32>,
    pub(super) distinct: usize,
}

/// Merges runs of codes.
pub(super) fn merge(job: &Job, first: &Substring, runs: CodeRuns) -> Result<Merged> {
    let CodeRuns { spill, runs } = runs;
    let (width, rows, buffer) = (job.spec.width(), job.spec.rows, job.budget.buffer(runs.len()));
    let extractor = Extractor::new(first);
    let cursor = |run| Cursor::open(spill.reader(run, buffer), &extractor, width);
    let mut cursors: Vec<Cursor> = runs.into_iter().map(cursor).collect::<Result<_>>()?;
    let mut tree = LoserTree::new(cursors.len(), |a, b| less(&cursors, a, b));
    let mut out = MergeOut {
        codes: SpillWriter::create(job.dir)?,
        rows: SpillWriter::create(job.dir)?,
        starts: NumberWriter::new(job.dir, size_of::<u32>()),
        directory: vec![0; (1 << first.bits()) + 1],
        last: Vec::new(),
        row_count: 0,
        distinct: 0,
    };
    let mut reported = 0;
    while let Some(cursor) = cursors.get_mut(tree.winner()).filter(|cursor| cursor.key != AT_END) {
        out.take(cursor)?;
        cursor.advance(&extractor)?;
        tree.replay(|a, b| less(&cursors, a, b));
        if out.row_count >= reported + REPORT_EVERY as u64 {
            reported = out.row_count;
            job.reporter.report(Stage::MergeRuns, reported, rows as u64)?;
        }
    }
    job.reporter.complete(Stage::MergeRuns, rows as u64)?;
    out.finish()
}

/// The output of a merge.
struct MergeOut<'a> {
    codes: SpillWriter,
    rows: SpillWriter,
    starts: NumberWriter<'a>,
    /// The number of codes of each value.
    directory: Vec<u32>,
    /// The last code.
    last: Vec<u8>,
    row_count: u64,
    distinct: usize,
}

impl MergeOut<'_> {
    /// Takes the group that a cursor is at.
    #[inline]
    fn take(&mut self, cursor: &mut Cursor) -> Result<()> {
        if self.last != cursor.code {
            self.last.clone_from(&cursor.code);
            self.codes.put(&cursor.code)?;
            self.starts.put(self.row_count)?;
            self.directory[cursor.value()] += 1;
            self.distinct += 1;
        }
        self.row_count += cursor.rows;
        let mut left = size_of::<u32>() as u64 * cursor.rows;
        while left > 0 {
            let rows = cursor.reader.take_some(left, size_of::<u32>())?;
            left -= rows.len() as u64;
            self.rows.put(rows)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Merged> {
        self.starts.put(self.row_count)?;
        let mut sum = 0;
        for start in &mut self.directory {
            sum += std::mem::replace(start, sum);
        }
        Ok(Merged {
            codes: self.codes.finish()?,
            rows: self.rows.finish()?,
            starts: self.starts.finish()?,
            directory: self.directory,
            distinct: self.distinct,
        })
    }
}

/// The key of a cursor behind its last group: greater than that of any code.
const AT_END: u128 = u128::MAX;
/// Bytes of a code in a key.
const IN_KEY: usize = 12;

/// A run that is being merged, and the group that it is at.
struct Cursor<'a> {
    reader: SpillReader<'a>,
    code: Vec<u8>,
    /// The value of the first substring (below 2^24) in the upper 32 bits, then the first bytes of the code.
    key: u128,
    /// The number of rows that have the code; they are next in the reader.
    rows: u64,
}

impl<'a> Cursor<'a> {
    /// At the first group of a run.
    fn open(reader: SpillReader<'a>, extractor: &Extractor, width: usize) -> Result<Self> {
        let mut cursor = Self { reader, code: vec![0; width], key: AT_END, rows: 0 };
        cursor.advance(extractor)?;
        Ok(cursor)
    }

    /// Goes on to the next group, once the rows of this one have been read.
    #[inline]
    fn advance(&mut self, extractor: &Extractor) -> Result<()> {
        if self.reader.is_empty() {
            self.key = AT_END;
            return Ok(());
        }
        let width = self.code.len();
        self.code.copy_from_slice(self.reader.take(width)?);
        self.rows = self.reader.take_varint()?;
        let mut head = [0; 16];
        head[4..][..width.min(IN_KEY)].copy_from_slice(&self.code[..width.min(IN_KEY)]);
        head[..4].copy_from_slice(&extractor.of(&self.code).to_be_bytes());
        self.key = u128::from_be_bytes(head);
        Ok(())
    }

    /// The value of the first substring in the code.
    fn value(&self) -> usize {
        (self.key >> 96) as usize
    }
}

/// Whether a run's group comes before another's. Groups of equal codes come in the order of the runs, so that rows ascend.
#[inline]
fn less(cursors: &[Cursor], a: usize, b: usize) -> bool {
    let (left, right) = (&cursors[a], &cursors[b]);
    match left.key.cmp(&right.key) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => (&left.code, a) < (&right.code, b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;

    proptest! {
        #[test]
        fn a_tournament_merges(mut runs in prop::collection::vec(prop::collection::vec(0..50_u32, 0..20), 1..20)) {
            runs.iter_mut().for_each(|run| run.sort_unstable());
            let mut expected = runs.concat();
            expected.sort_unstable();
            let rest = RefCell::new(runs);
            let head = |run: usize| rest.borrow()[run].first().copied().unwrap_or(u32::MAX);
            let less = |a: usize, b: usize| (head(a), a) < (head(b), b);
            let mut tree = LoserTree::new(rest.borrow().len(), less);
            let mut merged = Vec::new();
            while head(tree.winner()) < u32::MAX {
                merged.push(rest.borrow_mut()[tree.winner()].remove(0));
                tree.replay(less);
            }
            prop_assert_eq!(merged, expected);
        }
    }

    #[test]
    fn nobody_wins_where_nobody_plays() {
        assert_eq!(LoserTree::new(0, |_, _| false).winner(), 0);
    }
}
