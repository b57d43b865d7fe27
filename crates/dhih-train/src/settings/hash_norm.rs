//! The user's choice of how the hash layer ends. `dhih-model` has the possible ends.

use dhih_model::{HashNorm, Loss};
use serde::{Deserialize, Serialize};

use crate::error::{Result, by_name};

/// The user's choice of how the hash layer ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashNormChoice {
    /// As the loss says: [`Loss::hash_norm`].
    #[default]
    Auto,
    /// In its linear layer, whatever the loss.
    None,
    /// In batch norm, whatever the loss.
    Batch,
}

impl HashNormChoice {
    const ALL: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("none", Self::None), ("batch", Self::Batch)];

    /// Parses a name.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with the known names.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        by_name("hash_norm", name, Self::ALL.into_iter())
    }

    /// How the hash layer ends with `loss`.
    pub(crate) fn for_loss(self, loss: &Loss) -> HashNorm {
        match self {
            Self::Auto => loss.hash_norm(),
            Self::None => HashNorm::None,
            Self::Batch => HashNorm::Batch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::table::{TrainConfig, TrainOptions};

    fn resolved(loss: &str, hash_norm: Option<&str>) -> Result<TrainConfig> {
        let (loss, hash_norm) = (Some(loss.parse().unwrap()), hash_norm.map(str::to_owned));
        TrainOptions { loss, hash_norm, ..TrainOptions::default() }.resolve()
    }

    #[test]
    fn the_loss_decides_where_the_user_does_not() {
        for (loss, choice, expected) in [
            ("hi", None, HashNorm::Batch),
            ("hi", Some("none"), HashNorm::None),
            ("csq", None, HashNorm::None),
            ("csq", Some("auto"), HashNorm::None),
            ("csq", Some("batch"), HashNorm::Batch),
            ("ortho-cos", None, HashNorm::Batch),
            ("ortho-cos", Some("none"), HashNorm::None),
        ] {
            let config = resolved(loss, choice).unwrap();
            assert_eq!(config.hash_layer().norm, expected, "{loss} {choice:?}");
        }
        let error = resolved("hi", Some("bach")).unwrap_err().to_string();
        assert!(error.starts_with("hash_norm is bach, expected one of "), "{error}");
    }

    /// A file without the setting, and without the constant of the HI loss that decides it, is of a version without batch norm.
    #[test]
    fn files_of_older_versions_mean_what_they_meant() {
        for (loss, constant, expected) in
            [("hi", "batch_norm", HashNorm::None), ("ortho-arc", "margin", HashNorm::Batch)]
        {
            let mut table = toml::Table::try_from(resolved(loss, None).unwrap()).unwrap();
            table.remove("hash_norm").unwrap();
            let of_loss = table.get_mut("loss").and_then(toml::Value::as_table_mut).unwrap();
            if loss == "hi" {
                of_loss.remove(constant).unwrap();
            }
            let old: TrainConfig = table.try_into().unwrap();
            assert_eq!(old.hash_layer().norm, expected, "{loss}");
            assert_eq!(TrainOptions::of(&old).unwrap().resolve().unwrap(), old, "{loss}");
        }
    }
}
