//! The buckets of a table at some distance from a query: their codes are asked for from memory before they are compared, and
//! those met in an earlier step are left out. Which steps there are, and when: `search.rs`.

use crate::error::Result;
use crate::hamming::{self, Near};
use crate::search::plan::ProbeStep;
use crate::search::{CHUNK, Scratch, Search, outside};
use crate::table::Table;
use crate::table::probe::Masks;

/// Buckets whose places are asked for together, while those before are compared.
const BATCH: usize = 64;
/// Buckets whose codes are asked for before they are compared.
const AHEAD: usize = 24;
/// Buckets that are compared before the limit is looked at again.
const GROUP: usize = 8;
/// Cache lines of a bucket that are asked for one by one; the machine sees by itself that those after are wanted.
const LINES: usize = 24;

/// The buckets on their way from memory; kept from one search to the next.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    /// Values whose places in the directory were asked for.
    values: Vec<u32>,
    /// Places of codes, of which those before `asked` were asked for.
    buckets: Vec<(u32, u32)>,
    asked: usize,
}

impl Pipeline {
    fn clear(&mut self) {
        self.values.clear();
        self.buckets.clear();
        self.asked = 0;
    }

    /// Forgets the first `done` buckets, looks up the values and asks for the next ones. `None` where one leaves the table.
    fn advance(
        &mut self,
        table: &Table,
        done: usize,
        next: impl Iterator<Item = u32>,
    ) -> Option<()> {
        self.buckets.drain(..done);
        self.asked -= done;
        for value in self.values.drain(..) {
            let (start, end) = table.bucket(value)?;
            if start < end {
                self.buckets.push((start, end));
            }
        }
        self.values.extend(next.take(BATCH));
        for &value in &self.values {
            hamming::prefetch(table.directory, value as usize);
        }
        Some(())
    }

    /// Asks for the codes of the buckets up to number `until`.
    fn ask(&mut self, table: &Table, until: usize, width: usize) {
        let until = until.min(self.buckets.len());
        for &(start, end) in self.buckets.get(self.asked..until).unwrap_or_default() {
            let bytes = start as usize * width..end as usize * width;
            for at in bytes.step_by(64).take(LINES) {
                hamming::prefetch(table.codes, at);
            }
            hamming::prefetch(table.codes, end as usize * width - 1);
        }
        self.asked = self.asked.max(until);
    }
}

