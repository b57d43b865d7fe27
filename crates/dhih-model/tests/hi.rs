//! The HI loss in all its modes, compared with its formulas written out sample by sample in float64, and with other losses in limiting cases.
//! `losses.rs` compares the gradients with finite differences.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

use candle_core::{DType, Device, Tensor, Var};
use dhih_model::codewords::{CodewordConfig, Codewords, Scheme};
use dhih_model::loss::{
    CLASS_DIRECTIONS, Centres, Csq, Hi, HiClasses, HiMode, Loss, Objective, ObjectiveConfig, Ortho,
    Softmax, Supervision, csq, hi, ortho_cos, softmax,
};
use dhih_model::{Parameters, named_rng};
use rand::Rng;

const BITS: usize = 6;
const CLASSES: usize = 4;
const SAMPLES: usize = 5;
/// Samples with one label, several, none, and all.
const LABELS: [[f64; CLASSES]; SAMPLES] =
    [[1., 0., 0., 0.], [0., 1., 0., 1.], [0., 0., 0., 0.], [0., 0., 1., 0.], [1., 1., 1., 1.]];
const SINGLE: [[f64; CLASSES]; SAMPLES] =
    [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 0., 1.], [0., 0., 1., 0.], [1., 0., 0., 0.]];

fn random(rows: usize, name: &str) -> Vec<[f64; BITS]> {
    let mut rng = named_rng(5, name);
    let mut row = || std::array::from_fn(|_| rng.random_range(-2.0..2.0));
    (0..rows).map(|_| row()).collect()
}

fn tensor<const N: usize>(rows: &[[f64; N]]) -> Tensor {
    Tensor::from_slice(rows.as_flattened(), (rows.len(), N), &Device::Cpu).unwrap()
}

fn scalar(tensor: &Tensor) -> f64 {
    tensor.to_scalar().unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn centres() -> Centres {
    let config = CodewordConfig { scheme: Scheme::Distant, classes: CLASSES, bits: BITS, seed: 0 };
    Centres::new(&Codewords::new(config).unwrap(), DType::F64, &Device::Cpu).unwrap()
}

fn rows_of(tensor: &Tensor) -> Vec<[f64; BITS]> {
    tensor.to_vec2::<f64>().unwrap().into_iter().map(|row| row.try_into().unwrap()).collect()
}

/// The rows that samples are compared with, and how.
struct Case<'a> {
    rows: &'a [[f64; BITS]],
    /// The target signs where the rows of a sample's classes sum to 0.
    tie: &'a [f64; BITS],
    labels: &'a [[f64; CLASSES]],
    smoothing: f64,
    progress: f64,
}

/// The loss by its definition.
fn defined(v: &[[f64; BITS]], case: &Case<'_>, config: &Hi) -> f64 {
    let Case { rows, tie, labels, smoothing, progress } = *case;
    let part = |length: f64| if length == 0.0 { 1.0 } else { (progress / length).min(1.0) };
    let alpha = 1.0 - (1.0 - config.alpha) * part(config.alpha_ramp);
    let factor = config.scale_start * (1.0 - part(config.scale_ramp))
        + config.scale_factor * part(config.scale_ramp);
    let phi = |x: f64| if x >= 0.0 { alpha * x } else { x / alpha };
    let logits = |v: &[f64; BITS]| -> Vec<(f64, f64)> {
        let logit = |row: &[f64; BITS]| match config.mode {
            HiMode::Target => {
                let z = dot(&v.map(f64::tanh), row);
                (z, phi(z))
            }
            HiMode::Global => {
                let z = alpha * dot(&v.map(f64::tanh), row);
                (z, z)
            }
            HiMode::Cosine | HiMode::CosineWeights => {
                let c = dot(v, row) / (dot(v, v) * dot(row, row)).sqrt();
                let s = factor * (BITS as f64).sqrt();
                (s * c, s * phi(c))
            }
        };
        rows.iter().map(logit).collect()
    };
    let (mut sum, mut labelled) = (0.0, 0);
    for (v, labels) in v.iter().zip(labels) {
        let own: Vec<usize> = (0..CLASSES).filter(|c| labels[*c] == 1.0).collect();
        if own.is_empty() {
            continue;
        }
        labelled += 1;
        let z = logits(v);
        let others: f64 = (0..CLASSES).filter(|c| !own.contains(c)).map(|c| z[c].0.exp()).sum();
        let of_label = |c: &usize| -(z[*c].1.exp() / (z[*c].1.exp() + others)).ln();
        let own_part = own.iter().map(of_label).sum::<f64>() / own.len() as f64;
        let all: f64 = z.iter().map(|(z, _)| z.exp()).sum();
        let uniform = -z.iter().map(|(z, _)| (z.exp() / all).ln()).sum::<f64>() / CLASSES as f64;
        let quantisation =
            v.iter().map(|v| (v.tanh().abs() - 1.0).powi(2)).sum::<f64>() / BITS as f64;
        let price = |k: usize| {
            let row_sum: f64 = own.iter().map(|c| rows[*c][k]).sum();
            let sign = if row_sum == 0.0 { tie[k] } else { row_sum.signum() };
            softplus(-2.0 * v[k] * sign)
        };
        let supervised = (0..BITS).map(price).sum::<f64>() / BITS as f64;
        sum += (1.0 - smoothing) * own_part
            + smoothing * uniform
            + config.lambda_q * quantisation
            + config.mu * supervised;
    }
    let mut penalty = 0.0;
    if config.mode == HiMode::CosineWeights {
        for (i, a) in rows.iter().enumerate() {
            for (_, b) in rows.iter().enumerate().filter(|(j, _)| *j != i) {
                penalty += (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).powi(2);
            }
        }
        penalty *= config.beta / (CLASSES * (CLASSES - 1)) as f64;
    }
    sum / f64::from(labelled) + penalty
}

