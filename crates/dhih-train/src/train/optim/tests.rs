//! Steps on a known loss, rates of variables by their roles, and restoring of moments.

use super::*;
use candle_core::{DType, Device};
use candle_nn::Init;
use dhih_model::loss::CLASS_DIRECTIONS;
use dhih_model::ops::{Activation, BatchNorm};

/// Two variables. Their gradients for the loss below are (3, 0) and (0, 4), with a common norm of 5.
fn variables() -> (Parameters, Tensor) {
    let parameters = Parameters::seeded(0);
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    let [a, b] = ["a", "b"].map(|n| vb.get_with_hints((1, 2), n, Init::Const(1.0)).unwrap());
    let weigh = |t: &Tensor, w: [f32; 2]| (t * Tensor::new(&[w], &Device::Cpu).unwrap()).unwrap();
    let loss = (weigh(&a, [3.0, 0.0]) + weigh(&b, [0.0, 4.0])).unwrap().sum_all().unwrap();
    (parameters, loss)
}

fn whole(loss: &Tensor) -> LossPart {
    LossPart { loss: loss.clone(), weight: 1.0, trace: None }
}

fn config(method: OptimizerName) -> OptimizerConfig {
    OptimizerConfig { method, momentum: 0.0, ..OptimizerConfig::default() }
}

fn moved(config: OptimizerConfig) -> Vec<f32> {
    let (parameters, loss) = variables();
    let optimizer = Optimizer::new(&parameters, config).unwrap();
    let step = Step { number: 0, learning_rate: 0.1 };
    assert_eq!(optimizer.descend(whole(&loss), step).unwrap(), 7.0);
    let all = parameters.all().into_iter();
    all.flat_map(|(_, var)| var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
}

fn assert_near(got: &[f32], expected: [f32; 4]) {
    let near = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-5);
    assert!(near, "{got:?}, expected {expected:?}");
}

#[test]
fn long_gradients_are_cut_and_short_ones_stay() {
    let sgd = config(OptimizerName::Sgd);
    assert_near(&moved(sgd), [0.7, 1.0, 1.0, 0.6]);
    // Clipped to norm 1, they are 3/5 and 4/5.
    assert_near(&moved(OptimizerConfig { clip_norm: Some(1.0), ..sgd }), [0.94, 1.0, 1.0, 0.92]);
    assert_near(&moved(OptimizerConfig { clip_norm: Some(9.0), ..sgd }), [0.7, 1.0, 1.0, 0.6]);
}

#[test]
fn adams_first_step_is_of_the_learning_rate_and_decays_weights_alone() {
    let adamw =
        OptimizerConfig { momentum: 0.9, weight_decay: 0.5, ..config(OptimizerName::AdamW) };
    assert_near(&moved(adamw), [0.85, 0.95, 0.95, 0.85]);
}

#[test]
fn batch_norm_of_the_backbone_has_rates_of_its_own() {
    let parameters = Parameters::seeded(0);
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    for layer in ["backbone.bn1", "hash_layer.norm"] {
        BatchNorm::new(2, Activation::Identity, vb.pp(layer)).unwrap();
    }
    vb.get_with_hints((2, 2), "backbone.conv1.weight", Init::Const(1.0)).unwrap();
    vb.get_with_hints(2, "backbone.conv1.bias", Init::Const(1.0)).unwrap();
    let factors = |config: OptimizerConfig| {
        let slots = Optimizer::new(&parameters, config).unwrap().slots.into_iter();
        let told = |slot: Slot| (slot.name, (slot.factors.rate, slot.factors.decay));
        slots.map(told).collect::<BTreeMap<_, _>>()
    };
    let usual = factors(config(OptimizerName::Sgd));
    assert_eq!(usual["backbone.bn1.bias"], (1.0, 0.0));
    assert_eq!(usual["backbone.bn1.weight"], (1.0, 0.0));
    assert_eq!(usual["backbone.conv1.weight"], (1.0, 1.0));
    let fast = factors(OptimizerConfig {
        norm_shift_scale: 64.0,
        trains_norm_scales: false,
        backbone_scale: 0.5,
        ..config(OptimizerName::Sgd)
    });
    assert_eq!(fast["backbone.bn1.bias"], (32.0, 1.0 / 64.0));
    assert!(!fast.contains_key("backbone.bn1.weight"));
    assert_eq!(fast["backbone.conv1.bias"], (0.5, 0.0));
    for name in ["hash_layer.norm.weight", "hash_layer.norm.bias"] {
        assert_eq!(fast[name], (1.0, 0.0));
    }
}

