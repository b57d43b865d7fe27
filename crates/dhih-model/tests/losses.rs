//! Every loss through its objective: gradients against finite differences, samples without labels, edge cases, training, and classification.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use candle_core::{DType, Device, Tensor, Var};
use dhih_model::codewords::{CodewordConfig, Codewords, Scheme};
use dhih_model::loss::{
    CLASS_DIRECTIONS, Csq, Hi, HiMode, Loss, Objective, ObjectiveConfig, Ortho, Ssdh,
};
use dhih_model::{HashNorm, Parameters, named_rng};
use rand::Rng;

const BITS: usize = 8;
const CLASSES: usize = 4;
/// Each sample has one label.
const SINGLE: [[f64; CLASSES]; 5] =
    [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 0., 1.], [0., 1., 0., 0.], [1., 0., 0., 0.]];
/// Samples with several labels, none, and all.
const MULTI: [[f64; CLASSES]; 5] =
    [[1., 1., 0., 0.], [0., 0., 0., 0.], [0., 1., 0., 1.], [1., 1., 1., 1.], [0., 0., 1., 0.]];

fn losses() -> Vec<Loss> {
    let mut losses: Vec<Loss> =
        Loss::ALL.iter().map(|(name, _)| Loss::named(name, BITS).unwrap()).collect();
    let modes = [HiMode::Global, HiMode::Cosine, HiMode::CosineWeights];
    losses.extend(modes.map(|mode| Loss::Hi(Hi::of_mode(mode))));
    let alpha = 1.5;
    losses.push(Loss::Hi(Hi { alpha, lambda_q: 0.2, ..Hi::of_mode(HiMode::Global) }));
    // Every term is there, and every schedule is under way.
    let all = Hi { alpha_ramp: 0.5, scale_ramp: 0.8, lambda_q: 0.1, mu: 0.7, ..Hi::default() };
    losses.extend(modes.map(|mode| Loss::Hi(Hi { mode, beta: 0.3, ..all })));
    losses
}

fn config_of(loss: &Loss) -> ObjectiveConfig<'_> {
    ObjectiveConfig { loss, classes: CLASSES, bits: BITS }
}

fn objective(loss: &Loss) -> (Objective, Parameters) {
    let parameters = Parameters::seeded(3);
    let vb = parameters.builder(DType::F64, &Device::Cpu);
    (Objective::new(config_of(loss), &vb).unwrap(), parameters)
}

fn labels(rows: &[[f64; CLASSES]]) -> Tensor {
    Tensor::from_slice(rows.as_flattened(), (rows.len(), CLASSES), &Device::Cpu).unwrap()
}

