//! Tests of the plan.

use super::*;

fn order(own: u32) -> [TableOrder; 4] {
    [0, 1, 2, 3].map(|table| TableOrder { own, table, bits: 16 })
}

fn plan(codes: usize, profile: Option<&Profile>) -> Plan<'_> {
    Plan { bits: 64, codes, width: 8, copied: true, code_hash_table: true, profile }
}

#[test]
fn steps_certify_one_distance_after_the_other() {
    let steps = std::iter::successors(Some(ProbeStep::default()), |next| Some(next.after(3)));
    let certified: Vec<u32> = steps.take(7).map(|next| next.certified(3)).collect();
    assert_eq!(certified, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn near_neighbours_are_looked_up_middling_ones_probed_far_ones_scanned() {
    let plan = plan(10_000_000, None);
    let best = |to, own| {
        let order = &order(own);
        let probing = Probing { next: ProbeStep::default(), to, order, near_share: 0.0 };
        Costs { look_up: plan.look_up(0, to), probe: plan.probe(probing), scan: plan.scan() }.best()
    };
    let full_buckets = [0, 1, 2].map(|to| best(to, 50_000));
    assert_eq!(full_buckets, [Action::LookUp; 3]);
    assert_eq!(
        [2, 6, 14, 30].map(|to| best(to, 150)),
        [Action::Probe, Action::Probe, Action::Probe, Action::Scan]
    );
}

#[test]
fn whole_codes_are_looked_up_only_where_their_hashes_are_certain() {
    let plan = |bits| Plan { bits, ..plan(1 << 30, None) };
    for (bits, most) in
        [(9, 6), (64, 6), (65, 5), (200, 4), (257, 3), (1024, 3), (1025, 2), (4096, 2)]
    {
        assert!(plan(bits).look_up(0, most).is_finite() && plan(bits).look_up(most, most) > 0.0);
        assert!(plan(bits).look_up(0, most + 1).is_infinite(), "{bits} bits");
        assert!(plan(bits).look_up(most + 1, most + 1).is_infinite(), "{bits} bits");
    }
    let without = Plan { code_hash_table: false, ..plan(64) };
    assert!(without.look_up(0, 0).is_infinite());
}

#[test]
fn the_expected_distance_lies_between_known_ones_and_goes_on_beyond_them() {
    let found: Vec<Vec<u32>> = vec![(0..2000).map(|i| i / 100).collect(), vec![4]];
    let profile = Profile::new(&found, [8.0, 4.0, 2.0]);
    assert_eq!(profile.distances, [2.0, 2.0, 2.0, 6.5]);
    let expected = [0.0, 1.0, 100.0, 316.0, 1000.0, 1e4, 1e12].map(|k| profile.expected(k));
    assert_eq!(expected, [2, 2, 2, 4, 7, 11, 47]);
}

#[test]
fn the_fewer_rows_may_be_hits_the_further_they_are() {
    let profile = Profile { distances: [1.0, 5.0, 9.0, 13.0], bucket_codes: [1.0; WEIGHTS] };
    let plan = plan(1000, Some(&profile));
    // Every row, a tenth of them, and a hundredth.
    let expected = [10_000, 1000, 100].map(|candidates| plan.expected(10, 10_000, candidates));
    assert_eq!(expected, [Some(5), Some(9), Some(13)]);
    // If all of them are hits, the search ends where the last code is, not where a profile says.
    assert_eq!([9, 10, 0].map(|candidates| plan.expected(10, 10_000, candidates)), [None; 3]);
    assert_eq!(plan.expected(usize::MAX, 10_000, 10_000), None);
    assert_eq!(self::plan(1000, None).expected(10, 10_000, 1000), None);
}

#[test]
fn a_full_bucket_of_its_own_makes_probing_dearer() {
    let profile = Profile { distances: [1.0; 4], bucket_codes: [100.0, 50.0, 20.0] };
    let plan = plan(1_000_000, Some(&profile));
    let cost = |own, near_share| {
        let (next, order) = (ProbeStep { weight: 1, place: 0 }, &order(own));
        plan.probe(Probing { next, to: 4, order, near_share })
    };
    assert!(cost(1000, 0.0) > cost(100, 0.0) && cost(100, 0.0) > cost(1, 0.0));
    assert!(cost(100, 0.5) > cost(100, 0.1) && cost(100, 0.1) > cost(100, 0.0));
}
