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
fn the_expected_distance_lies_between_known_ones() {
    let found: Vec<Vec<u32>> = vec![(0..2000).map(|i| i / 100).collect(), vec![4]];
    let profile = Profile::new(&found, [8.0, 4.0, 2.0]);
    assert_eq!(profile.distances, [2.0, 2.0, 2.0, 6.5]);
    assert_eq!([0, 1, 100, 316, 1000, 1 << 40].map(|k| profile.expected(k)), [2, 2, 2, 4, 7, 7]);
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
