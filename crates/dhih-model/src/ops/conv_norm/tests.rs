//! The fused operator is compared with its operators one by one.

use super::super::testing::{assert_close, assert_same_gradients, variable};
use super::super::{Conv2dConfig, Padding, portable};
use super::*;
use crate::init::Parameters;
use candle_core::{DType, Device, Var};

fn layers(
    channels: (usize, usize),
    kernel: usize,
    config: Conv2dConfig,
    activation: Activation,
) -> (Conv2d, BatchNorm, Vec<Var>) {
    let parameters = Parameters::seeded(3);
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    let conv = Conv2d::new(channels, kernel, config, vb.pp("conv")).unwrap();
    let norm = BatchNorm::new(channels.1, activation, vb.pp("norm")).unwrap();
    for (name, var) in parameters.trainable() {
        if name.starts_with("norm") {
            var.set(variable(&name, var.dims()).as_tensor()).unwrap();
        }
    }
    (conv, norm, parameters.trainable().into_iter().map(|(_, var)| var).collect())
}

#[test]
fn agrees_with_its_operators_one_by_one() {
    for (kernel, stride, padding, n, side, channels) in [
        (3, 1, 1, 5, 8, (3, 5)),
        (3, 1, 1, 17, 7, (16, 32)),
        (3, 1, 1, 3, 9, (96, 96)),
        (5, 1, 2, 2, 9, (3, 5)),
        (3, 2, 1, 3, 9, (3, 5)),
        (1, 1, 0, 2, 6, (3, 5)),
    ] {
        for (pool, activation) in [
            (false, Activation::Identity),
            (false, Activation::Gelu),
            (true, Activation::Gelu),
            (true, Activation::Identity),
        ] {
            let config =
                Conv2dConfig { stride, padding: Padding::Each(padding), ..Default::default() };
            let (conv, norm, vars) = layers(channels, kernel, config, activation);
            let block = ConvNorm { conv: &conv, norm: &norm, pool };
            let x = variable("x", &[n, side, side, channels.0]);
            let vars: Vec<&Var> = vars.iter().chain([&x]).collect();
            let ours = || block.forward(x.as_tensor(), Some(0.1));
            let oracle = || {
                let config = conv.config;
                let z = portable::conv2d(
                    x.as_tensor(),
                    &conv.weight,
                    None,
                    config,
                    Activation::Identity,
                )?;
                let z = if pool { portable::max_pool2d(&z, POOL)? } else { z };
                let y = portable::batch_norm(
                    &z,
                    (&norm.weight, &norm.bias),
                    BatchNorm::EPS,
                    activation,
                )?;
                Ok(y.0)
            };
            assert_same_gradients(&vars, ours, oracle, 2e-4);
            let one_by_one = norm.forward(
                &match pool {
                    true => max_pool2d(&conv.forward(x.as_tensor()).unwrap(), POOL).unwrap(),
                    false => conv.forward(x.as_tensor()).unwrap(),
                },
                None,
            );
            assert_close(&block.forward(x.as_tensor(), None).unwrap(), &one_by_one.unwrap(), 1e-4);
        }
    }
}

#[test]
fn both_forms_move_the_running_statistics_alike() {
    let config = Conv2dConfig { padding: Padding::Each(1), ..Default::default() };
    let x = variable("x", &[4, 6, 6, 2]);
    let run = |fused: bool| {
        let (conv, norm, _) = layers((2, 3), 3, config, Activation::Relu);
        let block = ConvNorm { conv: &conv, norm: &norm, pool: true };
        for _ in 0..3 {
            let y = if fused {
                block.forward(x.as_tensor(), Some(0.1))
            } else {
                block.unfused(x.as_tensor(), Some(0.1))
            };
            y.unwrap();
        }
        block.unfused(x.as_tensor(), None).unwrap()
    };
    assert_close(&run(true), &run(false), 1e-5);
}

#[test]
fn an_activation_between_convolution_and_norm_is_kept() {
    let config = Conv2dConfig { padding: Padding::Each(1), ..Default::default() };
    let (conv, norm, _) = layers((2, 3), 3, config, Activation::Identity);
    let conv = Conv2d { activation: Activation::Relu, ..conv };
    let x = variable("x", &[4, 6, 6, 2]);
    let block = ConvNorm { conv: &conv, norm: &norm, pool: false };
    let expected = norm.forward(&conv.forward(x.as_tensor()).unwrap(), None).unwrap();
    assert_close(&block.forward(x.as_tensor(), None).unwrap(), &expected, 1e-5);
}

#[test]
fn images_too_small_to_pool_and_single_values_are_refused() {
    let config = Conv2dConfig { padding: Padding::Each(1), ..Default::default() };
    let (conv, norm, _) = layers((2, 3), 3, config, Activation::Relu);
    let dot = variable("x", &[4, 1, 1, 2]);
    let block = ConvNorm { conv: &conv, norm: &norm, pool: true };
    assert!(block.forward(dot.as_tensor(), Some(0.1)).is_err());
    let block = ConvNorm { pool: false, ..block };
    assert!(block.forward(&dot.narrow(0, 0, 1).unwrap(), Some(0.1)).is_err());
}
