//! No loss. The hash layer was fitted to features without labels, as a codec is ([`crate::codec`]), and is not trained.

use candle_core::{Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use super::hash_loss::{ClassSource, HashLoss};
use super::range::Range;
use super::supervision::Supervision;

/// Stands in place of a loss in networks whose hash layer was fitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitted {}

impl HashLoss for Fitted {
    const NAME: &'static str = "fitted";
    const DESCRIPTION: &'static str = "not trained: fitted to features without labels";

    type Classes = ();

    fn for_bits(_: usize) -> Self {
        Self {}
    }

    fn ranges(&self) -> Vec<Range> {
        Vec::new()
    }

    fn classes(&self, _: &ClassSource<'_>) -> crate::Result<Self::Classes> {
        Ok(())
    }

    fn value(&self, _: &Tensor, _: &Self::Classes, _: Supervision<'_>) -> Result<Tensor> {
        bail!("a fitted hash layer has no loss to train it with")
    }

    fn class_scores(&self, _: &Tensor, _: &Self::Classes) -> Result<Option<Tensor>> {
        Ok(None)
    }
}
