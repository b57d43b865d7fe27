//! Codecs of hash layers compute what the layers do, and are the same after saving and loading.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::hash_layer::{HashLayerConfig, HashNorm};
use crate::init::Parameters;
use crate::layer::Mode;

/// A hash layer of 12 features, with running statistics unlike those of a new one.
fn hash_layer(hidden: Option<usize>, norm: HashNorm) -> HashLayer {
    let parameters = Parameters::seeded(3);
    let config = HashLayerConfig { feature_norm: true, hidden, norm };
    let layer =
        HashLayer::new(12, 10, config, parameters.builder(DType::F32, &Device::Cpu)).unwrap();
    for step in 0..20 {
        let x = Tensor::from_vec(Drawn::new(40, 12).values, (40, 12), &Device::Cpu).unwrap();
        layer.forward(&(x * 0.3).unwrap(), Mode::training_step(0, step)).unwrap();
    }
    layer
}

#[test]
fn a_codec_of_a_hash_layer_computes_what_the_layer_does() {
    let rows = Drawn::new(50, 12);
    let dir = tempfile::tempdir().unwrap();
    let of_layer = |layer: &HashLayer| {
        let nested = vec![4];
        let config =
            CodecConfig { method: Method::Head, dims: 12, bits: 10, normalize: true, nested };
        Codec::of_hash_layer(config, layer).unwrap()
    };
    for (hidden, norm) in
        [(None, HashNorm::None), (None, HashNorm::Batch), (Some(7), HashNorm::Batch)]
    {
        let layer = hash_layer(hidden, norm);
        let codec = of_layer(&layer);
        let mut scaled = rows.values.clone();
        prepare_rows(&mut scaled, codec.config(), |row| row).unwrap();
        let x = Tensor::from_vec(scaled.clone(), (50, 12), &Device::Cpu).unwrap();
        let expected = layer.forward(&x, Mode::Evaluation).unwrap().flatten_all().unwrap();
        let expected: Vec<f64> =
            expected.to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect();
        let values = codec.encode(&rows.values).unwrap();
        assert_near(&values, &expected, 1e-4);
        let path = dir.path().join("codec.safetensors");
        codec.save(&path).unwrap();
        let loaded = Codec::load(&path).unwrap();
        assert_eq!(
            (loaded.sha256(), loaded.encode(&rows.values).unwrap()),
            (codec.sha256(), values)
        );
        let short = loaded.shortened(4).unwrap().encode(&rows.values).unwrap();
        assert_near(&short[..4], &expected[..4], 1e-4);
        match codec.affine() {
            None => assert!(hidden.is_some()),
            Some((weight, bias)) => {
                let along =
                    |row: &[f32]| -> f32 { row.iter().zip(&scaled).map(|(a, b)| a * b).sum() };
                let first: Vec<f32> =
                    weight.chunks(12).zip(&bias).map(|(row, bias)| along(row) + bias).collect();
                assert_near(&first, &expected[..10], 1e-4);
            }
        }
    }
    let codec = of_layer(&hash_layer(Some(7), HashNorm::None));
    let refused = |name: &str, tensor: Option<Tensor>, part: &str| {
        let mut contents = codec.contents().unwrap();
        match tensor {
            Some(tensor) => drop(contents.tensors.insert(name.to_owned(), tensor)),
            None => drop(contents.tensors.remove(name)),
        }
        let path = dir.path().join("refused.safetensors");
        checkpoint::write(&contents, &path).unwrap();
        let error = Codec::load(&path).err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    };
    let zeros = |shape: &[usize]| Some(Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
    refused("outputs.bias", None, "it has no outputs.bias");
    refused("outputs.bias", zeros(&[9]), "its outputs has the shapes");
    refused("outputs.weight", zeros(&[10, 6]), "6 numbers, expected 7");
    refused("hidden.weight", zeros(&[7, 11]), "11 numbers, expected 12");
    refused("hidden.weight", None, "7 numbers, expected 12");
}
