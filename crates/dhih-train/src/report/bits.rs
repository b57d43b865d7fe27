//! How much the bits of a set of codes are worth: how often each bit is set, and how the bits correlate.

use dhih_index::Codes;

/// Statistics of the bits of codes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BitStatistics {
    /// For each bit, the share of codes in which it is set; 1/2 is best.
    pub(super) balance: Vec<f64>,
    /// Pearson's correlation of each two bits; 0 where one of them never changes.
    pub(super) correlation: Vec<Vec<f64>>,
}

impl BitStatistics {
    /// The statistics of all codes.
    pub(super) fn new(codes: &Codes) -> Self {
        let (bits, n) = (codes.bits() as usize, codes.len() as f64);
        let mut both = vec![vec![0u32; bits]; bits];
        let mut set = Vec::with_capacity(bits);
        for code in codes.iter() {
            set.clear();
            set.extend((0..bits).filter(|bit| code[bit / 8] >> (bit % 8) & 1 == 1));
            for (i, a) in set.iter().enumerate() {
                set[i..].iter().for_each(|b| both[*a][*b] += 1);
            }
        }
        let balance: Vec<f64> = (0..bits).map(|bit| f64::from(both[bit][bit]) / n).collect();
        let correlation = |a: usize, b: usize| {
            let [p, q] = [balance[a], balance[b]];
            let spread = (p * (1.0 - p) * q * (1.0 - q)).sqrt();
            let joint = f64::from(both[a.min(b)][a.max(b)]) / n;
            if spread == 0.0 { 0.0 } else { (joint - p * q) / spread }
        };
        let correlation = (0..bits).map(|a| (0..bits).map(|b| correlation(a, b)).collect());
        Self { correlation: correlation.collect(), balance }
    }

    /// The mean absolute correlation of two different bits.
    pub(super) fn mean_correlation(&self) -> f64 {
        let bits = self.balance.len();
        let sum: f64 = self.correlation.iter().flatten().map(|value| value.abs()).sum();
        let own: f64 = (0..bits).map(|bit| self.correlation[bit][bit].abs()).sum();
        (sum - own) / (bits * bits.saturating_sub(1)).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_opposite_independent_and_constant_bits() {
        // Bit 1 equals bit 0, bit 2 is its opposite, bit 3 is independent of it, and bit 4 is always set.
        let code = |a: u8, b: u8| a | a << 1 | (1 - a) << 2 | b << 3 | 1 << 4;
        let codes = Codes::new(5, vec![code(0, 0), code(0, 1), code(1, 0), code(1, 1)]).unwrap();
        let statistics = BitStatistics::new(&codes);
        assert_eq!(statistics.balance, [0.5, 0.5, 0.5, 0.5, 1.0]);
        assert_eq!(statistics.correlation[0], [1.0, 1.0, -1.0, 0.0, 0.0]);
        assert_eq!(statistics.correlation[2][1], -1.0);
        assert_eq!(statistics.correlation[4][4], 0.0);
        assert!((statistics.mean_correlation() - 6.0 / 20.0).abs() < 1e-12);
    }
}
