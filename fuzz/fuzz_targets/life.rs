//! The life of an index: the fuzzer's bytes choose builds, additions, removals, replacements, flushes, compactions, reopenings and
//! searches. What the index holds is compared with a map, what it finds with a scan (`Flat`) of that map, also in snapshots that
//! were taken some changes before.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use dhih_index::{
    CodeSet, Codes, Filter, Flat, Hit, Index, IndexBuilder, IndexWriter, Label, Labels, Strategy,
};
use libfuzzer_sys::fuzz_target;
use support::{Input, Numbers};

#[path = "../support.rs"]
mod support;

/// Changes of one run: enough for several segments with tombstones, few enough to be quick.
const STEPS: usize = 40;

fuzz_target!(|bytes: &[u8]| {
    let (dir, mut input) = (support::folder(), Input(bytes));
    let bits = [9, 16, 40, 64, 70, 130][input.below(6)];
    let kind = Kind { bits, labels: input.below(3), near: input.flag() };
    // Many runs begin with small segments behind a large one.
    let layered = input.byte() < 128;
    let mut model = Model { kind, items: BTreeMap::new(), next: 0 };
    let count = if layered { 300 } else { [0, 1, 20, 100][input.below(4)] };
    let first = model.new_items(count, &mut Numbers(0));
    model.items.extend(first);
    IndexBuilder::default().build(&model.set(|_| true), &dir).expect("an index");
    let writer = Some(IndexWriter::open(&dir).expect("a writer"));
    let mut life = Life { writer, model, snapshots: Vec::new() };
    for count in [60, 12, 2].into_iter().filter(|_| layered) {
        life.add(count, &mut Numbers(count as u64));
        life.writer().flush().expect("a flush");
    }
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        // A byte chooses the change, the next how large it is and the seed of everything else.
        let (change, numbers) = (input.below(12), &mut Numbers(input.byte().into()));
        life.step(change, &dir, numbers);
        let snapshot = life.writer().snapshot();
        life.model.assert_is(&snapshot, numbers);
    }
    let numbers = &mut Numbers(1);
    for (snapshot, model) in &life.snapshots {
        model.assert_is(snapshot, numbers);
    }
    let index = Index::open(&dir).expect("an index");
    index.verify().expect("a sound index");
    life.model.assert_is(&index, numbers);
});

/// What the items are like.
#[derive(Debug, Clone, Copy)]
struct Kind {
    bits: u32,
    /// 0: none. 1: a number for each item. 2: a column for each of three classes.
    labels: usize,
    /// Whether codes are a few bits from one of four centres, so that many are equal.
    near: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Item {
    code: Vec<u8>,
    /// The number, or the columns.
    label: [u8; 3],
}

/// What the index should hold.
#[derive(Debug, Clone)]
struct Model {
    kind: Kind,
    items: BTreeMap<u64, Item>,
    /// An id above all that were given.
    next: u64,
}

struct Life {
    /// Absent only while it is opened again.
    writer: Option<IndexWriter>,
    model: Model,
    /// Earlier states, whose searches later changes must not touch.
    snapshots: Vec<(Index, Model)>,
}

impl Life {
    fn writer(&mut self) -> &mut IndexWriter {
        self.writer.as_mut().expect("a writer")
    }

