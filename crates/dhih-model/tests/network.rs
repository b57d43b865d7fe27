//! A network learns, is saved, and is the same after loading. Damaged checkpoints are refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Linear, Module, VarBuilder};
use dhih_model::codewords::Scheme;
use dhih_model::loss::{Csq, Dpsh};
use dhih_model::ops::{Sgd, sgd_step};
use dhih_model::{
    Backbone, Encoder, Error, FeatureExtractor, HashLayerConfig, HashNorm, InputShape, Loss, Mode,
    Network, NetworkConfig, Normalization, checkpoint, encode,
};

fn config(bits: usize) -> NetworkConfig {
    NetworkConfig {
        backbone: Backbone::SMALL,
        input: InputShape::new(8, 8, 1),
        normalization: Normalization { mean: vec![0.5], std: vec![0.3] },
        bits,
        hash_layer: HashLayerConfig::default(),
        loss: Loss::default(),
        views: Default::default(),
        classes: vec!["left".into(), "right".into()],
    }
}

/// Images that are bright on the left or on the right.
fn images() -> Vec<u8> {
    let pixel = |i: usize| {
        let (image, x) = (i / 64, i % 8);
        let bright = (x < 4) == (image % 2 == 0);
        (if bright { 180 } else { 40 }) + (i * 37 % 50) as u8
    };
    (0..16 * 64).map(pixel).collect()
}

fn train(seed: u64, steps: usize) -> (Network, Vec<f32>) {
    train_as(config(12), seed, steps)
}

fn train_as(config: NetworkConfig, seed: u64, steps: usize) -> (Network, Vec<f32>) {
    let network = Network::new(config, seed, &Device::Cpu).unwrap();
    let shape = network.config().input;
    let x = network.config().normalization.apply(&images(), shape, &Device::Cpu).unwrap();
    let labels = Tensor::new(&[[1f32, 0.0], [0.0, 1.0]], &Device::Cpu).unwrap();
    let labels = labels.repeat((8, 1)).unwrap();
    let sgd = Sgd { learning_rate: 0.05, momentum: 0.9, weight_decay: 1e-4 };
    let trainable = network.parameters().trainable();
    let zeros = |(_, var): &(String, Var)| Var::from_tensor(&var.zeros_like().unwrap()).unwrap();
    let velocities: Vec<Var> = trainable.iter().map(zeros).collect();
    let step = |i| {
        let v = network.forward(&x, Mode::training_step(seed, i)).unwrap();
        let loss = network.objective().value(&v, &labels, 0.0).unwrap();
        let gradients = loss.backward().unwrap();
        for ((_, var), velocity) in trainable.iter().zip(&velocities) {
            sgd_step(var, velocity, gradients.get(var).unwrap(), sgd).unwrap();
        }
        loss.to_scalar::<f32>().unwrap()
    };
    let losses = (0..steps).map(step).collect();
    (network, losses)
}

#[test]
fn training_separates_two_classes_and_repeats_bit_for_bit() {
    let (network, losses) = train(5, 30);
    assert!(losses[29] < 0.3 * losses[0], "{losses:?}");
    let codes = encode(&network, &images()).unwrap();
    let bits =
        |i: usize| -> Vec<bool> { codes[i * 12..][..12].iter().map(|v| *v >= 0.0).collect() };
    let distance = |a, b| bits(a).iter().zip(bits(b)).filter(|(x, y)| **x != *y).count();
    assert!(distance(0, 2) < distance(0, 1) && distance(1, 3) < distance(0, 1));
    assert_eq!(train(5, 30).1, losses);
    assert_ne!(train(6, 1).1[0], losses[0]);
}

#[test]
fn a_checkpoint_restores_the_codes_and_leaves_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (network, _) = train(1, 3);
    let sha256 = checkpoint::save(&network, &path).unwrap();
    let encoder = Encoder::load(&path, &Device::Cpu).unwrap();
    assert_eq!(encoder.encode(&images()).unwrap(), encode(&network, &images()).unwrap());
    assert_eq!(encoder.model_sha256(), sha256);
    assert_eq!(encoder.classes(), ["left", "right"]);
    let codes = encoder.encode(&images()).unwrap();
    assert!(encoder.classify(&codes).unwrap().unwrap().iter().all(|class| *class < 2));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(encoder.encode(&[0; 65]), Err(Error::Config { .. })));
}

