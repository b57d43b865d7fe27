//! Chooses what a folder of pictures is trained with where neither a network nor its weights are named: a hash layer on pretrained features if
//! weights are on this machine, else a small network from scratch. The choice is reported.

use dhih_model::Backbone;

use crate::dataset::DatasetName;
use crate::error::Result;
use crate::photos::DEFAULT_ENCODER;
use crate::settings::table::TrainOptions;
use crate::train::weights::{HUB_DIR, WeightsSource};

/// Options, with the choice that was made.
#[derive(Debug)]
pub struct Chosen {
    /// The options with the choice.
    pub options: TrainOptions,
    /// A line that says what was chosen, why, and how to choose otherwise; absent where there was nothing to choose.
    pub note: Option<String>,
}

impl TrainOptions {
    /// Chooses network and weights for a folder of pictures where these options name neither. Weights are available where `data/weights` has
    /// those of a backbone's published repository; `photos` and `--weights hf:...` put them there. Then only the hash layer is trained, unless
    /// the options say how the backbone should be trained.
    ///
    /// # Errors
    /// When the name of the dataset is unknown.
    pub fn with_weights_at_hand(self) -> Result<Chosen> {
        let dataset = self.dataset.as_deref().map(DatasetName::parse).transpose()?;
        let is_named = self.backbone.is_some() || self.weights.is_some();
        if dataset != Some(DatasetName::Folder) || is_named || self.clone().resolves_to_error() {
            return Ok(Chosen { options: self, note: None });
        }
        let of_hand = published().into_iter().find_map(|(backbone, source)| {
            let path = source.at_hand()?;
            Some((backbone, source, path))
        });
        let Some((backbone, weights, path)) = of_hand else {
            let note = scratch_note();
            return Ok(Chosen { options: self, note: Some(note) });
        };
        let (name, path) = (backbone.name(), path.display());
        let options = self.clone().on_pretrained(backbone, &weights);
        if options.clone().resolve().is_err() {
            let note = format!(
                "NOTE: the weights of {name} in {path} are not used, as the other settings do not fit a pretrained network: the network \
                 `small` is trained from scratch"
            );
            return Ok(Chosen { options: self, note: Some(note) });
        }
        let part = match options.freeze_backbone {
            Some(true) => "the hash layer is trained on the features of",
            _ => "training begins with",
        };
        let note = format!(
            "NOTE: neither --backbone nor --weights is given, and {path} has pretrained weights: {part} {name}; `--backbone small` \
             trains a small network from scratch"
        );
        Ok(Chosen { options, note: Some(note) })
    }

    /// The backbone is frozen, unless the options say how it should be trained.
    fn on_pretrained(self, backbone: Backbone, weights: &WeightsSource) -> Self {
        let mut options = self.with_switches();
        let trains_backbone = options.train_last.is_some() || options.backbone_lr_scale.is_some();
        if !trains_backbone && options.freeze_backbone.is_none() {
            options.freeze_backbone = Some(true);
        }
        options.backbone = Some(backbone.name().to_owned());
        options.weights = Some(weights.to_string());
        options
    }

    /// Whether the options are wrong even if the weights that they need are there.
    fn resolves_to_error(self) -> bool {
        let asks_for_weights = self.freeze_backbone == Some(true) || self.train_last.is_some();
        !asks_for_weights && self.resolve().is_err()
    }
}

fn scratch_note() -> String {
    let published = published();
    let hint = published.first().map(|(backbone, source)| {
        let name = backbone.name();
        format!("; `--backbone {name} --weights {source} --freeze-backbone` begins with pretrained weights")
    });
    format!(
        "NOTE: neither --backbone nor --weights is given, and {HUB_DIR} has no weights of a known network: the network `small` is trained from \
         scratch on 32 x 32 pixels{}",
        hint.unwrap_or_default()
    )
}

/// Backbones with weights on the hub, the default of `photos` first.
fn published() -> Vec<(Backbone, WeightsSource)> {
    let source = |backbone: &Backbone| {
        let source = format!("hf:{}", backbone.published_weights()?).parse().ok()?;
        Some((*backbone, source))
    };
    let mut all: Vec<_> = Backbone::ALL.iter().filter_map(source).collect();
    all.sort_by_key(|(backbone, _)| backbone.name() != DEFAULT_ENCODER);
    all
}
