//! A loss of power at every moment of an index's life: whatever the disk kept of unsynced changes, exactly the acknowledged changes are
//! there afterwards, or these and the one in progress.

use super::*;
use crate::store::disk::journal::{self, Event, Fate, Moment};

/// An index's life: what was done to the disk, and the model after each change. The mark `2 n + 1` is set when change `n` begins, `2 n + 2`
/// when it is acknowledged.
struct Life {
    root: tempfile::TempDir,
    events: Vec<Event>,
    models: Vec<Items>,
    checkpoints: Vec<Option<Items>>,
}

const CHANGES: usize = 24;

fn live(seed: u64) -> Life {
    let (numbers, root) = (&mut Numbers(seed), folder());
    journal::start(root.path());
    let dir = root.path().join("index");
    let mut items = begin(&dir, numbers);
    let mut writer = IndexWriter::open(&dir).unwrap();
    let (mut models, mut checkpoints) = (vec![items.clone()], Vec::new());
    for number in 0..CHANGES {
        let (action, after) = action(&items, numbers);
        journal::mark(root.path(), 2 * number + 1);
        action.make(&mut writer, &root.path().join(format!("checkpoint-{number}"))).unwrap();
        journal::mark(root.path(), 2 * number + 2);
        let made = matches!(action, Action::Checkpoint);
        checkpoints.push(made.then(|| after.clone()));
        models.push(after.clone());
        items = after;
        if numbers.below(6) == 0 {
            drop(writer);
            writer = IndexWriter::open(&dir).unwrap();
        }
    }
    drop(writer);
    let events = journal::stop(root.path());
    Life { root, events, models, checkpoints }
}

impl Life {
    /// Opens and compares the state of the disk after a loss of power.
    fn check(&self, moment: &Moment, fate: impl FnMut(usize) -> Fate) {
        let after = folder();
        moment.write(self.root.path(), after.path(), fate);
        let (acknowledged, under_way) = (moment.mark / 2, moment.mark % 2 == 1);
        let dir = after.path().join("index");
        match IndexWriter::open(&dir) {
            Ok(writer) => {
                let index = writer.snapshot();
                index.verify().unwrap();
                let now = held(&index);
                let may_be = under_way && now == self.models[acknowledged + 1];
                assert!(now == self.models[acknowledged] || may_be, "{moment:?}");
            }
            // Before the first build was acknowledged there may be none.
            Err(crate::Error::NoIndex { .. }) => assert_eq!(moment.mark, 0),
            Err(error) => panic!("{error}: {moment:?}"),
        }
        for (number, checkpoint) in self.checkpoints[..acknowledged].iter().enumerate() {
            if let Some(items) = checkpoint {
                let copy = Index::open(after.path().join(format!("checkpoint-{number}"))).unwrap();
                assert_eq!(held(&copy), *items);
            }
        }
    }
}

/// Tries what the disk may keep of the changes that were not synced: none, all, each alone, all but one, and random subsets, with writes
/// torn at sector bounds. Each moment is tried with four random subsets, or with the number in `DHIH_TEST_POWER_LOSSES`.
#[test]
fn exactly_the_acknowledged_changes_are_there() {
    let _pool = on_this_thread();
    let subsets =
        std::env::var("DHIH_TEST_POWER_LOSSES").map_or(4, |number| number.parse().unwrap());
    let (mut moments, mut random) = (0, 0);
    for seed in 0..3 {
        let life = live(seed);
        for count in 0..=life.events.len() {
            let moment = Moment::after(&life.events, count);
            moments += 1;
            life.check(&moment, |_| Fate::Lost);
            life.check(&moment, |_| Fate::Kept);
            let volatile = moment.volatile();
            for one in 0..volatile {
                life.check(&moment, |number| if number == one { Fate::Kept } else { Fate::Lost });
                life.check(&moment, |number| if number == one { Fate::Lost } else { Fate::Kept });
                for sector in 1..3 {
                    life.check(&moment, |number| {
                        if number == one { Fate::Before(sector) } else { Fate::Kept }
                    });
                    life.check(&moment, |number| {
                        if number == one { Fate::From(sector) } else { Fate::Kept }
                    });
                }
            }
            let numbers = &mut Numbers(count as u64);
            for _ in 0..if volatile > 1 { subsets } else { 0 } {
                random += 1;
                let fates: Vec<Fate> = (0..volatile)
                    .map(|_| match numbers.below(5) {
                        0..=1 => Fate::Kept,
                        2 => Fate::Lost,
                        3 => Fate::Before(numbers.below(4)),
                        _ => Fate::From(numbers.below(4)),
                    })
                    .collect();
                life.check(&moment, |number| fates[number]);
            }
        }
    }
    assert!(moments > 500 && random >= 1000, "{moments} moments, {random} at random");
}