#[test]
fn every_form_of_hash_layer_is_restored_and_names_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for (feature_norm, hidden, norm, expected) in [
        (false, None, HashNorm::None, &[][..]),
        (false, Some(7), HashNorm::None, &["hidden.bias", "hidden.weight"]),
        (false, None, HashNorm::Batch, &["norm.running_mean", "norm.weight"]),
        (false, Some(7), HashNorm::Batch, &["hidden.weight", "norm.running_var"]),
        (true, None, HashNorm::None, &["feature_norm.running_mean", "feature_norm.weight"]),
        (true, Some(7), HashNorm::Batch, &["feature_norm.bias", "norm.running_var"]),
    ] {
        let hash_layer = HashLayerConfig { feature_norm, hidden, norm };
        let config = NetworkConfig { hash_layer, ..config(12) };
        let (network, losses) = train_as(config.clone(), 1, 8);
        assert!(losses[7] < losses[0], "{hidden:?} {norm:?}: {losses:?}");
        let names: Vec<String> =
            network.parameters().all().into_iter().map(|(name, _)| name).collect();
        for name in expected {
            assert!(names.contains(&format!("hash_layer.{name}")), "{names:?}");
        }
        let expected = [feature_norm, hidden.is_some(), norm == HashNorm::Batch];
        let has = ["feature_norm", "hidden", "norm"]
            .map(|part| names.iter().any(|name| name.starts_with(&format!("hash_layer.{part}."))));
        assert_eq!(has, expected, "{names:?}");

        checkpoint::save(&network, &path).unwrap();
        let encoder = Encoder::load(&path, &Device::Cpu).unwrap();
        let codes = encoder.encode(&images()).unwrap();
        assert_eq!(codes, encode(&network, &images()).unwrap());
        // The code of an image does not depend on the other images of the call.
        let alone = encoder.encode(&images()[..64]).unwrap();
        assert!(alone.iter().zip(&codes).all(|(a, b)| (a - b).abs() < 1e-4), "{alone:?}");
    }
}

/// These checkpoints were written before the hash layer had forms and the configuration named the loss.
#[test]
fn a_configuration_without_hash_layer_and_loss_is_that_of_old_checkpoints() {
    let mut json = serde_json::to_value(config(12)).unwrap();
    let fields = json.as_object_mut().unwrap();
    assert!(fields.remove("hash_layer").is_some() && fields.remove("loss").is_some());
    let old: NetworkConfig = serde_json::from_value(json).unwrap();
    let constants = r#"{"name":"hi","mode":"target","alpha":0.8,"lambda_q":0.01}"#;
    let loss: Loss = serde_json::from_str(constants).unwrap();
    assert!(loss.hash_norm() == HashNorm::None && loss != Loss::default());
    assert_eq!(old, NetworkConfig { loss, ..config(12) });
    let network = Network::new(old, 0, &Device::Cpu).unwrap();
    let names: Vec<String> = network.parameters().all().into_iter().map(|(name, _)| name).collect();
    let rest: Vec<&String> = names.iter().filter(|name| !name.starts_with("backbone.")).collect();
    assert_eq!(rest, ["class_weights", "hash_layer.bias", "hash_layer.weight"]);
}

/// A network keeps the codewords that it was trained with, whatever this version would draw.
#[test]
fn codewords_come_from_the_checkpoint_and_are_drawn_where_it_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let config = NetworkConfig { loss: Loss::named("csq", 12).unwrap(), ..config(12) };
    let network = Network::new(config, 1, &Device::Cpu).unwrap();
    checkpoint::save(&network, &path).unwrap();
    let contents = checkpoint::read(&path).unwrap().0;
    let codes = contents.tensors["codewords.codes"].clone();
    let classes = |network: &Network| {
        let classes = network.objective().classify(&codes).unwrap().unwrap();
        classes.to_vec1::<u32>().unwrap()
    };
    let loaded = |contents: &checkpoint::Contents| {
        checkpoint::write(contents, &path).unwrap();
        checkpoint::load(&path, &Device::Cpu).map(|(network, _)| classes(&network))
    };
    assert_eq!(loaded(&contents).unwrap(), [0, 1]);
    let mut swapped = contents.clone();
    swapped.tensors.insert("codewords.codes".to_owned(), codes.flip(&[0]).unwrap());
    assert_eq!(loaded(&swapped).unwrap(), [1, 0]);
    let mut old = contents.clone();
    old.tensors.retain(|name, _| !name.starts_with("codewords."));
    assert_eq!(old.tensors.len() + 2, contents.tensors.len());
    assert_eq!(loaded(&old).unwrap(), [0, 1]);
    let mut misshapen = contents.clone();
    misshapen.tensors.insert("codewords.codes".to_owned(), codes.narrow(0, 0, 1).unwrap());
    let error = loaded(&misshapen).unwrap_err().to_string();
    assert!(error.contains("codewords.codes: expected [2, 12], got [1, 12]"), "{error}");
    // A resumed run loads its state into a network that has drawn its own codewords; older states have none.
    network.parameters().load(&swapped.tensors).unwrap();
    assert_eq!(classes(&network), [1, 0]);
    network.parameters().load(&old.tensors).unwrap();
    assert_eq!(classes(&network), [1, 0]);
    assert!(network.parameters().trainable().iter().all(|(name, _)| !name.contains("codewords")));
}

