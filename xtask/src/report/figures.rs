//! Means and sample standard deviations, as tables show them.

/// Mean and sample standard deviation of the values that are known, with four digits; the latter of two values and more. Where some are not
/// known, it says of how many the figures are.
pub(super) fn mean_and_spread(values: &[Option<f64>]) -> String {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    let n = known.len() as f64;
    let mean = known.iter().sum::<f64>() / n;
    let squares = known.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    let text = match known.len() {
        0 => return "-".to_owned(),
        1 => format!("{mean:.4}"),
        _ => format!("{mean:.4} +- {:.4}", (squares / (n - 1.0)).sqrt()),
    };
    text + &share(known.len(), values.len())
}

/// How many of the values are known, where some are not.
fn share(known: usize, all: usize) -> String {
    if known == all { String::new() } else { format!(" ({known} of {all})") }
}

/// The mean of the values that are known, as a whole number.
pub(super) fn whole_mean(values: &[Option<f64>]) -> String {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    match known.len() {
        0 => "-".to_owned(),
        n => format!("{:.0}", known.iter().sum::<f64>() / n as f64) + &share(n, values.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_those_of_samples() {
        assert_eq!(mean_and_spread(&[]), "-");
        assert_eq!(mean_and_spread(&[None, Some(0.5)]), "0.5000 (1 of 2)");
        assert_eq!(mean_and_spread(&[Some(0.5), Some(0.7)]), "0.6000 +- 0.1414");
        assert_eq!(whole_mean(&[Some(10.0), None, Some(13.0)]), "12 (2 of 3)");
    }
}
