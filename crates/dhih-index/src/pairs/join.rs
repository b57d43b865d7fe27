//! The steps of a join: left items block by block; right items all at once or, if they do not fit into memory, part by part for each block.
//! `tables.rs` finds which items are near each other.

use std::sync::Arc;

use rayon::prelude::*;

use crate::codes::bits::bytes_per_code;
use crate::error::{Error, Result};
use crate::pairs::plan::{self, BLOCK, Task, WeightedSubstring};
use crate::pairs::source::{Block, Source};
use crate::pairs::tables::{Found, Request, Tables, Wanted};
use crate::pairs::{Pair, PairOptions};
use crate::progress::{Reporter, Stage};

/// Pairs that are collected before they are handed out, where memory is not limited.
const PAIRS: usize = if cfg!(test) { 100 } else { 1 << 22 };
/// Pairs that the sink gets at once, at most.
const SLICE: usize = if cfg!(test) { 7 } else { 1 << 14 };
/// The memory of the program beside the join.
const BESIDE: u64 = if cfg!(test) { 0 } else { 24 << 20 };
/// The least memory that can be given.
const LEAST: u64 = if cfg!(test) { 1 << 10 } else { 64 << 20 };

/// A join that is about to run.
pub(super) struct Join<'a> {
    left: Source<'a>,
    /// `None` where the left items are joined with themselves.
    right: Option<Source<'a>>,
    radius: u32,
    memory: Memory,
    reporter: Reporter,
}

/// How memory is divided.
struct Memory {
    /// Bytes for the tables of right items.
    tables: u64,
    /// Bytes for a block of left items.
    left: u64,
    /// Pairs that are collected at a time.
    pairs: usize,
}

impl Memory {
    fn of(bytes: Option<u64>) -> Result<Self> {
        let Some(memory) = bytes else {
            return Ok(Self { tables: u64::MAX, left: u64::MAX, pairs: PAIRS });
        };
        if memory < LEAST {
            return Err(Error::Memory { memory, least: LEAST });
        }
        let bytes = memory - BESIDE;
        // Pairs are copied once when those of all threads are joined.
        let pairs = bytes / 4 / (2 * size_of::<Found>() as u64);
        let pairs = usize::try_from(pairs).unwrap_or(usize::MAX);
        Ok(Self { tables: bytes / 2, left: bytes / 4, pairs })
    }
}

impl<'a> Join<'a> {
    /// The pairs of one set of items.
    pub(super) fn of_one(left: Source<'a>, options: &PairOptions) -> Result<Self> {
        Self::new(left, None, options)
    }

    /// The pairs of an item of the first and one of the second.
    pub(super) fn of_two([left, right]: [Source<'a>; 2], options: &PairOptions) -> Result<Self> {
        left.code_kind().check_alike(right.code_kind())?;
        Self::new(left, Some(right), options)
    }

    fn new(left: Source<'a>, right: Option<Source<'a>>, options: &PairOptions) -> Result<Self> {
        let reporter = Reporter::new(options.listener.clone());
        let memory = Memory::of(options.memory)?;
        // No two codes differ in more bits than they have.
        let radius = options.radius.min(left.bits());
        Ok(Self { left, right, radius, memory, reporter })
    }

    fn right(&self) -> &Source<'a> {
        self.right.as_ref().unwrap_or(&self.left)
    }

    fn is_same(&self) -> bool {
        self.right.is_none()
    }