#[test]
fn damaged_checkpoints_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    checkpoint::save(&train(1, 1).0, &path).unwrap();
    let intact = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let Err(error) = Encoder::load(&path, &Device::Cpu) else { panic!("it was loaded") };
        assert!(error.to_string().contains("model.safetensors"), "{error}");
        error
    };
    assert!(matches!(refused(b""), Error::Checkpoint { .. }));
    assert!(matches!(refused(&intact[..intact.len() / 2]), Error::Checkpoint { .. }));
    for at in (0..intact.len()).step_by(intact.len() / 97) {
        let mut flipped = intact.clone();
        flipped[at] ^= 0x10;
        refused(&flipped);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Encoder::load(&path, &Device::Cpu), Err(Error::Io { .. })));
}

#[test]
fn a_configuration_of_many_more_weights_than_the_file_is_refused_before_they_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    checkpoint::save(&train(1, 1).0, &path).unwrap();
    let mut contents = checkpoint::read(&path).unwrap().0;
    let text = contents.metadata.values_mut().find(|text| text.contains("hash_layer")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(text).unwrap();
    // The hidden layer would have 512 GB of weights.
    for side in ["height", "width"] {
        config["input"][side] = 1024.into();
    }
    config["hash_layer"]["hidden"] = 65_536.into();
    *text = config.to_string();
    checkpoint::write(&contents, &path).unwrap();
    let error = Encoder::load(&path, &Device::Cpu).err().unwrap();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
    assert!(error.to_string().contains("many more weights than the file"), "{error}");
}

#[test]
fn configurations_out_of_range_are_refused() {
    let refused = |change: fn(&mut NetworkConfig)| {
        let mut config = config(12);
        change(&mut config);
        let error = Network::new(config, 0, &Device::Cpu).err().unwrap();
        assert!(matches!(error, Error::Config { .. }), "{error}");
    };
    refused(|c| c.bits = 0);
    refused(|c| c.bits = 1025);
    refused(|c| c.input.channels = 2);
    refused(|c| c.input.height = 7);
    refused(|c| c.normalization.std = vec![0.0]);
    refused(|c| c.normalization.mean = vec![0.0; 3]);
    refused(|c| c.classes.truncate(1));
    refused(|c| c.hash_layer.hidden = Some(0));
    refused(|c| c.loss = Loss::Dpsh(Dpsh { eta: f64::NAN }));
    refused(|c| c.loss = Loss::Csq(Csq { codewords: Scheme::Hadamard, ..Csq::default() }));
}

/// A linear layer on the pixels.
struct Pixels(Linear);

impl FeatureExtractor for Pixels {
    fn forward(&self, x: &Tensor, _: Mode) -> candle_core::Result<Tensor> {
        self.0.forward(&x.flatten_from(1)?)
    }

    fn features(&self) -> usize {
        20
    }
}

#[test]
fn a_backbone_of_the_caller_is_trained_saved_and_brought_back() {
    let build = |vb: VarBuilder<'_>| -> candle_core::Result<Box<dyn FeatureExtractor>> {
        Ok(Box::new(Pixels(candle_nn::linear(64, 20, vb)?)))
    };
    let custom = || NetworkConfig { backbone: Backbone::CUSTOM, ..config(12) };
    let make = |seed| Network::with_backbone(custom(), (seed, &Device::Cpu), build).unwrap();
    let network = make(1);
    assert!(network.parameters().get("backbone.weight").is_some());
    let x = custom().normalization.apply(&images(), custom().input, &Device::Cpu).unwrap();
    let v = network.forward(&x, Mode::training_step(1, 0)).unwrap();
    let gradients = v.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    for name in ["backbone.weight", "backbone.bias"] {
        assert!(gradients.get(&network.parameters().get(name).unwrap()).is_some(), "{name}");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    checkpoint::save(&network, &path).unwrap();
    let error = Encoder::load(&path, &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("with_backbone"), "{error}");
    let other = make(2);
    other.parameters().load(&checkpoint::read(&path).unwrap().0.tensors).unwrap();
    assert_eq!(encode(&other, &images()).unwrap(), encode(&network, &images()).unwrap());
}

