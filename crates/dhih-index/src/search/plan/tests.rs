//! Tests of the plan.

use super::*;
use crate::search::probing::{Probed, Probing, TableProgress, certain};
use crate::search::profile::WEIGHTS;

fn tables(plan: &Plan, own: u32) -> [TableProgress; 4] {
    [0, 1, 2, 3].map(|table| TableProgress::new(plan, table, 16, own))
}

fn plan(codes: usize, profile: Option<&Profile>) -> Plan<'_> {
    let costs = CodeCosts::new(codes, 8, 1.0);
    Plan { bits: 64, costs, sharing: 1, code_hash_table: true, profile }
}

fn probe(plan: &Plan, tables: &[TableProgress], to: u32, near_share: f64) -> f64 {
    plan.probe(Probing { tables, to, near_share }, &mut Vec::new())
}

#[test]
fn every_step_certifies_one_more_distance() {
    let plan = plan(1_000_000, None);
    let mut tables = tables(&plan, 3);
    for step in 0..40 {
        assert_eq!(certain(&tables), step);
        let (next, _) = plan.next_table(&tables, 0.0);
        tables[next].advance(&plan, Probed { compared: 5, near: 0 });
    }
    // Buckets of 16 bits: once those at every distance were probed, every code was seen.
    let compared = Probed { compared: 5, near: 0 };
    (0..17).for_each(|_| tables[2].advance(&plan, compared));
    assert_eq!(certain(&tables), u32::MAX);
}

#[test]
fn the_cheapest_buckets_come_first() {
    let plan = plan(1_000_000, None);
    let mut tables = tables(&plan, 20);
    tables[1] = TableProgress::new(&plan, 1, 16, 500_000);
    for _ in 0..6 {
        let (next, cost) = plan.next_table(&tables, 0.0);
        assert!(next != 1 && tables.iter().all(|table| table.cost(&plan, 0.0) >= cost));
        tables[next].advance(&plan, Probed { compared: 20, near: 0 });
    }
    // The codes that a step finds predict how full the next buckets are.
    let before = tables[0].cost(&plan, 0.0);
    let (mut full, mut empty) = (tables[0], tables[0]);
    full.advance(&plan, Probed { compared: 1_000_000, near: 0 });
    empty.advance(&plan, Probed { compared: 0, near: 0 });
    assert!(full.cost(&plan, 0.0) > empty.cost(&plan, 0.0) && before > 0.0);
}

#[test]
fn near_neighbours_are_looked_up_middling_ones_probed_far_ones_scanned() {
    let plan = plan(10_000_000, None);
    let best = |to, own| {
        let probe = probe(&plan, &tables(&plan, own), to, 0.0);
        Costs { look_up: plan.look_up(0, to), probe, scan: plan.scan() }.best()
    };
    let full_buckets = [0, 1, 2].map(|to| best(to, 50_000));
    assert_eq!(full_buckets, [Action::LookUp; 3]);
    assert_eq!(
        [2, 6, 14, 30].map(|to| best(to, 150)),
        [Action::Probe, Action::Probe, Action::Probe, Action::Scan]
    );
}

#[test]
fn a_scan_costs_less_where_queries_share_it() {
    let alone = plan(10_000_000, None);
    let costs = [1, 2, 8, 64].map(|sharing| Plan { sharing, ..alone }.scan());
    assert!(costs.is_sorted_by(|a, b| a >= b) && costs[3] < 0.5 * costs[0], "{costs:?}");
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
    let cost = |own, near_share| probe(&plan, &tables(&plan, own), 8, near_share);
    assert!(cost(1000, 0.0) > cost(100, 0.0) && cost(100, 0.0) > cost(1, 0.0));
    assert!(cost(100, 0.5) > cost(100, 0.1) && cost(100, 0.1) > cost(100, 0.0));
}