    fn step(&mut self, change: usize, dir: &Path, numbers: &mut Numbers) {
        match change {
            0..=2 => {
                let count = [1, 2, 5, 12, 40][numbers.below(5)];
                self.add(count, numbers);
            }
            3 => self.add_without_ids(numbers),
            4 | 5 => {
                let ids = self.model.some_ids(numbers);
                let removed = self.writer().remove(&[&ids[..], &ids, &[u64::MAX - 1]].concat());
                assert_eq!(removed.expect("a removal"), ids.len());
                self.model.items.retain(|id, _| !ids.contains(id));
            }
            6 => {
                let ids = self.model.some_ids(numbers);
                let new: Vec<(u64, Item)> =
                    ids.iter().map(|&id| (id, self.model.kind.item(numbers))).collect();
                let set = self.model.kind.set(new.iter().map(|(id, item)| (id, item)));
                assert!(ids.is_empty() || self.writer().add(&set).is_err(), "ids that are taken");
                self.writer().remove(&ids).expect("a removal");
                self.writer().add(&set).expect("items whose ids are free again");
                self.model.items.extend(new);
            }
            7 | 8 => self.writer().flush().expect("a flush"),
            9 => self.writer().compact().expect("a compaction"),
            10 => {
                self.writer = None;
                let index = Index::open(dir).expect("an index");
                index.verify().expect("a sound index");
                self.model.assert_is(&index, numbers);
                self.writer = Some(IndexWriter::open(dir).expect("a writer"));
            }
            _ => {
                let snapshot = self.writer().snapshot();
                self.snapshots.push((snapshot, self.model.clone()));
            }
        }
    }

    fn add(&mut self, count: usize, numbers: &mut Numbers) {
        let new = self.model.new_items(count, numbers);
        let set = self.model.kind.set(new.iter());
        self.writer().add(&set).expect("items whose ids are free");
        self.model.items.extend(new);
    }

    /// The writer numbers items without ids from one after the greatest id.
    fn add_without_ids(&mut self, numbers: &mut Numbers) {
        let first = self.model.items.keys().last().map_or(0, |last| last + 1);
        let new: BTreeMap<u64, Item> = (first..first + 1 + numbers.below(20) as u64)
            .map(|id| (id, self.model.kind.item(numbers)))
            .collect();
        let set = CodeSet { ids: None, ..self.model.kind.set(new.iter()) };
        self.writer().add(&set).expect("items");
        self.model.next = self.model.next.max(first + new.len() as u64);
        self.model.items.extend(new);
    }
}

impl Kind {
    fn item(self, numbers: &mut Numbers) -> Item {
        let width = self.bits.div_ceil(8) as usize;
        let mut code = if self.near {
            vec![[0, 0x0f, 0xaa, 0xff][numbers.below(4)]; width]
        } else {
            (0..width).map(|_| numbers.next() as u8).collect()
        };
        for _ in 0..numbers.below(3) {
            let bit = numbers.below(self.bits as usize);
            code[bit / 8] ^= 1 << (bit % 8);
        }
        if !self.bits.is_multiple_of(8) {
            code[width - 1] &= (1 << (self.bits % 8)) - 1;
        }
        let labels = numbers.next() as u8;
        let label = match self.labels {
            0 => [0; 3],
            1 => [labels % 5, 0, 0],
            _ => [0, 1, 2].map(|class| labels >> class & 1),
        };
        Item { code, label }
    }

    fn set<'a>(self, items: impl Iterator<Item = (&'a u64, &'a Item)>) -> CodeSet {
        let items: Vec<(&u64, &Item)> = items.collect();
        let bytes = items.iter().flat_map(|(_, item)| item.code.iter().copied()).collect();
        let labels = match self.labels {
            0 => None,
            1 => Some(Labels::Single(items.iter().map(|(_, item)| item.label[0].into()).collect())),
            _ => {
                let values = items.iter().flat_map(|(_, item)| item.label).collect();
                Some(Labels::MultiHot { classes: 3, values })
            }
        };
        let ids = Some(items.iter().map(|(id, _)| **id).collect());
        CodeSet { ids, labels, ..CodeSet::new(Codes::new(self.bits, bytes).expect("codes")) }
    }

    /// Whether a filter of this label lets the item through.
    fn has_label(self, item: &Item, label: i64) -> bool {
        match self.labels {
            0 => false,
            1 => i64::from(item.label[0]) == label,
            _ => (0..3).contains(&label) && item.label[label as usize] == 1,
        }
    }
}