#[test]
fn every_mode_agrees_with_its_formula() {
    let (v, weights) = (random(SAMPLES, "v"), random(CLASSES, "weights"));
    let all = Hi {
        alpha: 0.6,
        alpha_ramp: 0.8,
        lambda_q: 0.3,
        mu: 0.7,
        beta: 0.4,
        scale_factor: 1.5,
        scale_start: 0.5,
        scale_ramp: 0.5,
        ..Hi::default()
    };
    let ones = [1.0; BITS];
    for mode in [HiMode::Target, HiMode::Global, HiMode::Cosine, HiMode::CosineWeights] {
        let (classes, rows, tie) = match mode {
            HiMode::Cosine => {
                let centres = centres();
                let tie = centres.tie.to_vec1::<f64>().unwrap().try_into().unwrap();
                let rows = rows_of(&centres.codes);
                (HiClasses::Codewords(centres), rows, tie)
            }
            _ => (HiClasses::Weights(tensor(&weights)), weights.clone(), ones),
        };
        for (config, progress) in
            [(Hi::of_mode(mode), 0.5), (Hi { mode, ..all }, 0.2), (Hi { mode, ..all }, 0.9)]
        {
            for (labels, smoothing) in [(SINGLE, 0.0), (LABELS, 0.0), (SINGLE, 0.2), (LABELS, 0.2)]
            {
                let targets = tensor(&labels);
                let supervision = Supervision { labels: &targets, smoothing, progress };
                let got = scalar(&hi(&tensor(&v), &classes, supervision, &config).unwrap());
                let case = Case { rows: &rows, tie: &tie, labels: &labels, smoothing, progress };
                let expected = defined(&v, &case, &config);
                assert!((got - expected).abs() < 1e-12, "{config:?}: {got} {expected}");
            }
        }
    }
}

#[test]
fn an_alpha_of_one_is_the_loss_without_sensitivity() {
    let (v, weights) = (tensor(&random(SAMPLES, "v")), tensor(&random(CLASSES, "weights")));
    let labels = tensor(&SINGLE);
    let supervision = Supervision { labels: &labels, smoothing: 0.1, progress: 0.5 };
    let without = |mode| Hi { alpha: 1.0, mu: 0.0, beta: 0.0, lambda_q: 0.0, ..Hi::of_mode(mode) };
    let value =
        |mode, classes: &HiClasses| scalar(&hi(&v, classes, supervision, &without(mode)).unwrap());
    let trained = HiClasses::Weights(weights.clone());
    let plain = scalar(&softmax(&v, &weights, supervision, &Softmax::default()).unwrap());
    let centres = centres();
    let ortho = Ortho { margin: 0.0, ..Ortho::new(BITS) };
    let cosine = scalar(&ortho_cos(&v, &centres, supervision, &ortho).unwrap());
    let at_codewords = HiClasses::Weights((&centres.codes * 0.3).unwrap());
    for (got, expected) in [
        (value(HiMode::Target, &trained), plain),
        (value(HiMode::Global, &trained), plain),
        (value(HiMode::Cosine, &HiClasses::Codewords(centres.clone())), cosine),
        (value(HiMode::CosineWeights, &at_codewords), cosine),
    ] {
        assert!((got - expected).abs() < 1e-12, "{got} {expected}");
    }
}

