//! The buckets of a table at some distance from a query: their codes are asked for from memory before they are compared, and
//! those met in an earlier step are left out. Which steps there are, and when: `search.rs`.

use crate::error::Result;
use crate::hamming::{self, Near};
use crate::planner::Next;
use crate::probe::Masks;
use crate::search::{BATCH, CHUNK, Scratch, Search, outside};
use crate::table::Table;

/// Buckets whose codes are asked for before they are compared.
const AHEAD: usize = 16;
/// Cache lines of a bucket that are asked for one by one; the machine sees by itself that those after are wanted.
const LINES: usize = 24;

impl Search<'_> {
    /// Takes the codes of a table's buckets that differ from the query in some bits, but for those met before: within `floor` -
    /// 1, or in a bucket of an earlier step. Returns the share of near ones among all that were compared.
    pub(crate) fn probe(&mut self, next: Next, floor: u32) -> Result<f64> {
        let (before, mut found) = (self.scratch.explanation.candidates, 0);
        let table = self.table(next.part);
        let value = table.substring.of(self.query);
        let mut masks = Masks::new(table.substring.bits(), next.weight);
        let mut buckets = std::mem::take(&mut self.scratch.buckets);
        while !masks.is_done() {
            buckets.clear();
            buckets.extend(masks.by_ref().take(BATCH).map(|mask| (value ^ mask, 0)));
            for &(value, _) in &buckets {
                hamming::prefetch(table.directory, value as usize);
            }
            self.scratch.explanation.probes += buckets.len() as u64;
            for bucket in &mut buckets {
                *bucket = table.bucket(bucket.0).ok_or_else(|| outside(self.segment))?;
            }
            buckets.retain(|(start, end)| start < end);
            self.scratch.explanation.buckets += buckets.len() as u64;
            found += self.buckets(&table, next, floor, &mut buckets)?;
        }
        self.scratch.buckets = buckets;
        let compared = self.scratch.explanation.candidates - before;
        Ok(found as f64 / compared.max(1) as f64)
    }

    /// Takes the codes of some buckets, a few at a time, so that the limit falls as they are found. Returns how many were near.
    fn buckets(
        &mut self,
        table: &Table,
        next: Next,
        floor: u32,
        buckets: &mut [(u32, u32)],
    ) -> Result<usize> {
        let width = self.query.len();
        let (mut near, mut found) = (std::mem::take(&mut self.scratch.near), 0);
        // Asked for in time: a group ahead of the one that is compared.
        let mut asked = 0;
        let mut ahead = |from: usize, buckets: &[(u32, u32)]| {
            let wanted = (from + AHEAD).min(buckets.len());
            for &(start, end) in buckets.get(asked..wanted).unwrap_or_default() {
                let bytes = start as usize * width..end as usize * width;
                for at in bytes.step_by(64).take(LINES) {
                    hamming::prefetch(table.codes, at);
                }
                hamming::prefetch(table.codes, end as usize * width - 1);
            }
            asked = asked.max(wanted);
        };
        let mut at = 0;
        while at < buckets.len() {
            ahead(at, buckets);
            let (mut end, mut codes) = (at, 0);
            while end < buckets.len() && end < at + AHEAD / 2 && codes < CHUNK {
                codes += (buckets[end].1 - buckets[end].0) as usize;
                end += 1;
            }
            if codes > 2 * CHUNK {
                // The last of them is long: it is cut, and the rest of it is left for the next round.
                let last = &mut buckets[end - 1];
                let (start, cut) = (last.0, last.1 - (codes - CHUNK) as u32);
                let rest = (cut.max(start + 1), last.1);
                last.1 = rest.0;
                self.compare(table, &buckets[at..end], &mut near)?;
                at = end - 1;
                buckets[at] = rest;
            } else {
                self.compare(table, &buckets[at..end], &mut near)?;
                at = end;
            }
            found += near.len();
            for Near { at, distance } in near.drain(..) {
                if distance >= floor && distance <= self.scratch.gathered.limit() {
                    let number = table.number(at).ok_or_else(|| outside(self.segment))?;
                    let copy = table.codes.get(at as usize * width..);
                    let copy = copy.and_then(|codes| codes.get(..width));
                    let code = copy.map_or_else(|| self.segment.code(number), Ok)?;
                    if !self.is_met(code, next) {
                        self.take(number, distance)?;
                    }
                }
            }
        }
        self.scratch.near = near;
        Ok(found)
    }

    /// Finds the near codes in some buckets of a table.
    fn compare(
        &mut self,
        table: &Table,
        buckets: &[(u32, u32)],
        near: &mut Vec<Near>,
    ) -> Result<()> {
        let (limit, width) = (self.scratch.gathered.limit(), self.query.len());
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
    fn is_met(&self, code: &[u8], next: Next) -> bool {
        let met = |place: usize| {
            let weight = hamming::masked(self.query, code, self.table(place).mask);
            weight < next.weight || (weight == next.weight && place < next.part)
        };
        next != Next::default()
            && (0..self.segment.table_count()).filter(|&place| place != next.part).any(met)
    }
}
