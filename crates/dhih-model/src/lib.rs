//! Deep highly interrelated hashing: a neural network with a hash layer, the losses that train it, and the encoder that turns pictures into
//! real-valued codes. The crate is built on candle and has its own operators for fast training on CPUs ([`ops`]).
//!
//! Images go in as u8 pixels, channels last. Codes come out as K real values for each image, whose signs are the bits. `dhih-index` packs and
//! searches codes; `dhih-train` has datasets and the training loop.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use dhih_model::ops::{Sgd, sgd_step};
//! use dhih_model::loss::Loss;
//! use dhih_model::{Backbone, InputShape, Mode, Network, NetworkConfig, Normalization, encode};
//!
//! # fn main() -> Result<(), dhih_model::Error> {
//! let input = InputShape::new(16, 16, 3);
//! let images: Vec<u8> = (0..8 * input.len()).map(|i| (i * 31 % 255) as u8).collect();
//! let config = NetworkConfig {
//!     backbone: Backbone::SMALL,
//!     input,
//!     normalization: Normalization::measure(&images, 3),
//!     bits: 16,
//!     hash_layer: Default::default(),
//!     loss: Loss::default(),
//!     views: Default::default(),
//!     classes: vec!["cat".into(), "dog".into()],
//! };
//! let network = Network::new(config, 42, &Device::Cpu)?;
//! let x = network.config().normalization.apply(&images, input, &Device::Cpu)?;
//! let labels = Tensor::new(&[[1f32, 0.], [0., 1.]], &Device::Cpu)?.repeat((4, 1))?;
//!
//! let v = network.forward(&x, Mode::training_step(42, 0))?;
//! let loss = network.objective().value(&v, &labels, 0.0)?;
//! let gradients = loss.backward()?;
//! let sgd = Sgd { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0 };
//! for (_, var) in network.parameters().trainable() {
//!     let velocity = candle_core::Var::from_tensor(&var.zeros_like()?)?;
//!     if let Some(gradient) = gradients.get(&var) {
//!         sgd_step(&var, &velocity, gradient, sgd)?;
//!     }
//! }
//! let codes = encode(&network, &images)?;
//! assert_eq!(codes.len(), 8 * 16);
//! # Ok(())
//! # }
//! ```

mod config;
mod error;
pub mod files;
pub mod image;
mod init;
pub mod ops;
pub mod perceptual;
mod preprocess;

pub mod backbone;
pub mod codec;
pub mod codewords;
pub mod device;
mod frozen;
mod hash_layer;
pub mod layer;
pub mod loss;
mod memory;
mod network;
mod tape;

pub mod checkpoint;
mod encoder;
mod inference;
pub mod onnx;
pub mod pretrained;
pub mod text;
mod views;
pub mod walk;

pub use backbone::{Backbone, FeatureExtractor};
pub use config::{MAX_BITS, NetworkConfig};
pub use encoder::{CodeEncoder, Encoded, Encoder, FeatureEncoder, HeadEncoder, Precision, encode};
pub use error::{Error, Result};
pub use hash_layer::{HashLayer, HashLayerConfig, HashNorm};
pub use image::InputShape;
pub use inference::Calibration;
pub use init::{Parameters, named_rng};
pub use layer::Mode;
pub use loss::{Hi, HiMode, Loss};
pub use network::Network;
pub use preprocess::{Normalization, NormalizationMeasure};
pub use pretrained::Pretrained;
pub use tape::Trace;
pub use views::{Views, moved};
