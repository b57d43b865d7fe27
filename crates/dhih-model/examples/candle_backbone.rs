//! A candle model as the backbone: ConvNeXt of candle-transformers is trained for a few steps and encodes.
//!
//! ```text
//! cargo run --release -p dhih-model --example candle_backbone
//! ```

use candle_core::{Device, Module, Tensor, Var};
use candle_nn::{Func, VarBuilder};
use candle_transformers::models::convnext;
use dhih_model::ops::{Sgd, sgd_step};
use dhih_model::{
    Backbone, FeatureExtractor, HashLayerConfig, InputShape, Loss, Mode, Network, NetworkConfig,
    Normalization, encode,
};

/// The smallest ConvNeXt, without its classifier.
struct ConvNext(Func<'static>);

impl ConvNext {
    fn build(vb: VarBuilder<'_>) -> candle_core::Result<Box<dyn FeatureExtractor>> {
        let model = convnext::convnext_no_final_layer(&convnext::Config::atto(), vb)?;
        Ok(Box::new(Self(model)))
    }
}

impl FeatureExtractor for ConvNext {
    /// Models of candle take channels first. This one computes the same in training and evaluation.
    fn forward(&self, x: &Tensor, _: Mode) -> candle_core::Result<Tensor> {
        self.0.forward(&x.permute((0, 3, 1, 2))?.contiguous()?)
    }

    fn features(&self) -> usize {
        320
    }
}

fn main() -> Result<(), dhih_model::Error> {
    // At 32 pixels the last stage would have a single position, for which candle's layer norm has no gradient.
    let input = InputShape::new(64, 64, 3);
    let stripes = |i: usize| {
        let (image, row, column) = (i / input.len(), i / 192 % 64, i / 3 % 64);
        let along = if image % 2 == 0 { row } else { column };
        if (along + image) / 4 % 2 == 0 { 200 } else { 50 }
    };
    let images: Vec<u8> = (0..8 * input.len()).map(stripes).collect();
    let config = NetworkConfig {
        backbone: Backbone::CUSTOM,
        input,
        normalization: Normalization::measure(&images, 3),
        bits: 16,
        hash_layer: HashLayerConfig::default(),
        loss: Loss::default(),
        views: Default::default(),
        classes: vec!["rows".into(), "columns".into()],
    };
    let device = Device::Cpu;
    let network = Network::with_backbone(config, (1, &device), ConvNext::build)?;
    let x = network.config().normalization.apply(&images, input, &device)?;
    let labels = Tensor::new(&[[1f32, 0.], [0., 1.]], &device)?.repeat((4, 1))?;

    let trainable = network.parameters().trainable();
    let zeros = |(_, var): &(String, Var)| Var::from_tensor(&var.zeros_like()?);
    let velocities = trainable.iter().map(zeros).collect::<candle_core::Result<Vec<_>>>()?;
    let sgd = Sgd { learning_rate: 0.02, momentum: 0.9, weight_decay: 0.0 };
    for step in 0..5 {
        let v = network.forward(&x, Mode::training_step(1, step))?;
        let loss = network.objective().value(&v, &labels, 0.0)?;
        println!("step {step}: loss {:.4}", loss.to_scalar::<f32>()?);
        let gradients = loss.backward()?;
        for ((_, var), velocity) in trainable.iter().zip(&velocities) {
            if let Some(gradient) = gradients.get(var) {
                sgd_step(var, velocity, gradient, sgd)?;
            }
        }
    }
    for (label, code) in encode(&network, &images)?.chunks(16).enumerate() {
        let bits: String = code.iter().map(|v| if *v >= 0.0 { '1' } else { '0' }).collect();
        println!("{} {bits}", network.config().classes[label % 2]);
    }
    Ok(())
}