#[test]
fn a_whitening_convolution_comes_from_the_images_and_others_stay() {
    let weights = |backbone, side: usize, adapt: bool| {
        let input = InputShape::new(side, side, 1);
        let network = NetworkConfig { backbone, input, ..config(12) };
        let network = Network::new(network, 3, &Device::Cpu).unwrap();
        let images: Vec<u8> = (0..4 * input.len()).map(|i| (i * i % 251) as u8).collect();
        if adapt {
            network.adapt_to(&images).unwrap();
        }
        let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let snapshot = network.parameters().snapshot().unwrap().into_iter();
        snapshot.map(|(name, tensor)| (name, flat(tensor))).collect::<Vec<_>>()
    };
    assert_eq!(weights(Backbone::SMALL, 8, true), weights(Backbone::SMALL, 8, false));
    let changed = weights(Backbone::named("cifarnet").unwrap(), 25, true).into_iter();
    let changed = changed.zip(weights(Backbone::named("cifarnet").unwrap(), 25, false));
    let changed: Vec<String> = changed.filter(|(a, b)| a != b).map(|(a, _)| a.0).collect();
    assert_eq!(changed, ["backbone.whiten.weight"]);
}

#[test]
fn packed_codes_are_the_signs_of_the_real_ones() {
    let ((network, _), images) = (train(5, 3), images());
    let bits = network.config().bits;
    let encoder = Encoder::new(network, "none".to_owned(), DType::F32).unwrap();
    assert_eq!((encoder.bits(), encoder.model_sha256()), (bits, "none"));
    let values = encoder.encode(&images).unwrap();
    let bytes = bits.div_ceil(8);
    let mut packed = vec![0xffu8; values.len() / bits * bytes];
    encoder.encode_packed_into(&images, &mut packed).unwrap();
    for (values, code) in values.chunks(bits).zip(packed.chunks(bytes)) {
        for bit in 0..8 * bytes {
            let set = values.get(bit).is_some_and(|value| *value >= 0.0);
            assert_eq!(code[bit / 8] >> (bit % 8) & 1 == 1, set);
        }
    }
    let (broken, _) = train(5, 3);
    let bias = broken.parameters().get("hash_layer.bias").unwrap();
    bias.set(&(bias.as_tensor() * f64::NAN).unwrap()).unwrap();
    let broken = Encoder::new(broken, String::new(), DType::F32).unwrap();
    let refused = broken.encode_packed_into(&images, &mut packed);
    assert!(matches!(refused, Err(Error::NotANumber { image: 0, bit: 0 })));
    // Buffers of another size, and bytes that are not whole images, are refused, and nothing is written.
    let mut short = vec![7u8; packed.len() - 1];
    let refused = encoder.encode_packed_into(&images, &mut short);
    assert!(matches!(refused, Err(Error::Config { name: "codes", .. })));
    assert!(short.iter().all(|byte| *byte == 7));
    let mut long = vec![0.0; values.len() + 1];
    assert!(encoder.encode_into(&images, &mut long).is_err());
    assert!(encoder.encode_into(&images[1..], &mut long).is_err());
}

#[test]
fn half_precision_gives_nearly_the_same_codes() {
    let values = encode(&train(5, 3).0, &images()).unwrap();
    let scale = values.iter().fold(0f32, |m, x| m.max(x.abs()));
    let encoder = Encoder::new(train(5, 3).0, String::new(), DType::F16).unwrap();
    let codes = encoder.encode(&images()).unwrap();
    for (code, value) in codes.iter().zip(&values) {
        assert!((code - value).abs() <= 0.01 * scale, "{code}, {value}");
    }
    assert_ne!(codes, values);
    // The library that multiplies matrices on the CPU does not support bf16.
    for dtype in [DType::BF16, DType::U8] {
        let refused = Encoder::new(train(5, 3).0, String::new(), dtype).err();
        assert!(matches!(refused, Some(Error::Config { name: "dtype", .. })));
    }
}
