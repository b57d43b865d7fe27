//! `alexnet` (Krizhevsky, 2014), with torchvision's layers and names.

use candle_core::Result;
use candle_nn::VarBuilder;

use super::Spec;
use super::blocks::Blocks;
use super::scheme::{Conv, Scheme};
use crate::image::InputShape;
use crate::layer::{Dropout, Layer};
use crate::ops::{Activation::Relu, Pool2dConfig};

/// The entry in the table of backbones.
pub(super) const ALEXNET: Spec =
    Spec::large("alexnet", "five convolutions and two linear layers", |input, vb, width| {
        alexnet(input, vb, width(4096))
    })
    .with_min_side(63);

/// Names the parameters `features.{0,3,6,8,10}` and `classifier.{1,4}`. The features are the `hidden` values (4,096) of `classifier.4`. A block
/// is a convolution or a linear layer, with what follows it.
fn alexnet(input: InputShape, vb: VarBuilder<'_>, hidden: usize) -> Result<Blocks> {
    let pool = Layer::MaxPool(Pool2dConfig { kernel: 3, stride: 2, padding: 0, ceil: false });
    let (features, classifier) = (vb.pp("features"), vb.pp("classifier"));
    let conv = |conv: Conv, name| conv.biased(Relu).build(Scheme::Torch, features.pp(name));
    let linear = |sizes, name| Scheme::Torch.linear(sizes, classifier.pp(name));
    let dropout = |name: &str| Layer::Dropout(Dropout { p: 0.5, name: name.to_owned() });
    let mut layers = Blocks::default();
    for block in [
        vec![conv(Conv::new((input.channels, 64), 11).stride(4).padding(2), 0)?, pool.clone()],
        vec![conv(Conv::new((64, 192), 5), 3)?, pool.clone()],
        vec![conv(Conv::new((192, 384), 3), 6)?],
        vec![conv(Conv::new((384, 256), 3), 8)?],
        vec![
            conv(Conv::new((256, 256), 3), 10)?,
            pool,
            Layer::AdaptiveAvgPool((6, 6)),
            Layer::Flatten,
        ],
        vec![dropout("classifier.0"), linear((256 * 36, hidden), 1)?],
        vec![dropout("classifier.3"), linear((hidden, hidden), 4)?],
    ] {
        layers.begin();
        layers.extend(block);
    }
    Ok(layers)
}