fn var(values: Vec<f64>) -> Var {
    let shape = (values.len() / BITS, BITS);
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

/// Values between -2 and 2, at least 0.05 away from the kinks that some losses have at 0 and +-1.
fn outputs(n: usize) -> Var {
    let mut rng = named_rng(11, "outputs");
    let kinks = [0.0, 1.0];
    let mut draw = || loop {
        let x: f64 = rng.random_range(-2.0..2.0);
        if kinks.iter().all(|kink| (x.abs() - kink).abs() > 0.05) {
            return x;
        }
    };
    var((0..n * BITS).map(|_| draw()).collect())
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn scalar(tensor: &Tensor) -> f64 {
    tensor.to_scalar().unwrap()
}

fn assert_finite_differences(what: &str, var: &Var, gradient: &[f64], value: impl Fn() -> f64) {
    let original = var.as_tensor().copy().unwrap();
    let values = flat(&original);
    for at in 0..values.len() {
        let moved = |by: f64| {
            let mut values = values.clone();
            values[at] += by;
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
            value()
        };
        let step = 1e-5;
        let numeric = (moved(step) - moved(-step)) / (2.0 * step);
        let error = (numeric - gradient[at]).abs();
        assert!(error <= 1e-6 * numeric.abs().max(1.0), "{what} {at}: {numeric} {}", gradient[at]);
    }
    var.set(&original).unwrap();
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for loss in losses() {
        for rows in [SINGLE, MULTI] {
            let (objective, parameters) = objective(&loss);
            let (v, labels) = (outputs(5), labels(&rows));
            // At the codewords, sums of rows have ties in their signs, which the smallest step would change.
            if let Some(directions) = parameters.get(CLASS_DIRECTIONS) {
                let anywhere = outputs(CLASSES).as_tensor().copy().unwrap();
                directions.set(&anywhere).unwrap();
            }
            let value = || objective.value(v.as_tensor(), &labels, 0.3).unwrap();
            let gradients = value().backward().unwrap();
            let mut vars = parameters.trainable();
            // The derivative of the sign is 0; the straight-through gradient is tested below.
            if !matches!(loss, Loss::GreedyHash(_)) {
                vars.push(("v".to_owned(), v.clone()));
            }
            for (name, var) in &vars {
                let what = format!("{loss:?} {name}");
                let gradient = flat(gradients.get(var).expect(&what));
                assert_finite_differences(&what, var, &gradient, || scalar(&value()));
            }
        }
    }
}

/// A sample with smoothed labels counts partly as one of its own class, and for the rest as one of each class. Terms that do not depend on
/// labels keep their weight.
#[test]
fn smoothed_labels_are_spread_over_the_classes_and_other_terms_keep_their_weight() {
    let smoothing = 0.3;
    for loss in losses() {
        let (objective, _) = objective(&loss);
        let (v, labels) = (outputs(5), labels(&SINGLE));
        let smoothed = || objective.smoothed(v.as_tensor(), &labels, 0.3, smoothing);
        assert_eq!(smoothed().is_err(), loss.is_pairwise(), "{loss:?}");
        if loss.is_pairwise() {
            continue;
        }
        if !matches!(loss, Loss::GreedyHash(_)) {
            let gradient = smoothed().unwrap().backward().unwrap();
            let gradient = flat(gradient.get(&v).unwrap());
            let what = format!("{loss:?}");
            assert_finite_differences(&what, &v, &gradient, || scalar(&smoothed().unwrap()));
        }
        // The smoothed part is without the margin.
        let plain = match loss {
            Loss::OrthoCos(c) | Loss::OrthoArc(c) => Loss::OrthoCos(Ortho { margin: 0.0, ..c }),
            Loss::Hi(c) if c.mode != HiMode::Global => {
                Loss::Hi(Hi { alpha: 1.0, lambda_q: 0.0, mu: 0.0, beta: 0.0, ..c })
            }
            Loss::Hi(c) => Loss::Hi(Hi { lambda_q: 0.0, mu: 0.0, ..c }),
            Loss::Ssdh(_) => Loss::Ssdh(Ssdh { binary: 0.0, balance: 0.0 }),
            Loss::GreedyHash(mut c) => {
                c.penalty = 0.0;
                Loss::GreedyHash(c)
            }
            Loss::Csq(c) => Loss::Csq(Csq { lambda: 0.0, ..c }),
            other => other,
        };
        let value = |loss: &Loss, labels: &Tensor| {
            scalar(&self::objective(loss).0.value(v.as_tensor(), labels, 0.3).unwrap())
        };
        let of_class = |class: usize| {
            let mut rows = [[0.0; CLASSES]; 5];
            rows.iter_mut().for_each(|row| row[class] = 1.0);
            value(&plain, &self::labels(&rows))
        };
        let mean = (0..CLASSES).map(of_class).sum::<f64>() / CLASSES as f64;
        // The part of the loss that is smoothed: all of it except the other terms.
        let own = match loss {
            Loss::OrthoCos(_) | Loss::OrthoArc(_) => value(&loss, &labels),
            Loss::Hi(c) => value(&Loss::Hi(Hi { lambda_q: 0.0, mu: 0.0, beta: 0.0, ..c }), &labels),
            _ => value(&plain, &labels),
        };
        let other_terms = value(&loss, &labels) - own;
        let expected = (1.0 - smoothing) * own + smoothing * mean + other_terms;
        let got = scalar(&smoothed().unwrap());
        assert!((got - expected).abs() < 1e-12, "{loss:?}: {got} {expected}");
    }
}

/// The gradient of GreedyHash is that of the loss with `b0 + (v - v0)` in place of the code, where `v0` is the point at which it is taken.
#[test]
fn greedyhash_passes_the_gradient_of_the_code() {
    let (objective, parameters) = objective(&Loss::named("greedyhash", BITS).unwrap());
    let (v, labels) = (outputs(5), labels(&SINGLE));
    let value = || objective.value(v.as_tensor(), &labels, 0.0).unwrap();
    let gradient = flat(value().backward().unwrap().get(&v).unwrap());
    let weight = parameters.all().remove(0).1;
    let start = v.as_tensor().copy().unwrap();
    let code: Vec<f64> = flat(&start).iter().map(|x| x.signum()).collect();
    let code = Tensor::from_vec(code, (5, BITS), &Device::Cpu).unwrap();
    let surrogate = || {
        let b = ((&code - &start).unwrap() + v.as_tensor()).unwrap();
        let z = b.matmul(&weight.t().unwrap()).unwrap();
        let log_p = candle_nn::ops::log_softmax(&z, 1).unwrap();
        let entropy = -scalar(&(log_p * &labels).unwrap().sum_all().unwrap()) / 5.0;
        let cubes: f64 = flat(v.as_tensor()).iter().map(|x| (x.abs() - 1.0).abs().powi(3)).sum();
        entropy + 0.1 * cubes / (5 * BITS) as f64
    };
    assert!((surrogate() - scalar(&value())).abs() < 1e-12);
    assert_finite_differences("greedyhash v", &v, &gradient, surrogate);
}

#[test]
fn values_and_gradients_are_finite_at_the_edges() {
    let config = CodewordConfig { scheme: Scheme::Auto, classes: CLASSES, bits: BITS, seed: 0 };
    let codewords = Codewords::new(config).unwrap();
    let codeword: Vec<f64> =
        codewords.values()[BITS..2 * BITS].iter().map(|bit| f64::from(*bit)).collect();
    let negative = codeword.iter().map(|x| -x).collect();
    // Zeros; the codeword, with cosine 1 and |v| = 1; its negative; values that saturate in either direction.
    let rows = [vec![0.0; BITS], codeword, negative, vec![60.0; BITS], vec![-1e4; BITS]].concat();
    let v = var(rows);
    for loss in losses() {
        for dtype in [DType::F64, DType::F32] {
            let v = Var::from_tensor(&v.to_dtype(dtype).unwrap()).unwrap();
            let vb = Parameters::seeded(3).builder(dtype, &Device::Cpu);
            let objective = Objective::new(config_of(&loss), &vb).unwrap();
            for rows in [[[0., 1., 0., 0.]; 5], MULTI, [[0.; CLASSES]; 5]] {
                let labels = labels(&rows).to_dtype(dtype).unwrap();
                let value = objective.value(v.as_tensor(), &labels, 1.0).unwrap();
                let gradients = value.backward().unwrap();
                for tensor in [&value, gradients.get(&v).unwrap()] {
                    let values = flat(&tensor.to_dtype(DType::F64).unwrap());
                    assert!(values.iter().all(|x| x.is_finite()), "{loss:?} {dtype:?} {values:?}");
                }
            }
        }
    }
}

#[test]
fn losses_leave_out_samples_without_labels() {
    let (v, labelled) = (outputs(5), labels(&SINGLE));
    let more = Tensor::cat(&[v.as_tensor(), outputs(2).as_tensor()], 0).unwrap();
    let more = Var::from_tensor(&more).unwrap();
    let more_labels = Tensor::cat(&[labelled.clone(), labels(&[[0.; CLASSES]; 2])], 0).unwrap();
    for loss in losses() {
        let (objective, _) = objective(&loss);
        let value = |v: &Tensor, labels: &Tensor| objective.value(v, labels, 0.0).unwrap();
        let expected = scalar(&value(v.as_tensor(), &labelled));
        let got = value(more.as_tensor(), &more_labels);
        assert!(expected > 0.0 && (scalar(&got) - expected).abs() < 1e-12, "{loss:?}: {got}");
        let gradient = flat(got.backward().unwrap().get(&more).unwrap());
        assert!(gradient[..5 * BITS].iter().any(|g| *g != 0.0), "{loss:?}");
        assert!(gradient[5 * BITS..].iter().all(|g| *g == 0.0), "{loss:?}");
        // Without any label, only the term that does not depend on samples is left: that of orthogonal class weights.
        let none = value(v.as_tensor(), &labels(&[[0.; CLASSES]; 5]));
        let gradient = flat(none.backward().unwrap().get(&v).unwrap());
        assert!(gradient.iter().all(|g| *g == 0.0), "{loss:?}");
        let has_penalty = matches!(loss, Loss::Hi(Hi { mode: HiMode::CosineWeights, .. }));
        assert!(scalar(&none) == 0.0 || has_penalty, "{loss:?}");
    }
}

fn kind(loss: &Loss) -> &'static str {
    let (_, line) = Loss::ALL.into_iter().find(|(name, _)| *name == loss.name()).unwrap();
    line.split(';').next().unwrap()
}

/// Gradient descent on outputs and weights: the loss falls, and the classifier learns the classes, or the codes of classes separate.
#[test]
fn descent_separates_classes() {
    for loss in losses() {
        let (objective, parameters) = objective(&loss);
        let (v, labels) = (outputs(5), labels(&SINGLE));
        let mut vars: Vec<Var> = parameters.trainable().into_iter().map(|(_, var)| var).collect();
        vars.push(v.clone());
        let step = |_| {
            let value = objective.value(v.as_tensor(), &labels, 0.0).unwrap();
            let gradients = value.backward().unwrap();
            for var in &vars {
                let moved = (gradients.get(var).unwrap() * -0.2).unwrap();
                var.set(&(var.as_tensor() + moved).unwrap()).unwrap();
            }
            scalar(&value)
        };
        let values: Vec<f64> = (0..300).map(step).collect();
        assert!(values[299] < 0.8 * values[0], "{loss:?}: {} to {}", values[0], values[299]);
        let classes = objective.classify(v.as_tensor()).unwrap();
        assert_eq!(classes.is_some(), kind(&loss) == "unary", "{loss:?}");
        if let Some(classes) = classes {
            assert_eq!(classes.to_vec1::<u32>().unwrap(), [0, 1, 3, 1, 0], "{loss:?}");
            continue;
        }
        let codes: Vec<bool> = flat(v.as_tensor()).iter().map(|x| *x >= 0.0).collect();
        let distance = |i: usize, j: usize| {
            let pairs = codes[i * BITS..][..BITS].iter().zip(&codes[j * BITS..][..BITS]);
            pairs.filter(|(a, b)| a != b).count()
        };
        for (i, j) in [(0, 4), (1, 3)] {
            assert!(distance(i, j) < distance(0, 1).min(distance(1, 2)), "{loss:?}");
        }
    }
}

#[test]
fn several_labels_share_the_target_or_the_code() {
    let v = outputs(1);
    let value = |loss: &Loss, rows: [f64; CLASSES]| {
        scalar(&objective(loss).0.value(v.as_tensor(), &labels(&[rows]), 0.0).unwrap())
    };
    // The cross-entropy with a target spread over two classes is the mean of those with either class.
    for name in ["softmax", "ssdh", "greedyhash"] {
        let loss = Loss::named(name, BITS).unwrap();
        let either = [value(&loss, [1., 0., 0., 0.]), value(&loss, [0., 0., 1., 0.])];
        let both = value(&loss, [1., 0., 1., 0.]);
        assert!((both - (either[0] + either[1]) / 2.0).abs() < 1e-12, "{name}");
    }
    // Two Hadamard rows tie in half of their bits; where they agree, the target is the same as theirs.
    let csq = Csq { lambda: 0.0, ..Csq::default() };
    let config = CodewordConfig { scheme: Scheme::Auto, classes: CLASSES, bits: BITS, seed: 0 };
    let codewords = Codewords::new(config).unwrap();
    let (rows, tie) = (codewords.values(), codewords.tie());
    let target = |bit: usize| match (rows[bit], rows[BITS + bit]) {
        (a, b) if a == b => f64::from(a),
        _ => f64::from(tie[bit]),
    };
    let bits = flat(v.as_tensor()).into_iter().enumerate();
    let expected: f64 = bits.map(|(bit, x)| (1.0 + (-2.0 * x * target(bit)).exp()).ln()).sum();
    let got = value(&Loss::Csq(csq), [1., 1., 0., 0.]);
    assert!((got - expected / BITS as f64).abs() < 1e-12, "{got}");
}

#[test]
fn hashnet_sharpens_as_training_goes_on() {
    let (objective, _) = objective(&Loss::named("hashnet", BITS).unwrap());
    let (v, labels) = (outputs(5), labels(&SINGLE));
    let at = |progress: f64| scalar(&objective.value(v.as_tensor(), &labels, progress).unwrap());
    let sharper = (v.as_tensor() * 51f64.sqrt()).unwrap();
    let expected = scalar(&objective.value(&sharper, &labels, 0.0).unwrap());
    assert!((at(1.0) - expected).abs() < 1e-12 && at(0.0) != at(0.5));
}

#[test]
fn names_constants_and_forms_belong_together() {
    for (name, _) in Loss::ALL {
        let loss = Loss::named(name, 32).unwrap();
        assert_eq!(loss.name(), name);
        loss.check().unwrap();
        let json = serde_json::to_value(loss).unwrap();
        assert_eq!(json["name"], name);
        assert_eq!(serde_json::from_value::<Loss>(json.clone()).unwrap(), loss);
        let centred = name.starts_with("ortho") || kind(&loss) == "pairwise" || name == "hi";
        assert_eq!(loss.hash_norm() == HashNorm::Batch, centred, "{name}");

        // Every constant has a range, and unknown constants are refused.
        for (constant, value) in json.as_object().unwrap() {
            if value.is_f64() {
                let mut wrong = json.clone();
                wrong[constant] = (-1.0).into();
                let wrong: Loss = serde_json::from_value(wrong).unwrap();
                let error = wrong.check().unwrap_err().to_string();
                assert!(error.contains(&format!("{constant} is -1, expected")), "{error}");
            }
        }
        let mut unknown = json;
        unknown["no_such_constant"] = 1.into();
        assert!(serde_json::from_value::<Loss>(unknown).is_err(), "{name}");
    }
    assert_eq!(Loss::named("hy", 32), None);
}

#[test]
fn networks_train_what_their_loss_trains_and_keep_its_codewords() {
    for loss in losses() {
        let (_, parameters) = objective(&loss);
        let names = |variables: Vec<(String, Var)>| {
            variables.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let (trained, codewords): (&[&str], bool) = match loss {
            Loss::Hi(Hi { mode: HiMode::Cosine, .. }) => (&[], true),
            Loss::Hi(Hi { mode: HiMode::CosineWeights, .. }) => (&["class_directions"], false),
            Loss::Hi(_) | Loss::Softmax(_) | Loss::GreedyHash(_) => (&["class_weights"], false),
            Loss::Ssdh(_) => (&["class_bias", "class_weights"], false),
            Loss::Csq(_) | Loss::Dpn(_) | Loss::OrthoCos(_) | Loss::OrthoArc(_) => (&[], true),
            Loss::Dsh(_) | Loss::Dpsh(_) | Loss::HashNet(_) | Loss::Fitted(_) => (&[], false),
        };
        assert_eq!(names(parameters.trainable()), trained, "{loss:?}");
        let mut all: Vec<&str> = trained.to_vec();
        if codewords {
            all.extend(["codewords.codes", "codewords.tie"]);
        }
        assert_eq!(names(parameters.all()), all, "{loss:?}");
    }
}
