//! Features that PyTorch computes, which `golden.py` wrote, and networks with the same weights: values of a formula, here and there.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use dhih_model::{Backbone, InputShape, Mode};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

/// One of so many features is in the file.
pub(crate) const STRIDE: usize = 7;

/// Values in -1..1, as in `parity/golden.py`.
pub(crate) fn formula(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = name
        .bytes()
        .fold(0x811C_9DC5u32, |seed, byte| (seed ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..count as u32).map(move |i| {
        let mut x = i.wrapping_mul(0x9E37_79B1).wrapping_add(seed);
        x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
        x ^= x >> 16;
        f64::from(x) / f64::from(1u32 << 31) - 1.0
    })
}

pub(crate) fn image(height: usize, width: usize) -> Tensor {
    named_image("image", height, width)
}

/// Images of a name, `[2, height, width, 3]`.
fn named_image(name: &str, height: usize, width: usize) -> Tensor {
    let values = formula(name, 2 * height * width * 3).map(|u| u as f32);
    Tensor::from_vec(values.collect(), (2, height, width, 3), &Device::Cpu).unwrap()
}

/// Gives out the formula's weights and notes what was asked for.
#[derive(Clone, Default)]
pub(crate) struct Formula {
    pub(crate) asked: Arc<Mutex<BTreeMap<String, Vec<usize>>>>,
    /// The weights, as variables.
    variables: Arc<Mutex<BTreeMap<String, Var>>>,
}

impl SimpleBackend for Formula {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        _: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let dims = shape.dims();
        self.asked.lock().unwrap().insert(name.to_owned(), dims.to_vec());
        let fan_in: usize = dims[1..].iter().product();
        let scale = (6.0 / fan_in as f64).sqrt();
        let value = |u: f64| match dims.len() {
            2.. => u * scale,
            _ if name.ends_with("running_var") => 1.0 + 0.5 * u,
            _ => 0.2 * u + if name.ends_with("weight") { 1.0 } else { 0.0 },
        };
        let values = formula(name, shape.elem_count()).map(|u| value(u) as f32);
        let variable = Var::from_vec(values.collect::<Vec<f32>>(), shape, device)?;
        let weight = variable.as_tensor().clone();
        self.variables.lock().unwrap().insert(name.to_owned(), variable);
        Ok(weight)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name} was asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Whether a backbone has the names of `transformers`, and is compared in `transformers.rs`.
pub(crate) fn is_transformer(backbone: Backbone) -> bool {
    ["dinov2-", "clip-", "siglip-"].iter().any(|family| backbone.name().starts_with(family))
}

/// What the file says.
pub(crate) struct Golden {
    /// By backbone: height, width, features, SHA-256 of names and shapes.
    pub(crate) facts: BTreeMap<String, (usize, usize, usize, String)>,
    pub(crate) features: BTreeMap<String, Tensor>,
}

pub(crate) fn golden() -> Golden {
    let bytes =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/torchvision.safetensors"));
    let bytes = bytes.unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let facts = header.metadata().clone().unwrap().into_iter().map(|(name, facts)| {
        let facts: Vec<&str> = facts.split(' ').collect();
        let number = |i: usize| facts[i].parse().unwrap();
        (name, (number(0), number(1), number(2), facts[3].to_owned()))
    });
    let features = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    Golden { facts: facts.collect(), features: features.into_iter().collect() }
}

impl Golden {
    pub(crate) fn input(&self, backbone: Backbone) -> InputShape {
        let (height, width, ..) = self.facts[backbone.name()];
        InputShape::new(height, width, 3)
    }

    /// Builds the backbone with the weights and compares its features of the formula's image.
    pub(crate) fn compare(&self, backbone: Backbone, vb: VarBuilder<'_>, expected: &str) {
        let (height, width, features, _) = self.facts[backbone.name()];
        let extractor = backbone.build(self.input(backbone), vb).unwrap();
        assert_eq!(extractor.features(), features, "{expected}");
        let got = extractor.forward(&image(height, width), Mode::Evaluation).unwrap();
        assert_eq!(got.dims(), [2, features], "{expected}");
        let got = got.to_vec2::<f32>().unwrap();
        let got: Vec<f32> =
            got.iter().flat_map(|row| row.iter().step_by(STRIDE)).copied().collect();
        let values = self.features[expected].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(got.len(), values.len(), "{expected}");
        let largest = values.iter().fold(0f32, |m, x| m.max(x.abs()));
        let error = got.iter().zip(&values).fold(0f32, |m, (g, e)| m.max((g - e).abs()));
        println!("{expected}: off by {:.1e} of the largest", error / largest);
        // With these weights, PyTorch's own features of mobilenet-v3 are 1.2e-4 from those in f64; of the others, at most 1e-5.
        let bound = if backbone.name() == "mobilenet-v3" { 5e-4 } else { 1e-4 };
        assert!(error <= bound * largest, "{expected}: off by {error}, largest {largest}");
    }
}

impl Golden {
    /// Compares features, and the names and shapes of weights, of a backbone with the formula's weights.
    pub(crate) fn check(&self, backbone: Backbone) {
        let weights = Formula::default();
        let vb = VarBuilder::from_backend(Box::new(weights.clone()), DType::F32, Device::Cpu);
        self.compare(backbone, vb, backbone.name());
        let asked = weights.asked.lock().unwrap();
        let names: String = asked.iter().map(|(name, dims)| format!("{name} {dims:?}\n")).collect();
        let digest = Sha256::digest(&names);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, self.facts[backbone.name()].3, "{}: {names}", backbone.name());
    }

    /// Compares the gradients of the pixels and of every weight with those that PyTorch computes in double precision: their products with a
    /// direction. The sum of the features, each times a number, is what is differentiated, and batch norm has its running statistics. A unit that
    /// is at the kink of its activation by rounding alone changes gradients by more than rounding does; so each gradient must agree for one of a
    /// few images.
    pub(crate) fn check_gradients(&self, backbone: Backbone) {
        let expected = self.features[&format!("{} gradients", backbone.name())].to_vec3::<f32>();
        let bound = 1e-3;
        let mut least: Vec<(f64, String)> = Vec::new();
        for (number, expected) in expected.unwrap().iter().enumerate() {
            let errors = self.gradient_errors(backbone, &format!("image {number}"), expected);
            match least.is_empty() {
                true => least = errors,
                false => least.iter_mut().zip(errors).for_each(|(least, error)| {
                    least.0 = least.0.min(error.0);
                }),
            }
            let worst = least.iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            println!(
                "{}: {} images: {} off by {:.1e}",
                backbone.name(),
                number + 1,
                worst.1,
                worst.0
            );
            if worst.0 <= bound {
                return;
            }
        }
        least.retain(|(error, _)| *error > bound);
        panic!("{}: {least:?}", backbone.name());
    }

    /// How far each gradient is off, as a part of its length, and of what it is. A gradient that is zero but for rounding has a length all the same.
    fn gradient_errors(
        &self,
        backbone: Backbone,
        image: &str,
        expected: &[Vec<f32>],
    ) -> Vec<(f64, String)> {
        let (height, width, features, _) = self.facts[backbone.name()];
        let weights = Formula::default();
        let vb = VarBuilder::from_backend(Box::new(weights.clone()), DType::F32, Device::Cpu);
        let extractor = backbone.build(self.input(backbone), vb).unwrap();
        let pixels = Var::from_tensor(&named_image(image, height, width)).unwrap();
        let got = extractor.forward(pixels.as_tensor(), Mode::Evaluation).unwrap();
        let factors = formula("factors", 2 * features).map(|u| u as f32).collect::<Vec<f32>>();
        let factors = Tensor::from_vec(factors, (2, features), &Device::Cpu).unwrap();
        let gradients = ((got * factors).unwrap().sum_all().unwrap()).backward().unwrap();
        let variables = weights.variables.lock().unwrap();
        let trained = variables.iter().filter(|(name, _)| !name.contains("running_"));
        let trained = trained.map(|(name, variable)| (name.as_str(), variable));
        assert_eq!(expected.len(), 1 + trained.clone().count(), "{}", backbone.name());
        let largest = expected.iter().map(|row| f64::from(row[1])).fold(0.0, f64::max);
        let all = std::iter::once(("pixels", &pixels)).chain(trained);
        let errors = all.zip(expected).map(|((name, variable), expected)| {
            let (product, length) = (f64::from(expected[0]), f64::from(expected[1]));
            let named = format!("{name} direction");
            let direction = formula(&named, variable.elem_count());
            let found = gradients.get(variable).map_or(0.0, |gradient| {
                let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                gradient.iter().zip(direction).map(|(g, u)| f64::from(*g) * u).sum()
            });
            ((found - product).abs() / length.max(1e-4 * largest), name.to_owned())
        });
        errors.collect()
    }
}