#[test]
fn gradients_without_end_change_nothing() {
    let (parameters, loss) = variables();
    let clipped = OptimizerConfig { clip_norm: Some(1.0), ..config(OptimizerName::Sgd) };
    let optimizer = Optimizer::new(&parameters, clipped).unwrap();
    // The loss is finite, but its gradient is not.
    let loss = ((&loss - 7.0).unwrap().sqrt().unwrap() + 1.0).unwrap();
    let step = Step { number: 0, learning_rate: 0.1 };
    assert!(optimizer.descend(whole(&loss), step).unwrap().is_nan());
    let all = parameters.all().into_iter();
    let values = all.flat_map(|(_, v)| v.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert_near(&values.collect::<Vec<_>>(), [1.0; 4]);
}

#[test]
fn a_sum_of_losses_is_descended_as_their_mean() {
    let of = |weights: &[f64]| {
        let (parameters, loss) = variables();
        let optimizer = Optimizer::new(&parameters, config(OptimizerName::Sgd)).unwrap();
        let losses = weights.iter().map(|weight| Ok(LossPart { weight: *weight, ..whole(&loss) }));
        let step = Step { number: 0, learning_rate: 0.1 };
        assert_eq!(optimizer.descend_sum(losses, step).unwrap(), 7.0);
        let all = parameters.all().into_iter();
        let flat = |var: Var| var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        all.flat_map(|(_, var)| flat(var)).collect::<Vec<f32>>()
    };
    assert_near(&of(&[0.25, 0.75]), of(&[1.0]).try_into().unwrap());
}

#[test]
fn moments_come_back_and_those_of_another_method_do_not() {
    let (parameters, loss) = variables();
    let adamw = Optimizer::new(&parameters, config(OptimizerName::AdamW)).unwrap();
    adamw.descend(whole(&loss), Step { number: 0, learning_rate: 0.1 }).unwrap();
    let saved = adamw.snapshot().unwrap();
    assert_eq!(saved.keys().collect::<Vec<_>>(), ["0:a", "0:b", "1:a", "1:b"]);
    assert!(
        Optimizer::new(&parameters, config(OptimizerName::AdamW)).unwrap().restore(&saved).unwrap()
    );
    assert!(
        !Optimizer::new(&parameters, config(OptimizerName::Sgd)).unwrap().restore(&saved).unwrap()
    );
}

#[test]
fn lengths_that_do_not_count_are_not_decayed() {
    let parameters = Parameters::seeded(0);
    let role = |name: &str, dims: &[usize]| {
        Role::of(name, &Var::zeros(dims, DType::F32, &Device::Cpu).unwrap(), &parameters)
    };
    assert_eq!(role("class_weights", &[2, 3]), Role::Weight);
    for (name, dims) in [
        (CLASS_DIRECTIONS, &[2, 3][..]),
        // The directions of one loss among several.
        (&format!("first_8.{CLASS_DIRECTIONS}"), &[2, 3]),
        ("hash_layer.bias", &[3]),
        ("norm.weight", &[3]),
    ] {
        assert_eq!(role(name, dims), Role::Other, "{name}");
    }
}

#[test]
fn a_weight_that_the_loss_does_not_see_is_an_error_and_a_bias_is_none() {
    let (parameters, loss) = variables();
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    vb.get_with_hints(2, "c.bias", Init::Const(1.0)).unwrap();
    let step = Step { number: 0, learning_rate: 0.1 };
    let optimizer = Optimizer::new(&parameters, config(OptimizerName::Sgd)).unwrap();
    assert_eq!(optimizer.descend(whole(&loss), step).unwrap(), 7.0);
    vb.get_with_hints(2, "c.weight", Init::Const(1.0)).unwrap();
    let optimizer = Optimizer::new(&parameters, config(OptimizerName::Sgd)).unwrap();
    let error = optimizer.descend(whole(&loss), step).unwrap_err();
    assert!(matches!(&error, Error::NoGradient { names } if names[..] == ["c.weight"]), "{error}");
}
