//! Divergence that shows only behind the last step of an epoch, whose loss was finite: in the weights, or in the codes that they make.

use candle_core::DType;
use dhih_model::Parameters;

use crate::error::{Error, Result};
use crate::run::epoch_record::EpochRecord;
use crate::settings::table::TrainConfig;

/// The end of an epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastStep {
    epoch: usize,
    /// The number of batches of an epoch.
    batches: usize,
    learning_rate: f64,
}

impl LastStep {
    /// The last step of the epoch `record`, in a training on so many images.
    pub(crate) fn of(record: &EpochRecord, config: &TrainConfig, images: usize) -> Self {
        let EpochRecord { epoch, learning_rate, .. } = *record;
        Self { epoch, batches: images.div_ceil(config.batch_size), learning_rate }
    }

    /// Checks the weights that this step made.
    ///
    /// # Errors
    /// [`Error::Diverged`] where a weight is infinite or no number; those of the device.
    pub(crate) fn check(self, parameters: &Parameters) -> Result<()> {
        let mut sum = 0.0;
        for (_, var) in parameters.trainable() {
            // Zero times a finite number is zero; everything else becomes NaN.
            let zeros = (var.as_tensor() * 0.0)?.sum_all()?.to_dtype(DType::F32)?;
            sum += zeros.to_scalar::<f32>()?;
        }
        if sum == 0.0 { Ok(()) } else { Err(self.diverged()) }
    }

    /// An error of encoding with the weights that this step made: divergence, where codes are no numbers.
    pub(crate) fn explain(self, error: Error) -> Error {
        match error {
            Error::Index(dhih_index::Error::NotANumber { .. })
            | Error::Model(dhih_model::Error::NotANumber { .. }) => self.diverged(),
            error => error,
        }
    }

    fn diverged(self) -> Error {
        let Self { epoch, batches, learning_rate } = self;
        let step = epoch * batches;
        Error::Diverged { loss: f32::NAN, epoch, batch: batches, step, learning_rate }
    }
}