#[test]
fn a_lower_alpha_is_harder_and_is_reached_along_the_ramp() {
    let (v, labels) = (tensor(&random(SAMPLES, "v")), tensor(&LABELS));
    let classes = HiClasses::Weights(tensor(&random(CLASSES, "weights")));
    for mode in [HiMode::Target, HiMode::CosineWeights] {
        let value = |alpha, alpha_ramp, progress| {
            let config = Hi { alpha, alpha_ramp, ..Hi::of_mode(mode) };
            let supervision = Supervision { labels: &labels, smoothing: 0.0, progress };
            scalar(&hi(&v, &classes, supervision, &config).unwrap())
        };
        let constant = |alpha| value(alpha, 0.0, 0.3);
        assert!(constant(0.25) > constant(0.5) && constant(0.5) > constant(1.0), "{mode:?}");
        assert_eq!(value(0.5, 0.5, 0.0), constant(1.0), "{mode:?}");
        assert_eq!(value(0.5, 0.5, 0.25), constant(0.75), "{mode:?}");
        assert_eq!(value(0.5, 0.5, 0.9), constant(0.5), "{mode:?}");
    }
}

/// With supervised quantisation towards fixed codewords and nothing else, the loss is CSQ, also for samples of several classes.
#[test]
fn supervised_quantisation_towards_codewords_is_central_similarity() {
    let (v, labels, centres) = (tensor(&random(SAMPLES, "v")), tensor(&LABELS), centres());
    let classes = HiClasses::Codewords(centres.clone());
    let value = |mu| {
        let config = Hi { mu, ..Hi::of_mode(HiMode::Cosine) };
        scalar(&hi(&v, &classes, Supervision::of(&labels), &config).unwrap())
    };
    let config = Csq { lambda: 0.0, ..Csq::default() };
    let expected = scalar(&csq(&v, &centres, Supervision::of(&labels), &config).unwrap());
    assert!((value(0.8) - value(0.0) - 0.8 * expected).abs() < 1e-12);
}

/// The signs of a class are a target: class weights get no gradient through them.
#[test]
fn no_gradient_goes_through_the_signs_of_class_weights() {
    let weights = Var::from_tensor(&tensor(&random(CLASSES, "weights"))).unwrap();
    let (v, labels) = (tensor(&random(SAMPLES, "v")), tensor(&SINGLE));
    let classes = HiClasses::Weights(weights.as_tensor().clone());
    let gradient = |mu| {
        let config = Hi { mu, ..Hi::default() };
        let loss = hi(&v, &classes, Supervision::of(&labels), &config).unwrap();
        loss.backward().unwrap().get(&weights).unwrap().to_vec2::<f64>().unwrap()
    };
    assert_eq!(gradient(0.0), gradient(5.0));
}

#[test]
fn trained_directions_begin_at_the_codewords_and_stay_where_they_are_stored() {
    let loss = Loss::Hi(Hi::of_mode(HiMode::CosineWeights));
    let config = ObjectiveConfig { loss: &loss, classes: CLASSES, bits: BITS };
    let parameters = Parameters::seeded(1);
    let vb = parameters.builder(DType::F64, &Device::Cpu);
    Objective::new(config, &vb).unwrap();
    let directions = parameters.get(CLASS_DIRECTIONS).unwrap();
    let expected = (centres().codes / (BITS as f64).sqrt()).unwrap();
    for (got, expected) in rows_of(&directions).iter().zip(rows_of(&expected)) {
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}");
    }
    // A second objective on the same variables does not overwrite them.
    directions.set(&(directions.as_tensor() * 0.5).unwrap()).unwrap();
    let moved = rows_of(&directions);
    Objective::new(config, &vb).unwrap();
    assert_eq!(rows_of(&directions), moved);
}