impl Search<'_> {
    /// Takes the codes of a table's buckets that differ from the query in some bits, but for those met before: within `floor` -
    /// 1, or in a bucket of an earlier step. Returns the share of near ones among all that were compared.
    pub(crate) fn probe(&mut self, next: ProbeStep, floor: u32) -> Result<f64> {
        let before = self.scratch.explanation.candidates;
        let mut pipeline = std::mem::take(&mut self.scratch.pipeline);
        pipeline.clear();
        let found = self.probe_by(&mut pipeline, next, floor);
        self.scratch.pipeline = pipeline;
        let compared = self.scratch.explanation.candidates - before;
        Ok(found? as f64 / compared.max(1) as f64)
    }

    /// Compares a few buckets at a time, so that the limit falls as codes are found. Returns how many were near.
    fn probe_by(&mut self, pipeline: &mut Pipeline, next: ProbeStep, floor: u32) -> Result<usize> {
        let (table, width) = (self.table(next.part), self.query.len());
        let value = table.substring.of(self.query);
        let mut values = Masks::new(table.substring.bits(), next.weight).map(|mask| value ^ mask);
        let (mut at, mut found) = (0, 0);
        pipeline.advance(&table, 0, &mut values);
        loop {
            if pipeline.buckets.len() - at < AHEAD && !pipeline.values.is_empty() {
                self.scratch.explanation.probes += pipeline.values.len() as u64;
                let kept = pipeline.buckets.len() - at;
                let done = pipeline.advance(&table, at, &mut values);
                done.ok_or_else(|| outside(self.segment))?;
                at = 0;
                self.scratch.explanation.buckets += (pipeline.buckets.len() - kept) as u64;
                continue;
            }
            if at == pipeline.buckets.len() {
                return Ok(found);
            }
            pipeline.ask(&table, at + AHEAD, width);
            let (mut end, mut codes) = (at, 0);
            let buckets = &mut pipeline.buckets;
            while end < buckets.len() && end < at + GROUP && codes < CHUNK {
                codes += (buckets[end].1 - buckets[end].0) as usize;
                end += 1;
            }
            if codes > 2 * CHUNK {
                // The last of them is long: it is cut, and the rest of it is left for the next round.
                let last = &mut buckets[end - 1];
                let (start, cut) = (last.0, last.1 - (codes - CHUNK) as u32);
                let rest = (cut.max(start + 1), last.1);
                last.1 = rest.0;
                found += self.compare(&table, &buckets[at..end], (next, floor))?;
                at = end - 1;
                buckets[at] = rest;
            } else {
                found += self.compare(&table, &buckets[at..end], (next, floor))?;
                at = end;
            }
        }
    }

    /// Takes the near codes of some buckets. Returns how many there were.
    fn compare(
        &mut self,
        table: &Table,
        buckets: &[(u32, u32)],
        (next, floor): (ProbeStep, u32),
    ) -> Result<usize> {
        let (mut near, width) = (std::mem::take(&mut self.scratch.near), self.query.len());
        self.near(table, buckets, &mut near)?;
        let found = near.len();
        for Near { at, distance } in near.drain(..) {
            if distance >= floor && distance <= self.scratch.collector.limit() {
                let number = table.number(at).ok_or_else(|| outside(self.segment))?;
                let copy = table.codes.get(at as usize * width..);
                let copy = copy.and_then(|codes| codes.get(..width));
                let code = copy.map_or_else(|| self.segment.code(number), Ok)?;
                if !self.is_met(code, next) {
                    self.take(number, distance)?;
                }
            }
        }
        self.scratch.near = near;
        Ok(found)
    }

    /// Finds the near codes in some buckets of a table.
    fn near(&mut self, table: &Table, buckets: &[(u32, u32)], near: &mut Vec<Near>) -> Result<()> {
        let (limit, width) = (self.scratch.collector.limit(), self.query.len());
        let codes = buckets.iter().map(|(start, end)| u64::from(end - start));
        self.scratch.explanation.candidates += codes.sum::<u64>();
        let most = self.segment.distinct as u32;
        if buckets.iter().any(|&(start, end)| start > end || end > most) {
            return Err(outside(self.segment));
        }
        if !table.codes.is_empty() {
            hamming::near(self.query, table.codes, buckets, limit, near);
            return Ok(());
        }
        let codes = self.segment.codes();
        let Scratch { numbers, distances, .. } = &mut *self.scratch;
        for &(start, end) in buckets {
            numbers.clear();
            numbers.extend_from_slice(&table.postings[start as usize..end as usize]);
            if numbers.iter().any(|&number| number >= most) {
                return Err(outside(self.segment));
            }
            numbers.iter().for_each(|&number| hamming::prefetch(codes, number as usize * width));
            distances.resize(numbers.len(), 0);
            hamming::distances_of(self.query, codes, numbers, distances);
            let all = (start..end).zip(distances.iter());
            let all = all.map(|(at, &distance)| Near { at, distance });
            near.extend(all.filter(|near| near.distance <= limit));
        }
        Ok(())
    }

    /// Whether a code lies in a bucket of an earlier step.
    fn is_met(&self, code: &[u8], next: ProbeStep) -> bool {
        let met = |place: usize| {
            let weight = hamming::masked(self.query, code, self.table(place).mask);
            weight < next.weight || (weight == next.weight && place < next.part)
        };
        next != ProbeStep::default()
            && (0..self.segment.table_count()).filter(|&place| place != next.part).any(met)
    }
}
