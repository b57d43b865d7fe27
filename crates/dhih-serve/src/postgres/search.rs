//! A search over all shards. It probes the values of substrings at increasing distances from the query's, until the requested number of
//! items is known to be the nearest. `plan` estimates the costs of a step; `shard` has it answered.

use std::sync::Arc;

use dhih_index::Substring;
use tokio::{task::JoinSet, time::Instant};

use crate::search::{Found, Neighbour};

use super::{
    Error,
    bit_string::BitString,
    json_path::JsonPath,
    plan::{Plan, Step, Way},
    session::Question,
    shard::Shard,
};

/// The most hits that are transferred over the network.
pub(super) const MOST: usize = 100_000;

/// The generation to search.
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) bits: u32,
    pub(super) rows: u64,
    pub(super) substrings: Vec<Substring>,
    pub(super) plan: Plan,
    pub(super) shards: Vec<Arc<Shard>>,
}

/// The bounds of a search.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// The predicate of the items to search; `None` searches all.
    pub(super) predicate: Option<JsonPath>,
    pub(super) k: usize,
    /// The radius of the request.
    pub(super) radius: u32,
    /// The greatest radius that the settings allow.
    pub(super) cap: u32,
    pub(super) deadline: Instant,
}

impl Shards {
    /// The `k` nearest items within the radius, ordered by distance, then id.
    pub(super) async fn search(&self, code: &[u8], reach: Reach) -> Result<Found, Error> {
        let mut best = Best { k: reach.k, radius: reach.radius.min(reach.cap), hits: Vec::new() };
        let mut step = Step::first();
        let way = loop {
            let way = self.plan.way(&step);
            let values = |(part, substring): (usize, &Substring)| match step.parts.contains(&part) {
                // Substrings have at most 24 bits, so the cast is exact.
                true => substring.near(code, step.weight).map(|value| value as i32).collect(),
                false => Vec::new(),
            };
            let values = || self.substrings.iter().enumerate().map(values).collect();
            let question = Question::Near {
                code: BitString::of(self.bits, code),
                distance: best.limit(),
                most: reach.k.min(MOST + 1) as i64,
                values: (way == Way::Probe).then(values),
                predicate: reach.predicate.clone(),
            };
            best.take(self.ask_all(question, reach.deadline).await?);
            if best.hits.len() > MOST {
                return Err(Error::TooMany { most: MOST });
            }
            let all = best.hits.len() as u64 == self.rows;
            if way == Way::Scan || all || best.limit() <= self.plan.certain_within(&step) {
                break way;
            }
            step = self.plan.after(&step, best.limit());
        };
        let found = best.hits.len();
        let capped = reach.radius > reach.cap && found < reach.k && (found as u64) < self.rows;
        Ok(Found {
            neighbours: best.hits,
            exhaustive: way == Way::Scan,
            capped_radius: capped.then_some(reach.cap),
            ..Found::default()
        })
    }

    /// The answers of all shards, or the error of one of them.
    async fn ask_all(
        &self,
        question: Question,
        deadline: Instant,
    ) -> Result<Vec<Neighbour>, Error> {
        let question = Arc::new(question);
        let mut asked = JoinSet::new();
        for shard in &self.shards {
            let (shard, question) = (shard.clone(), question.clone());
            asked.spawn(async move { shard.ask(&question, deadline).await });
        }
        let mut answers = Vec::new();
        while let Some(answer) = asked.join_next().await {
            answers.extend(answer.map_err(|e| Error::Runtime { reason: e.to_string() })??.items());
        }
        Ok(answers)
    }
}

/// The best hits so far.
struct Best {
    k: usize,
    radius: u32,
    hits: Vec<Neighbour>,
}

impl Best {
    /// Adds hits, some of which may be known already.
    fn take(&mut self, hits: Vec<Neighbour>) {
        self.hits.extend(hits);
        self.hits.sort_unstable();
        // An item always has the same distance, so duplicates are adjacent after sorting.
        self.hits.dedup_by_key(|hit| hit.id);
        self.hits.truncate(self.k);
    }

    /// The greatest distance at which a further item may still be a hit.
    fn limit(&self) -> u32 {
        match self.hits.last() {
            Some(last) if self.hits.len() >= self.k => last.distance,
            _ => self.radius,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_once_each_and_ties_go_to_the_least_id() {
        let hit = |distance, id| Neighbour { distance, id, code: Vec::new() };
        let mut best = Best { k: 3, radius: 9, hits: Vec::new() };
        best.take(vec![hit(4, 7), hit(4, 7), hit(2, 9)]);
        assert_eq!((best.hits.len(), best.limit()), (2, 9));
        best.take(vec![hit(4, 6), hit(4, 7), hit(5, 1)]);
        assert_eq!((&best.hits[..], best.limit()), (&[hit(2, 9), hit(4, 6), hit(4, 7)][..], 4));
        best.take(vec![hit(4, 3)]);
        assert_eq!(best.hits, [hit(2, 9), hit(4, 3), hit(4, 6)]);
    }
}
