//! Pretrained weights from files that PyTorch wrote, from safetensors, and from damaged files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a panic is the failure"
)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::Init;
use dhih_model::{Backbone, Error, InputShape, Parameters, Pretrained};

/// Images of 3 x 3 patches of 2 pixels.
const INPUT: InputShape = InputShape::new(6, 6, 3);

const FILES: [&str; 5] = ["plain.pth", "nested.pth", "bf16.pth", "protocol4.pth", "legacy.pth"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pretrained").join(name)
}

/// The content of every fixture.
fn expected() -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
    vec![
        ("bn1.bias", vec![2], vec![1.0, 1.125]),
        ("bn1.running_mean", vec![2], vec![2.0, 2.125]),
        ("bn1.running_var", vec![2], vec![3.0, 3.125]),
        ("bn1.weight", vec![2], vec![0.0, 0.125]),
        ("conv1.weight", vec![2, 3, 1, 1], vec![0.0, 0.125, 0.25, 0.375, 0.5, 0.625]),
        ("fc.bias", vec![2], vec![0.25, 0.375]),
        ("fc.weight", vec![2, 4], vec![0.0, 0.25, 0.5, 0.75, 0.125, 0.375, 0.625, 0.875]),
    ]
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn contents(tensors: &BTreeMap<String, Tensor>) -> Vec<(&str, Vec<usize>, Vec<f32>)> {
    tensors.iter().map(|(name, t)| (name.as_str(), t.dims().to_vec(), flat(t))).collect()
}

/// The variables of a network, all with the value 7.
fn parameters(shapes: &[(&str, &[usize])]) -> Parameters {
    let parameters = Parameters::seeded(0);
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    for (name, shape) in shapes {
        vb.get_with_hints(*shape, name, Init::Const(7.0)).unwrap();
    }
    parameters
}

const TINY: [(&str, &[usize]); 6] = [
    ("backbone.bn1.bias", &[2]),
    ("backbone.bn1.running_mean", &[2]),
    ("backbone.bn1.running_var", &[2]),
    ("backbone.bn1.weight", &[2]),
    ("backbone.conv1.weight", &[2, 3, 1, 1]),
    ("hash_layer.weight", &[4, 2]),
];

fn save(dir: &Path, tensors: &[(&str, Tensor)]) -> PathBuf {
    let path = dir.join("weights.safetensors");
    let tensors: HashMap<String, Tensor> =
        tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    path
}

fn ramp(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>() as f32;
    Tensor::arange(0f32, count, &Device::Cpu).unwrap().reshape(shape).unwrap()
}

#[test]
fn every_form_that_pytorch_writes_is_read() {
    for name in FILES {
        let pretrained = Pretrained::read(&fixture(name)).unwrap();
        assert_eq!(contents(pretrained.tensors()), expected(), "{name}");
        assert_eq!(pretrained.sha256().len(), 64);
    }
}

#[test]
fn the_backbone_is_filled_and_the_classifier_left_over() {
    let parameters = parameters(&TINY);
    let loaded =
        Pretrained::read(&fixture("nested.pth")).unwrap().load_into(&parameters, INPUT).unwrap();
    assert_eq!((loaded.loaded, loaded.unused), (5, vec!["fc.bias".into(), "fc.weight".into()]));
    let values = parameters.snapshot().unwrap();
    for (name, shape, expected) in expected().iter().take(5) {
        let tensor = &values[&format!("backbone.{name}")];
        assert_eq!((tensor.dims(), flat(tensor)), (&shape[..], expected.clone()), "{name}");
    }
    assert_eq!(flat(&values["hash_layer.weight"]), [7.0; 8]);
}