    /// Gives all pairs to the sink; returns their number.
    pub(super) fn run<E: From<Error>>(
        self,
        mut sink: impl FnMut(&[Pair]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (left, right) = (self.left.len(), self.right().len());
        let sample = self.right().sample(plan::SAMPLED)?;
        let task = Task {
            bits: self.left.bits(),
            radius: self.radius,
            left,
            right,
            same: self.is_same(),
            memory: self.memory.tables,
            sample: &sample,
        };
        let substrings = task.choose();
        let plan = Plan { substrings: &substrings, capacity: task.capacity(substrings.len()) };
        let mut out = Out { sink: &mut sink, pairs: Vec::with_capacity(SLICE), count: 0 };
        if right > 0 {
            self.run_blocks(plan, &mut out)?;
        }
        self.reporter.complete(Stage::Pairs { found: out.count }, left as u64)?;
        Ok(out.count)
    }

    fn run_blocks<E: From<Error>>(&self, plan: Plan, out: &mut Out<'_, E>) -> Result<(), E> {
        let mut whole = match plan.capacity >= self.right().len() {
            true => Some(plan.tables(self.right().stream(0)?.take(usize::MAX)?, self.left.bits())),
            false => None,
        };
        if let Some(tables) = whole.as_ref().filter(|_| self.is_same())
            && let Some(found) = self.find_within(tables)?
        {
            return out.put(tables.block(), found);
        }
        let block_items = self.block_items(&plan);
        // If both sides are the same items and all are in memory, they need not be read again.
        let read = whole.as_ref().filter(|_| self.is_same()).map(|tables| tables.block().clone());
        let (mut stream, mut step) = (self.left.stream(0)?, block_items);
        let mut next = || match &read {
            Some(all) => Ok(Arc::clone(all)),
            None => stream.take(block_items).map(Arc::new),
        };
        loop {
            let block = next()?;
            if block.len() == 0 {
                return Ok(());
            }
            let mut from = 0;
            while from < block.len() {
                let end = block.len().min(from + step);
                let most = self.memory.pairs;
                let (radius, same) = (self.radius, self.is_same());
                let request = Request { left: &block, from, end, radius, same, most };
                let found = match &whole {
                    Some(tables) => find(tables, &request),
                    None => self.find_in_parts(&plan, &request, out)?,
                };
                let Some(found) = found else {
                    // The pairs did not fit, so try again with half of the items.
                    step = (end - from).div_ceil(2);
                    continue;
                };
                out.put(&block, found)?;
                if let Some(tables) = whole.as_mut().filter(|_| same) {
                    tables.retire(&request);
                }
                (from, step) = (end, step.saturating_mul(2).min(block_items));
                let done = (block.first + end) as u64;
                let stage = Stage::Pairs { found: out.count };
                self.reporter.report(stage, done, self.left.len() as u64)?;
            }
            if read.is_some() {
                return Ok(());
            }
        }
    }

    /// The pairs of all items with one another; `None` where they are more than are collected at a time.
    fn find_within(&self, tables: &Tables) -> Result<Option<Vec<Found>>> {
        let (items, stage) = (self.left.len() as u64, Stage::Pairs { found: 0 });
        let wanted = Wanted { radius: self.radius, most: self.memory.pairs };
        tables.find_within(wanted, |share| {
            self.reporter.report(stage, (share * items as f64) as u64, items)
        })
    }

    /// Left items of a block.
    fn block_items(&self, plan: &Plan) -> usize {
        // An item's id and code, and its value in each table.
        let tables = plan.substrings.len().max(1);
        let bytes = 8 + bytes_per_code(self.left.bits()) + 2 * size_of::<(u32, u32)>() * tables;
        let fit = usize::try_from(self.memory.left / bytes as u64).unwrap_or(usize::MAX).max(1);
        match plan.capacity >= self.right().len() {
            true => fit.min(BLOCK),
            false => fit,
        }
    }

    /// The pairs with right items of which only a part fits into memory at a time. Those of a single item go to the sink part by part.
    fn find_in_parts<E: From<Error>>(
        &self,
        plan: &Plan,
        request: &Request,
        out: &mut Out<'_, E>,
    ) -> Result<Option<Vec<Found>>, E> {
        // If both sides are the same items, those before the left items are done.
        let first = if self.is_same() { request.left.first + request.from } else { 0 };
        let (mut stream, mut all) = (self.right().stream(first)?, Vec::new());
        loop {
            let part = stream.take(plan.capacity)?;
            if part.len() == 0 {
                return Ok(Some(all));
            }
            let tables = plan.tables(part, self.left.bits());
            let most = request.most - all.len();
            let Some(found) = find(&tables, &Request { most, ..*request }) else {
                return Ok(None);
            };
            match request.end - request.from {
                1 => out.put(request.left, found)?,
                _ => all.extend(found),
            }
        }
    }
}

/// The pairs of some left items; `None` where they are more than the request allows. Those of a single item are found in any case.
fn find(tables: &Tables, request: &Request) -> Option<Vec<Found>> {
    match request.end - request.from {
        1 => tables.find(&Request { most: request.most.max(tables.block().len()), ..*request }),
        _ => tables.find(request),
    }
}

/// The tables of a join, and the number of items that they hold at a time.
struct Plan<'a> {
    substrings: &'a [WeightedSubstring],
    capacity: usize,
}

impl Plan<'_> {
    fn tables(&self, block: Block, bits: u32) -> Tables {
        Tables::build(self.substrings, Arc::new(block), bits)
    }
}

/// The destination of the pairs.
struct Out<'s, E> {
    sink: &'s mut dyn FnMut(&[Pair]) -> Result<(), E>,
    pairs: Vec<Pair>,
    count: u64,
}

impl<E> Out<'_, E> {
    /// Sorts pairs and hands them out.
    fn put(&mut self, left: &Block, mut found: Vec<Found>) -> Result<(), E> {
        found.par_sort_unstable();
        for some in found.chunks(SLICE) {
            self.pairs.clear();
            self.pairs.extend(some.iter().map(|pair| Pair {
                first: left.ids[pair.left as usize],
                second: pair.right,
                distance: pair.distance,
            }));
            self.count += some.len() as u64;
            (self.sink)(&self.pairs)?;
        }
        Ok(())
    }
}
