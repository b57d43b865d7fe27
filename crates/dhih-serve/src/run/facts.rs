//! The records of a run about itself: dataset and protocol from `config.toml`, mAP from `evaluation.json`. All are optional.

use std::path::Path;

use crate::{Error, Result};

/// The facts that the page shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) dataset: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) map: Option<f64>,
    /// Whether the data has the published checksums; absent if none are published.
    pub(crate) verified: Option<bool>,
}

impl Facts {
    /// Reads the files that exist. A damaged file is an error, because the run may then be damaged as well.
    pub(crate) fn read(run: &Path) -> Result<Self> {
        let config = read(&run.join("config.toml"), TRAIN, |text| {
            text.parse::<toml::Table>().map_err(|e| e.to_string())
        })?;
        let evaluation = read(&run.join("evaluation.json"), EVALUATE, |text| {
            serde_json::from_str::<serde_json::Value>(text).map_err(|e| e.to_string())
        })?;
        let name = |key: &str| {
            let value = config.as_ref()?.get("train")?.get(key)?;
            value.as_str().map(str::to_owned)
        };
        let verified = config.as_ref().and_then(|run| run.get("data")?.get("verified")?.as_bool());
        Ok(Self {
            verified,
            dataset: name("dataset"),
            protocol: name("protocol"),
            map: evaluation.and_then(|evaluation| evaluation.get("map")?.as_f64()),
        })
    }
}

const TRAIN: &str = "cargo run --release -p dhih-train";
const EVALUATE: &str = "cargo run --release -p dhih-train -- evaluate";

fn read<T>(
    path: &Path,
    make: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>> {
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    // Opening a pipe could block forever.
    if !path.is_file() {
        return Err(Error::unusable(path, "this is no file", make));
    }
    let text = std::fs::read_to_string(path).map_err(|e| Error::unusable(path, e, make))?;
    parse(&text).map(Some).map_err(|e| Error::unusable(path, e, make))
}
