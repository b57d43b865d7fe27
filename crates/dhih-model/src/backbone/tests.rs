//! Every backbone: its sizes, its limits, and that each of its parameters is trained. `tests/torchvision.rs` compares with torchvision.

use candle_core::{DType, Device, IndexOp, Tensor};

use super::*;
use crate::init::Parameters;
use crate::layer::{Dropout, Layer};
use crate::ops::testing::{assert_close, variable};
use crate::{NetworkConfig, Normalization};

fn square(side: usize, channels: usize) -> InputShape {
    InputShape::new(side, side, channels)
}

/// Describes a backbone with narrow linear layers.
fn describe(backbone: Backbone, input: InputShape) -> (Sequential, Parameters) {
    let parameters = Parameters::seeded(1);
    let vb = parameters.builder(DType::F32, &Device::Cpu).pp("backbone");
    (backbone.describe(input, vb, |_| 8).unwrap(), parameters)
}

#[test]
fn names_in_files_are_those_of_flags() {
    for backbone in Backbone::ALL.iter().copied().chain([Backbone::CUSTOM]) {
        let json = serde_json::to_string(&backbone).unwrap();
        assert_eq!(json, format!("{:?}", backbone.name()));
        assert_eq!(serde_json::from_str::<Backbone>(&json).unwrap(), backbone);
        assert!(backbone.min_side() <= backbone.default_side());
    }
}

/// The expected numbers are the parameters of torchvision's networks without their classifiers.
#[test]
fn sizes_are_the_published_ones() {
    for (backbone, features, parameters) in [
        (Backbone::SMALL, 2048, 93_472),
        (Backbone::named("dsh-cnn").unwrap(), 500, 591_828),
        (Backbone::named("cifarnet").unwrap(), 256, 1_970_232),
        (Backbone::named("cifarnet-wide").unwrap(), 384, 4_602_680),
        (Backbone::named("cifarnet-deep").unwrap(), 512, 9_913_656),
        (Backbone::named("resnet18").unwrap(), 512, 11_176_512),
        (Backbone::named("resnet34").unwrap(), 512, 21_284_672),
        (Backbone::named("resnet50").unwrap(), 2048, 23_508_032),
        (Backbone::named("alexnet").unwrap(), 4096, 57_003_840),
        (Backbone::named("vgg11").unwrap(), 4096, 128_766_336),
        (Backbone::named("vgg11-bn").unwrap(), 4096, 128_771_840),
        (Backbone::named("vgg16").unwrap(), 4096, 134_260_544),
        (Backbone::named("vgg16-bn").unwrap(), 4096, 134_268_992),
        (Backbone::named("squeezenet1-1").unwrap(), 512, 722_496),
        (Backbone::named("mobilenet-v2").unwrap(), 1280, 2_223_872),
        (Backbone::named("efficientnet-lite0").unwrap(), 1280, 3_371_008),
        (Backbone::named("efficientnet-lite2").unwrap(), 1280, 4_811_072),
        (Backbone::named("efficientnet-b0").unwrap(), 1280, 4_007_548),
        (Backbone::named("mobilenet-v3").unwrap(), 1280, 4_202_032),
        (Backbone::named("convnext-tiny").unwrap(), 768, 27_820_128),
        (Backbone::named("dinov2-small").unwrap(), 384, 21_628_800),
        (Backbone::named("dinov2-base").unwrap(), 768, 85_724_928),
        (Backbone::named("dinov2-small-registers").unwrap(), 384, 21_630_336),
        (Backbone::named("dinov2-base-registers").unwrap(), 768, 85_728_000),
        (Backbone::named("clip-vit-b32").unwrap(), 512, 87_849_216),
        (Backbone::named("clip-vit-b16").unwrap(), 512, 86_192_640),
        (Backbone::named("siglip-base").unwrap(), 768, 92_884_224),
    ] {
        let size = backbone.size(square(backbone.default_side(), 3)).unwrap();
        assert_eq!(size, Size { features, parameters }, "{}", backbone.name());
    }
    // The stem has a 3x3 kernel in place of a 7x7 kernel.
    let small_stem = Backbone::named("resnet18-cifar").unwrap().size(square(32, 3)).unwrap();
    assert_eq!(small_stem, Size { features: 512, parameters: 11_176_512 - 64 * 3 * (49 - 9) });
}

