//! Tests: every instruction set of this machine equals the definition, the sums of floating-point numbers bit for bit.

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::vectors::stored::MAX_DIMS;

fn queries() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (1..300_usize).prop_flat_map(|dims| {
        let number = || prop_oneof![-4.0..4.0_f32, Just(0.0_f32), -1e-6..1e-6_f32];
        (prop::collection::vec(number(), dims), prop::collection::vec(number(), dims))
    })
}

proptest! {
    #[test]
    fn sums_of_floating_point_numbers_are_the_same_everywhere((query, vector) in queries()) {
        let single: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        let halves: Vec<f16> = vector.iter().map(|x| f16::from_f32(*x)).collect();
        let half: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
        let sum = |other: &mut dyn Iterator<Item = f64>| -> f64 {
            query.iter().zip(other).map(|(a, b)| f64::from(*a) * b).sum()
        };
        let expected = sum(&mut vector.iter().map(|x| f64::from(*x)));
        let expected_half = sum(&mut halves.iter().map(|x| x.to_f64()));
        let (first, first_half) = (scalar::f32(&query, &single), scalar::f16(&query, &half));
        prop_assert!((f64::from(first) - expected).abs() < 1e-6 * 16.0 * query.len() as f64);
        prop_assert!((f64::from(first_half) - expected_half).abs() < 1e-6 * 16.0 * query.len() as f64);
        for kernel in available() {
            let (found, found_half) = ((kernel.f32)(&query, &single), (kernel.f16)(&query, &half));
            prop_assert_eq!(found.to_bits(), first.to_bits(), "{}", kernel.name);
            prop_assert_eq!(found_half.to_bits(), first_half.to_bits(), "{}", kernel.name);
        }
    }

    #[test]
    fn sums_of_whole_numbers_are_exact(
        pairs in prop::collection::vec((-127..=127_i8, -127..=127_i8), 1..300),
    ) {
        let (query, numbers): (Vec<i8>, Vec<u8>) = pairs.iter().map(|&(a, b)| (a, b as u8)).unzip();
        let sum = query.iter().map(|&x| i32::from(x)).sum();
        let expected: i32 = pairs.iter().map(|&(a, b)| i32::from(a) * i32::from(b)).sum();
        for kernel in available() {
            prop_assert_eq!((kernel.int8)(&query, sum, &numbers), expected, "{}", kernel.name);
        }
    }
}

#[test]
fn the_longest_vectors_do_not_overflow() {
    for (a, b) in [(127_i8, 127_i8), (127, -127), (-127, -127)] {
        let (query, numbers) = (vec![a; MAX_DIMS], vec![b as u8; MAX_DIMS]);
        let sum = MAX_DIMS as i32 * i32::from(a);
        let expected = MAX_DIMS as i32 * i32::from(a) * i32::from(b);
        for kernel in available() {
            assert_eq!((kernel.int8)(&query, sum, &numbers), expected, "{}", kernel.name);
        }
    }
}

#[test]
fn every_number_of_half_precision_has_its_value() {
    for bits in 0..=u16::MAX {
        let number = f16::from_bits(bits);
        if number.is_finite() {
            for kernel in available() {
                let found = (kernel.f16)(&[1.0], &number.to_le_bytes());
                assert_eq!(found, number.to_f32(), "{} {bits:#x}", kernel.name);
            }
        }
    }
}
