//! Kills a primary and a follower at random moments while items are added, replaced and deleted. Whatever the follower answers is the state
//! of the primary at one position, and the follower soon catches up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::followers::{Copy, Primary, Random};
use crate::reloading::times;

/// The number of kills, of either side, unless `DHIH_TEST_KILLS` sets another one.
const KILLS: usize = 40;
/// The number of different item ids.
const IDS: u64 = 60;

/// Makes random changes until `stop` is set.
fn change(primary: &Primary, random: &mut Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let (id, n) = (random.below(IDS), primary.last());
        let code = random.below(1 << 31) << 33 | random.below(1 << 31);
        match random.below(8) {
            0 | 1 if primary.items_at(n).contains_key(&id) => primary.delete(id),
            // Some replacements keep the code, so that only the metadata changes.
            2 if primary.items_at(n).contains_key(&id) => {
                let (code, _) = primary.items_at(n)[&id];
                primary.put(id, (code, n), 8);
            }
            3 => primary.put(id, (code, n), 8000),
            _ => primary.put(id, (code, n), 8),
        }
    }
}

/// Stops the changes when it is dropped, also if the test fails.
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
        // The program runs outside of `primary`, so that it can be killed while the thread of the writer borrows `primary`.
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
                        // Restart the follower while the primary is down. It serves the items that it has.
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
