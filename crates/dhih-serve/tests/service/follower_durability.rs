//! A primary and a follower, killed at random moments while items are added, replaced and deleted: whatever the follower answers is what the
//! primary had at one moment, and it soon has all of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::followers::{Copy, Primary, Random};
use crate::reloading::times;

/// Kills of either side, unless `DHIH_TEST_KILLS` says otherwise.
const KILLS: usize = 40;
/// Ids of items.
const IDS: u64 = 60;

/// Changes items until it is told to stop.
fn change(primary: &Primary, random: &mut Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let (id, n) = (random.below(IDS), primary.last());
        let code = random.below(1 << 31) << 33 | random.below(1 << 31);
        match random.below(8) {
            0 | 1 if primary.items_at(n).contains_key(&id) => primary.delete(id),
            // Now and then with the code that it has.
            2 if primary.items_at(n).contains_key(&id) => {
                let (code, _) = primary.items_at(n)[&id];
                primary.put(id, (code, n), 8);
            }
            3 => primary.put(id, (code, n), 8000),
            _ => primary.put(id, (code, n), 8),
        }
    }
}

/// Ends the changes, also where the test fails.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn kills_of_either_side_lose_nothing_and_answer_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let mut primary = Primary::start(dir.path().join("primary"), &["--journal-mib", "1"]);
    let mut copy = Copy::begin(dir.path().join("copy"), &primary.url(), &[]);
    let mut random = Random(7);
    let kills = times("DHIH_TEST_KILLS", KILLS);
    let (mut done, mut of_primary) = (0, 0);
    while done < kills {
        let stop = AtomicBool::new(false);
        let mut changes = Random(random.below(u64::MAX >> 33));
        // The child processes are killed beside the thread that asks them.
        let (killed, shared) = (primary.running.take(), &primary);
        let mut running = killed;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| change(shared, &mut changes, &stop));
            let stopping = StopOnDrop(&stop);
            for _ in 0..5 {
                std::thread::sleep(Duration::from_micros(10_000 + 1000 * random.below(40)));
                if copy.is_running() {
                    copy.is_at_some_moment(shared);
                }
                let victims = random.below(5);
                if victims != 1 {
                    copy.kill();
                    done += 1;
                }
                if victims <= 1 {
                    running = None;
                    (done, of_primary) = (done + 1, of_primary + 1);
                }
                std::thread::sleep(Duration::from_micros(1000 * random.below(20)));
                if running.is_none() {
                    if !copy.is_running() && random.below(2) == 0 {
                        // It serves what it has while nobody tells it of more.
                        copy.start_again();
                        copy.is_at_some_moment(shared);
                    }
                    running = Some(shared.running_again());
                }
                if !copy.is_running() {
                    copy.start_again();
                }
            }
            drop(stopping);
            writer.join().unwrap();
        });
        primary.running = running;
        copy.reaches(primary.last());
        copy.is_exactly(&primary.items_at(primary.last()));
    }
    let changes = primary.last();
    eprintln!("{done} kills, {of_primary} of them of the primary, and {changes} changes");
    assert!(of_primary * 10 > kills && changes as usize > kills, "{of_primary}, {changes}");
}