impl Model {
    /// Items whose ids are free: new ones, with gaps, or such as were removed.
    fn new_items(&mut self, count: usize, numbers: &mut Numbers) -> BTreeMap<u64, Item> {
        let mut new = BTreeMap::new();
        let reused = numbers.below(2) == 1;
        let mut free = (0..self.next).filter(|id| reused && !self.items.contains_key(id));
        for _ in 0..count {
            let id = free.next().unwrap_or_else(|| {
                self.next += 1 + u64::from(numbers.below(4) == 0);
                self.next - 1
            });
            new.insert(id, self.kind.item(numbers));
        }
        new
    }

    /// Some of the ids: a run, every so many, or all.
    fn some_ids(&self, numbers: &mut Numbers) -> Vec<u64> {
        let (skipped, step) = (numbers.below(self.items.len().max(1)), 1 + numbers.below(7));
        let count = [1, 3, 30, 100, usize::MAX][numbers.below(5)];
        self.items.keys().copied().skip(skipped).step_by(step).take(count).collect()
    }

    /// The items that a filter of the caller lets through, as a set.
    fn set(&self, wanted: impl Fn((&u64, &Item)) -> bool) -> CodeSet {
        self.kind.set(self.items.iter().filter(|&item| wanted(item)))
    }

    /// Compares an index with this, and some searches of it with scans.
    fn assert_is(&self, index: &Index, numbers: &mut Numbers) {
        assert!(
            index.ids().iter().eq(self.items.keys()),
            "{:?} {:?}",
            index.ids(),
            self.items.keys()
        );
        assert_eq!((index.len(), index.bits()), (self.items.len(), self.kind.bits));
        for (id, item) in &self.items {
            assert_eq!(index.code(*id), Some(&item.code[..]), "{id}");
            match (self.kind.labels, index.label(*id)) {
                (0, None) => {}
                (1, Some(Label::Single(label))) => {
                    assert_eq!(label, i64::from(item.label[0]), "{id}")
                }
                (2, Some(Label::MultiHot(columns))) => assert_eq!(columns, item.label, "{id}"),
                (_, label) => panic!("{id} has the label {label:?}"),
            }
        }
        let (query, label) = (self.kind.item(numbers).code, numbers.below(6) as i64);
        let (k, radius) =
            (1 + numbers.below(20), numbers.below(self.kind.bits as usize + 2) as u32);
        let search = Search { query: &query, k, radius };
        let (lowest, ids) =
            (self.items.keys().next().copied().unwrap_or(0), 2 + numbers.below(3) as u64);
        let in_ids = |id: &u64| (id - lowest).is_multiple_of(ids);
        let chosen = || self.items.keys().copied().filter(in_ids).chain([u64::MAX]);

        let all = search.scan(&self.set(|_| true));
        for strategy in [Strategy::Auto, Strategy::Scan] {
            let found =
                [index.knn_by(strategy, &query, k), index.within_by(strategy, &query, radius)];
            assert_eq!(found.map(|hits| hits.expect("hits")), all, "{strategy:?} {search:?}");
        }
        let has_label = |item: &Item| self.kind.has_label(item, label);
        let filters = [
            (Filter::default(), all),
            (
                Filter::default().labels([label]),
                search.scan(&self.set(|(_, item)| has_label(item))),
            ),
            (Filter::default().ids(chosen()), search.scan(&self.set(|(id, _)| in_ids(id)))),
            (
                Filter::default().labels([label]).ids(chosen()),
                search.scan(&self.set(|(id, item)| in_ids(id) && has_label(item))),
            ),
        ];
        for (filter, expected) in filters {
            let selection = index.select(&filter);
            let found = [selection.knn(&query, k), selection.within(&query, radius)];
            assert_eq!(found.map(|hits| hits.expect("hits")), expected, "{filter:?} {search:?}");
        }
    }
}

#[derive(Debug)]
struct Search<'a> {
    query: &'a [u8],
    k: usize,
    radius: u32,
}

impl Search<'_> {
    /// The nearest items of a set, and those within the radius.
    fn scan(&self, set: &CodeSet) -> [Vec<Hit>; 2] {
        let flat = Flat::of(set).expect("a set");
        [flat.knn(self.query, self.k), flat.within(self.query, self.radius)]
            .map(|hits| hits.expect("hits"))
    }
}
