//! Maps the names and shapes of a checkpoint to those of a backbone. The latter are torchvision's, where torchvision has the network.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Result, Shape, Tensor};

use super::positions::{self, Filter, PatchGrid};
use crate::backbone::Backbone;
use crate::image::InputShape;

/// Prefixes that wrappers (data parallelism, training frameworks, compilers) put before all names.
const WRAPPERS: [&str; 6] = ["module.", "backbone.", "model.", "network.", "_orig_mod.", "dinov2."];

/// Layers that classify the 1,000 classes of ImageNet, by the names of torchvision, timm, `efficientnet_pytorch` and `transformers`.
const CLASSIFIERS: [&str; 8] = [
    "fc",
    "classifier.6",
    "classifier.1",
    "classifier.2",
    "classifier.3",
    "head.fc",
    "_fc",
    "classifier",
];

/// Parts of published checkpoints that compute no features of images: text towers, what joins them to images, and what only pretraining uses.
const OTHER_PARTS: [&str; 5] =
    ["text_model.", "text_projection.", "logit_scale", "logit_bias", "embeddings.mask_token"];

/// Position embeddings of a transformer, by the names of `transformers`.
const POSITIONS: [&str; 2] =
    ["embeddings.position_embeddings", "embeddings.position_embedding.weight"];

/// The filters that make tokens of the patches of an image, by the names of `transformers`.
const PATCHES: [&str; 2] = ["patch_embeddings.projection.weight", "patch_embedding.weight"];

/// In timm, the first two linear layers of VGG are convolutions over the whole feature map.
const RENAMED: [(&str, &str); 2] =
    [("pre_logits.fc1.", "classifier.0."), ("pre_logits.fc2.", "classifier.3.")];

/// The tensors for a backbone, and the names of those that are left over.
pub(super) struct Fitted {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) unused: Vec<String>,
}

/// Removes prefixes that all names have; a classifier beside a wrapped backbone does not count.
pub(super) fn without_prefix(mut tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let common = |tensors: &BTreeMap<String, Tensor>| {
        let mut wrapped = tensors.keys().filter(|name| !is_of_classifier(name)).peekable();
        wrapped.peek()?;
        let everywhere = |prefix: &&str| wrapped.clone().all(|name| name.starts_with(*prefix));
        WRAPPERS.into_iter().find(everywhere)
    };
    while let Some(prefix) = common(&tensors) {
        let strip = |(name, tensor): (String, Tensor)| {
            (name.strip_prefix(prefix).unwrap_or(&name).to_owned(), tensor)
        };
        tensors = tensors.into_iter().map(strip).collect();
    }
    tensors
}

fn is_of_classifier(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(layer, _)| CLASSIFIERS.contains(&layer))
}

/// Renames and reshapes tensors for a network that takes images of the shape `input`, and sets the classifier and other parts aside. It does not
/// check that names and shapes are then the expected ones.
pub(super) fn fit(
    tensors: &BTreeMap<String, Tensor>,
    expected: &BTreeMap<String, Shape>,
    input: InputShape,
) -> Result<Fitted> {
    let patches = patch_grid(expected, input);
    let mut fitted = Fitted { tensors: BTreeMap::new(), unused: Vec::new() };
    for (name, tensor) in tensors {
        let is_other =
            is_of_classifier(name) || OTHER_PARTS.iter().any(|part| name.starts_with(part));
        let name = renamed(name, expected).unwrap_or_else(|| name.clone());
        match expected.get(&name) {
            Some(shape) => {
                let tensor = reshaped(&name, tensor, shape.dims(), patches)?;
                fitted.tensors.insert(name, tensor);
            }
            None if is_other => fitted.unused.push(name),
            None => drop(fitted.tensors.insert(name, tensor.clone())),
        }
    }
    Ok(fitted)
}

/// The expected name of a tensor that has another name.
fn renamed(name: &str, expected: &BTreeMap<String, Shape>) -> Option<String> {
    let prefixes = RENAMED.iter().filter_map(|(from, to)| Some((*to, name.strip_prefix(from)?)));
    // A checkpoint of an image tower alone does not have the prefix of the tower.
    let tower = ("vision_model.", name);
    let mut names = prefixes.chain([tower]).map(|(prefix, rest)| format!("{prefix}{rest}"));
    names.find(|renamed| !expected.contains_key(name) && expected.contains_key(renamed))
}

/// The patches of an image; `None` for a network that does not cut images into patches. `transformers` interpolates with antialiasing for
/// DINOv2 with registers, and without it for all others.
fn patch_grid(expected: &BTreeMap<String, Shape>, input: InputShape) -> Option<PatchGrid> {
    let is_of_patches = |name: &str| PATCHES.iter().any(|patches| name.ends_with(patches));
    let (_, weight) = expected.iter().find(|(name, _)| is_of_patches(name))?;
    let &[_, _, height, width] = weight.dims() else { return None };
    let has_registers = expected.keys().any(|name| name.ends_with("embeddings.register_tokens"));
    let filter = if has_registers { Filter::Antialiased } else { Filter::Plain };
    let (rows, columns) = (input.height.checked_div(height)?, input.width.checked_div(width)?);
    Some(PatchGrid { rows, columns, filter })
}

/// The tensor in the expected shape, where it is the same in another layout or for images of another size.
fn reshaped(
    name: &str,
    tensor: &Tensor,
    shape: &[usize],
    patches: Option<PatchGrid>,
) -> Result<Tensor> {
    if let Some(patches) = patches
        && POSITIONS.iter().any(|positions| name.ends_with(positions))
    {
        return positions::resized(tensor, shape, patches);
    }
    // A convolution over the whole map has its weights in the order in which PyTorch flattens the map.
    match (tensor.rank(), shape.len()) {
        (4, 2) => tensor.flatten_from(1),
        _ => Ok(tensor.clone()),
    }
}

/// The backbone that a checkpoint fits in every name and shape.
pub(super) fn looks_like(tensors: &BTreeMap<String, Tensor>) -> Option<&'static str> {
    let input = InputShape::new(224, 224, 3);
    let fits = |backbone: &Backbone| {
        let Ok((_, expected)) = backbone.blueprint(input) else { return false };
        let Ok(Fitted { tensors, .. }) = fit(tensors, &expected, input) else { return false };
        let names: BTreeSet<_> =
            tensors.iter().map(|(name, tensor)| (name, tensor.dims())).collect();
        names == expected.iter().map(|(name, shape)| (name, shape.dims())).collect()
    };
    Backbone::ALL.iter().copied().find(fits).map(Backbone::name)
}