#[test]
fn at_the_smallest_size_every_parameter_is_trained() {
    for &backbone in Backbone::ALL {
        let input = square(
            backbone.min_side(),
            if backbone == Backbone::named("vgg11").unwrap() { 1 } else { 3 },
        );
        let (layers, parameters) = describe(backbone, input);
        let features = layers.output(input).unwrap().len();
        let x = variable("x", &[2, input.height, input.width, input.channels]);
        let y = layers.forward(x.as_tensor(), Mode::Evaluation).unwrap();
        assert_eq!(y.dims(), [2, features], "{}", backbone.name());
        let y = layers.forward(x.as_tensor(), Mode::training_step(1, 0)).unwrap();
        assert_eq!(y.dims(), [2, features], "{}", backbone.name());
        let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for (name, var) in parameters.trainable() {
            let what = format!("{} {name}", backbone.name());
            // Batch norm cancels the bias before it, whose gradient is therefore 0 and is not computed.
            let before_norm = backbone.name().ends_with("-bn")
                && name.ends_with(".bias")
                && parameters.all().iter().any(|(other, weight)| {
                    *other == name.replace(".bias", ".weight") && weight.rank() == 4
                });
            if before_norm {
                assert!(gradients.get(&var).is_none(), "{what}");
                continue;
            }
            let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{what} has no gradient"));
            let sum = gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(sum.is_finite(), "{what}: {sum}");
        }
    }
}

#[test]
fn smaller_images_are_refused() {
    for &backbone in Backbone::ALL {
        let side = backbone.min_side();
        let config = |height, width| NetworkConfig {
            backbone,
            input: InputShape::new(height, width, 3),
            normalization: Normalization { mean: vec![0.5; 3], std: vec![0.5; 3] },
            bits: 8,
            hash_layer: Default::default(),
            loss: Default::default(),
            views: Default::default(),
            classes: vec!["a".into(), "b".into()],
        };
        config(side, side).check().unwrap();
        for (height, width) in [(side - 1, side), (side, side - 1)] {
            let error = config(height, width).check().unwrap_err();
            assert!(matches!(error, crate::Error::Config { name: "input", .. }), "{error}");
        }
    }
    // Where the image is too small for a window, the description itself is an error.
    for backbone in [
        Backbone::SMALL,
        Backbone::named("dsh-cnn").unwrap(),
        Backbone::named("cifarnet").unwrap(),
        Backbone::named("cifarnet-deep").unwrap(),
        Backbone::named("alexnet").unwrap(),
        Backbone::named("vgg16").unwrap(),
        Backbone::named("squeezenet1-1").unwrap(),
    ] {
        assert!(backbone.size(square(backbone.min_side() - 1, 3)).is_err(), "{}", backbone.name());
    }
    assert!(Backbone::CUSTOM.size(square(32, 3)).is_err());
}

#[test]
fn masks_of_dropout_are_those_of_the_step_and_the_layer() {
    let layer =
        |name: &str| Sequential(vec![Layer::Dropout(Dropout { p: 0.5, name: name.to_owned() })]);
    let x = Tensor::ones((4, 100), DType::F32, &Device::Cpu).unwrap();
    let values = |name, mode| {
        layer(name).forward(&x, mode).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let first = values("a", Mode::training_step(1, 0));
    assert_eq!(first, values("a", Mode::training_step(1, 0)));
    for other in [
        values("b", Mode::training_step(1, 0)),
        values("a", Mode::training_step(1, 1)),
        values("a", Mode::training_step(2, 0)),
    ] {
        assert_ne!(first, other);
    }
    assert_eq!(values("a", Mode::Evaluation), [1.0; 400]);
}

#[test]
fn layers_joined_into_one_operator_compute_the_same() {
    let input = square(16, 3);
    let (layers, _) = describe(Backbone::SMALL, input);
    let x = variable("x", &[3, 16, 16, 3]);
    for mode in [Mode::training_step(1, 0), Mode::Evaluation] {
        let mut one_by_one = x.as_tensor().clone();
        for layer in &layers.0 {
            one_by_one = Sequential(vec![layer.clone()]).forward(&one_by_one, mode).unwrap();
        }
        // The running statistics have changed by two more training steps, so both are evaluated now.
        let joined = layers.forward(x.as_tensor(), mode).unwrap();
        assert_close(&joined, &one_by_one, 1e-4);
    }
}

#[test]
fn whitening_weights_are_not_trained_and_new_convolutions_pass_their_input_on() {
    let (layers, parameters) = describe(Backbone::named("cifarnet").unwrap(), square(25, 3));
    let trainable = parameters.trainable();
    let is_trained = |name: &str| trainable.iter().any(|(trained, _)| trained == name);
    assert!(is_trained("backbone.whiten.bias") && !is_trained("backbone.whiten.weight"));
    let weights = parameters.get("backbone.block2.conv1.weight").unwrap();
    let weights = weights.i((5, 0..64)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let one_at = |at: usize| (0..64 * 9).map(|i| f32::from(u8::from(i == at))).collect::<Vec<_>>();
    assert_eq!(weights, one_at(5 * 9 + 4));
    // Detached weights share their storage with the variables, so they see values that are loaded later.
    let x = variable("x", &[1, 25, 25, 3]);
    let stem = Sequential(layers.0[..1].to_vec());
    let before = stem.forward(x.as_tensor(), Mode::Evaluation).unwrap();
    let weight = parameters.get("backbone.whiten.weight").unwrap();
    weight.set(&(weight.as_tensor() * -2.0).unwrap()).unwrap();
    let after = stem.forward(x.as_tensor(), Mode::Evaluation).unwrap();
    assert!(
        (before - after).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
            > 0.1
    );
}