#[test]
fn safetensors_of_every_float_type_are_read_and_counters_are_not() {
    let dir = tempfile::tempdir().unwrap();
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let conv = ramp(&[2, 3, 1, 1]).to_dtype(dtype).unwrap();
        let counter = Tensor::new(5i64, &Device::Cpu).unwrap();
        let path =
            save(dir.path(), &[("conv1.weight", conv), ("bn1.num_batches_tracked", counter)]);
        let pretrained = Pretrained::read(&path).unwrap();
        let expected = vec![("conv1.weight", vec![2, 3, 1, 1], flat(&ramp(&[6])))];
        assert_eq!(contents(pretrained.tensors()), expected, "{dtype:?}");
    }
    // Tensors of integers, such as position numbers, are left out.
    let ids = || ("ids", Tensor::new(&[1u32, 2], &Device::Cpu).unwrap());
    let path = save(dir.path(), &[ids(), ("conv1.weight", ramp(&[2]))]);
    assert_eq!(contents(Pretrained::read(&path).unwrap().tensors()).len(), 1);
    let path = save(dir.path(), &[ids()]);
    let error = Pretrained::read(&path).unwrap_err().to_string();
    assert!(error.contains("no tensors of floating") && error.contains("weights.safetensors"));
}

#[test]
fn the_vgg_of_timm_gets_the_names_and_shapes_of_torchvision() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(
        dir.path(),
        &[
            ("features.0.weight", ramp(&[2, 3, 3, 3])),
            ("pre_logits.fc1.weight", ramp(&[5, 2, 7, 7])),
            ("pre_logits.fc1.bias", ramp(&[5])),
            ("pre_logits.fc2.weight", ramp(&[5, 5, 1, 1])),
            ("pre_logits.fc2.bias", ramp(&[5])),
            ("head.fc.weight", ramp(&[10, 5])),
            ("head.fc.bias", ramp(&[10])),
        ],
    );
    let parameters = parameters(&[
        ("backbone.features.0.weight", &[2, 3, 3, 3]),
        ("backbone.classifier.0.weight", &[5, 98]),
        ("backbone.classifier.0.bias", &[5]),
        ("backbone.classifier.3.weight", &[5, 5]),
        ("backbone.classifier.3.bias", &[5]),
    ]);
    let loaded = Pretrained::read(&path).unwrap().load_into(&parameters, INPUT).unwrap();
    assert_eq!(loaded.unused, ["head.fc.bias", "head.fc.weight"]);
    let values = parameters.snapshot().unwrap();
    assert_eq!(flat(&values["backbone.classifier.0.weight"]), flat(&ramp(&[490])));
}

#[test]
fn a_classifier_that_the_backbone_has_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(
        dir.path(),
        &[("classifier.1.weight", ramp(&[4, 3])), ("classifier.6.weight", ramp(&[9, 4]))],
    );
    let parameters = parameters(&[("backbone.classifier.1.weight", &[4, 3])]);
    let loaded = Pretrained::read(&path).unwrap().load_into(&parameters, INPUT).unwrap();
    assert_eq!((loaded.loaded, loaded.unused), (1, vec!["classifier.6.weight".to_owned()]));
}

#[test]
fn a_transformer_takes_its_part_of_a_checkpoint_and_places_for_its_own_images() {
    let dir = tempfile::tempdir().unwrap();
    let positions = "vision_model.embeddings.position_embedding.weight";
    let patches = "vision_model.embeddings.patch_embedding.weight";
    let shapes: [(&str, &[usize]); 4] = [
        ("backbone.vision_model.embeddings.patch_embedding.weight", &[2, 3, 2, 2]),
        ("backbone.vision_model.embeddings.position_embedding.weight", &[10, 2]),
        ("backbone.vision_model.post_layernorm.weight", &[2]),
        ("backbone.visual_projection.weight", &[3, 2]),
    ];
    let parameters = parameters(&shapes);
    let path = save(
        dir.path(),
        &[
            (patches, ramp(&[2, 3, 2, 2])),
            (positions, ramp(&[17, 2])),
            ("vision_model.post_layernorm.weight", ramp(&[2])),
            ("visual_projection.weight", ramp(&[3, 2])),
            ("text_model.final_layer_norm.weight", ramp(&[2])),
            ("text_projection.weight", ramp(&[3, 2])),
            ("logit_scale", ramp(&[1])),
        ],
    );
    let loaded = Pretrained::read(&path).unwrap().load_into(&parameters, INPUT).unwrap();
    let others = ["logit_scale", "text_model.final_layer_norm.weight", "text_projection.weight"];
    assert_eq!((loaded.loaded, &loaded.unused[..]), (4, &others.map(str::to_owned)[..]));
    // A ramp over 4 x 4 positions is the same ramp over 3 x 3 positions.
    let table = flat(parameters.get(&format!("backbone.{positions}")).unwrap().as_tensor());
    assert_eq!(table[..2], [0.0, 1.0], "the class token's");
    let middle = (2.0 + 32.0) / 2.0;
    assert!((table[2 + 2 * 4] - middle).abs() < 1e-4, "{}", table[2 + 2 * 4]);

    // `transformers` saves an image tower alone without the prefix.
    let alone = [
        ("embeddings.position_embedding.weight", ramp(&[10, 2])),
        ("post_layernorm.weight", ramp(&[2])),
    ];
    let tower = parameters_of_tower();
    let path = save(dir.path(), &alone);
    assert_eq!(Pretrained::read(&path).unwrap().load_into(&tower, INPUT).unwrap().loaded, 2);
}

