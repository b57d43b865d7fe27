//! From the names and shapes in a checkpoint to those of a backbone, which are torchvision's where that has the network.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Result, Shape, Tensor};

use crate::backbone::Backbone;
use crate::config::InputShape;

/// What wrappers (data parallelism, training frameworks, compilers) put before all names.
const WRAPPERS: [&str; 5] = ["module.", "backbone.", "model.", "network.", "_orig_mod."];

/// Layers that classify the 1,000 classes of ImageNet: the names of torchvision, timm and `efficientnet_pytorch`.
const CLASSIFIERS: [&str; 5] = ["fc", "classifier.6", "classifier.1", "head.fc", "_fc"];

/// timm has VGG's first two linear layers as convolutions over the whole map.
const RENAMED: [(&str, &str); 2] =
    [("pre_logits.fc1.", "classifier.0."), ("pre_logits.fc2.", "classifier.3.")];

/// The tensors for a backbone, and the names of those left over.
pub(super) struct Fitted {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) unused: Vec<String>,
}

/// Takes off what stands before every name.
pub(super) fn without_prefix(mut tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let common = |tensors: &BTreeMap<String, Tensor>| {
        let everywhere = |prefix: &&str| tensors.keys().all(|name| name.starts_with(*prefix));
        WRAPPERS.into_iter().find(everywhere).filter(|_| !tensors.is_empty())
    };
    while let Some(prefix) = common(&tensors) {
        let strip = |(name, tensor): (String, Tensor)| (name[prefix.len()..].to_owned(), tensor);
        tensors = tensors.into_iter().map(strip).collect();
    }
    tensors
}

/// Renames, reshapes and sets the classifier aside; whether names and shapes are then the expected ones is not checked.
pub(super) fn fit(
    tensors: &BTreeMap<String, Tensor>,
    expected: &BTreeMap<String, Shape>,
) -> Result<Fitted> {
    let mut fitted = Fitted { tensors: BTreeMap::new(), unused: Vec::new() };
    for (name, tensor) in tensors {
        let renamed = RENAMED.iter().find_map(|(from, to)| Some((to, name.strip_prefix(from)?)));
        let renamed = renamed.map(|(to, rest)| format!("{to}{rest}"));
        let renamed = renamed.filter(|renamed| expected.contains_key(renamed));
        let layer = name.rsplit_once('.').map_or("", |(layer, _)| layer);
        if let Some(renamed) = renamed {
            // A window as large as the map sees it in the order in which PyTorch flattens it.
            let tensor = match tensor.rank() {
                4 => tensor.flatten_from(1)?,
                _ => tensor.clone(),
            };
            fitted.tensors.insert(renamed, tensor);
        } else if CLASSIFIERS.contains(&layer) && !expected.contains_key(name) {
            fitted.unused.push(name.clone());
        } else {
            fitted.tensors.insert(name.clone(), tensor.clone());
        }
    }
    Ok(fitted)
}

/// The backbone that a checkpoint fits in every name and shape.
pub(super) fn looks_like(tensors: &BTreeMap<String, Tensor>) -> Option<&'static str> {
    let input = InputShape { height: 224, width: 224, channels: 3 };
    let fits = |backbone: &Backbone| {
        let Ok((_, expected)) = backbone.blueprint(input) else { return false };
        let Ok(Fitted { tensors, .. }) = fit(tensors, &expected) else { return false };
        let names: BTreeSet<_> =
            tensors.iter().map(|(name, tensor)| (name, tensor.dims())).collect();
        names == expected.iter().map(|(name, shape)| (name, shape.dims())).collect()
    };
    Backbone::ALL.iter().copied().find(fits).map(Backbone::name)
}
