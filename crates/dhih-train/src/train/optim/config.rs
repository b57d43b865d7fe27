//! The constants of an optimiser, and the factors of learning rate and weight decay by the role of a variable.

use candle_core::Var;
use dhih_model::Parameters;
use dhih_model::loss::CLASS_DIRECTIONS;
use dhih_model::pretrained::BACKBONE;
use serde::{Deserialize, Serialize};

use crate::error::{Result, by_name};

/// The optimisation algorithm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// Stochastic gradient descent with Nesterov momentum.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    AdamW,
    /// Orthogonalised steps for the filters of the backbone's convolutions (Jordan et al., 2024), SGD for the other variables.
    Muon,
}

impl OptimizerName {
    const ALL: [(&'static str, Self); 3] =
        [("sgd", Self::Sgd), ("adamw", Self::AdamW), ("muon", Self::Muon)];

    /// Parses a name.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with the known names.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        by_name("optimizer", name, Self::ALL.into_iter())
    }
}

/// The constants of all steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OptimizerConfig {
    pub(crate) method: OptimizerName,
    /// The momentum of SGD, or the first decay rate of Adam.
    pub(crate) momentum: f64,
    pub(crate) weight_decay: f64,
    /// The norm to which all gradients together are clipped where it is larger.
    pub(crate) clip_norm: Option<f64>,
    /// The factor of the backbone's learning rate; 0 excludes the backbone from training.
    pub(crate) backbone_scale: f64,
    /// The factor of the learning rate of the shifts of the backbone's batch norm. Where it is not 1 they have the same weight decay as weights.
    pub(crate) norm_shift_scale: f64,
    /// Whether the scales of the backbone's batch norm are trained.
    pub(crate) trains_norm_scales: bool,
    /// With Muon: the learning rate of filters relative to that of other variables, and their momentum.
    pub(crate) filters: FilterRates,
}

/// The constants of Muon for filters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FilterRates {
    pub(crate) rate_scale: f64,
    pub(crate) momentum: f64,
}

impl Default for OptimizerConfig {
    /// SGD with the usual momentum, one learning rate for all variables, and no weight decay.
    fn default() -> Self {
        Self {
            method: OptimizerName::Sgd,
            momentum: 0.9,
            weight_decay: 0.0,
            clip_norm: None,
            backbone_scale: 1.0,
            norm_shift_scale: 1.0,
            trains_norm_scales: true,
            filters: FilterRates { rate_scale: 1.0, momentum: 0.6 },
        }
    }
}

/// The role of a variable, which determines its rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The filters of a convolution in the backbone.
    Filters,
    /// Another weight that multiplies activations.
    Weight,
    /// A scale or shift of batch norm in the backbone.
    NormScale,
    NormShift,
    /// Another bias, or a scale or shift of the hash layer's batch norm.
    Other,
}

impl Role {
    pub(super) fn of(name: &str, var: &Var, parameters: &Parameters) -> Self {
        let norm = name.rsplit_once('.').filter(|(layer, _)| {
            name.starts_with(BACKBONE) && parameters.get(&format!("{layer}.running_var")).is_some()
        });
        match norm {
            Some((_, "weight")) => Self::NormScale,
            Some((_, "bias")) => Self::NormShift,
            _ if var.rank() == 4 && name.starts_with(BACKBONE) => Self::Filters,
            // The lengths of class directions do not matter, so that they have no weight decay.
            _ if name.rsplit('.').next() == Some(CLASS_DIRECTIONS) => Self::Other,
            _ if var.rank() > 1 && !name.ends_with("bias") => Self::Weight,
            _ => Self::Other,
        }
    }
}

/// The factors of a variable's learning rate and weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factors {
    pub(super) rate: f64,
    pub(super) decay: f64,
}

impl OptimizerConfig {
    /// The factors for a variable; `None` where it is not trained.
    pub(super) fn factors(&self, name: &str, role: Role) -> Option<Factors> {
        let part = if name.starts_with(BACKBONE) { self.backbone_scale } else { 1.0 };
        let (rate, decay) = match role {
            Role::Filters if self.method == OptimizerName::Muon => {
                (part * self.filters.rate_scale, 0.0)
            }
            Role::Filters | Role::Weight => (part, 1.0),
            // Scales and shifts have no weight decay: they determine the size of activations, not of weights.
            Role::Other => (part, 0.0),
            Role::NormScale if self.trains_norm_scales => (part, 0.0),
            Role::NormScale => return None,
            Role::NormShift if self.norm_shift_scale == 1.0 => (part, 0.0),
            // The effect of weight decay is its product with the learning rate.
            Role::NormShift => (part * self.norm_shift_scale, 1.0 / self.norm_shift_scale),
        };
        (rate > 0.0).then_some(Factors { rate, decay })
    }
}