fn parameters_of_tower() -> Parameters {
    parameters(&[
        ("backbone.vision_model.embeddings.position_embedding.weight", &[10, 2]),
        ("backbone.vision_model.post_layernorm.weight", &[2]),
    ])
}

#[test]
fn every_difference_is_listed_and_nothing_is_changed() {
    let parameters = parameters(&[
        ("backbone.bn1.weight", &[3]),
        ("backbone.conv1.weight", &[2, 3, 1, 1]),
        ("backbone.conv2.weight", &[2, 2, 1, 1]),
    ]);
    let pretrained = Pretrained::read(&fixture("plain.pth")).unwrap();
    let error = pretrained.load_into(&parameters, INPUT).unwrap_err();
    let Error::Weights { missing, unknown, misshapen, looks_like } = &error else {
        panic!("{error}");
    };
    assert_eq!(missing, &["backbone.conv2.weight"]);
    let names = ["bias", "running_mean", "running_var"].map(|n| format!("backbone.bn1.{n}"));
    assert_eq!(unknown, &names);
    assert_eq!(misshapen, &["backbone.bn1.weight: expected [3], got [2]"]);
    assert_eq!(*looks_like, None);
    for (name, tensor) in parameters.snapshot().unwrap() {
        assert!(flat(&tensor).iter().all(|x| *x == 7.0), "{name} was changed");
    }
}

#[test]
fn another_backbones_weights_are_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let small = Parameters::seeded(1);
    let input = InputShape::new(32, 32, 3);
    Backbone::SMALL.build(input, small.builder(DType::F32, &Device::Cpu)).unwrap();
    let tensors = small.snapshot().unwrap();
    let tensors: Vec<(&str, Tensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let pretrained = Pretrained::read(&save(dir.path(), &tensors)).unwrap();
    let error = pretrained.load_into(&parameters(&TINY), INPUT).unwrap_err().to_string();
    assert!(error.contains("they look like those of small"), "{error}");
}

#[test]
fn what_is_no_checkpoint_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.pth");
    for (bytes, reason) in [
        (&b""[..], "neither safetensors nor a PyTorch checkpoint"),
        (b"<!DOCTYPE html><html></html>", "a web page came"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"PK\x03\x04", "weights.pth"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Pretrained::read(&path).unwrap_err();
        assert!(matches!(error, Error::Pretrained { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let absent = Pretrained::read(&dir.path().join("absent.pth")).unwrap_err();
    assert!(matches!(absent, Error::Io { .. }), "{absent}");
}

#[test]
fn damaged_files_give_errors_and_never_other_weights() {
    for name in FILES {
        let (bytes, path) = (std::fs::read(fixture(name)).unwrap(), Path::new(name));
        for end in 0..bytes.len() {
            assert!(Pretrained::from_bytes(&bytes[..end], path).is_err(), "{name} cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            match Pretrained::from_bytes(&bytes, path) {
                Err(error) => assert!(matches!(error, Error::Pretrained { .. }), "{error}"),
                // Zip archives have checksums; the older format has none.
                Ok(read) if name != "legacy.pth" => {
                    assert_eq!(contents(read.tensors()), expected(), "{name} at {at}");
                }
                Ok(_) => {}
            }
        }
    }
}
