//! The directory of a run: names of its files, and how they are read and written. `latest.rs` finds the last run.

mod latest;

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use dhih_model::checkpoint;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::run::data_record::DataRecord;
use crate::run::epoch_record::EpochRecord;
use crate::run::origin::Origin;
use crate::settings::table::TrainConfig;

/// The state of training, relative to the run's directory.
const STATE: &str = "checkpoint/state.safetensors";

/// The directory of one run.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
}

/// The lock of a run's directory; see [`RunDir::lock`].
#[must_use]
pub(crate) struct RunLock {
    _folder: Option<File>,
}

/// The content of `config.toml`: the settings and what they were applied to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The version of the directory's layout. A missing value means the first version.
    #[serde(default = "first_version")]
    pub version: u32,
    /// SHA-256 of the pretrained weights; absent where the weights began at random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_sha256: Option<String>,
    /// The resolved settings.
    pub train: TrainConfig,
    /// What they were applied to.
    pub data: DataRecord,
    /// The program and the machine that began the run; absent in runs of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Other programs or machines that continued the run, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed_by: Vec<Origin>,
}

/// Where the directory of a new run is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewRun {
    /// This directory, which holds no run yet.
    At(PathBuf),
    /// `DATASET-LOSS-BITS-NNN` in this folder, with the lowest free number. Other kinds of runs have other stems.
    NumberedIn(PathBuf),
}

impl From<Option<&Path>> for NewRun {
    /// The given directory, or a numbered one in `runs`.
    fn from(run_dir: Option<&Path>) -> Self {
        run_dir.map_or_else(|| Self::NumberedIn("runs".into()), |path| Self::At(path.to_owned()))
    }
}

fn first_version() -> u32 {
    RunDir::VERSION
}

impl RunDir {
    /// The version of the directory's layout. Other versions are refused.
    pub const VERSION: u32 = 1;
    /// The settings.
    pub const CONFIG: &str = "config.toml";
    /// The trained network.
    pub const MODEL: &str = "model.safetensors";
    /// What computing in integers needs to know of the network's values.
    pub const CALIBRATION: &str = "calibration.safetensors";
    /// The encoder of texts.
    pub const TEXT: &str = "text.safetensors";
    /// The codes of the database.
    pub const CODES: &str = "codes.safetensors";
    /// The codes of the queries.
    pub const QUERIES: &str = "queries.safetensors";
    /// The real values whose signs are the codes of the queries.
    pub const QUERY_VALUES: &str = "query-values.safetensors";
    /// Thumbnails of database and queries.
    pub const GALLERY: &str = "gallery.safetensors";
    /// The metrics.
    pub const EVALUATION: &str = "evaluation.json";
    /// The metrics as one line of a table.
    pub const RESULTS: &str = "results.csv";
    /// The log: one line for each epoch.
    pub const METRICS: &str = "metrics.jsonl";
    /// The features of a frozen backbone for the training images.
    pub const FEATURES: &str = "features.safetensors";
    /// The log for TensorBoard.
    pub const EVENTS: &str = "tb/events.out.tfevents.dhih";
    /// The report of the run.
    pub const REPORT: &str = "report.html";
    /// The message about a training that diverged.
    pub const DIVERGED: &str = "diverged.txt";
    /// The index of the database's codes, which is a directory.
    pub const INDEX: &str = "index";
    /// What a run of pictures without labels was made of; it has no settings.
    pub const PHOTOS: &str = "photos.json";
    /// The split.
    pub const SPLIT: &str = "split.json";

    /// The names of what a run consists of. [`Self::create`] takes no directory that has one of them, because a new run would replace it.
    pub(crate) const ALL: [&str; 21] = [
        Self::CONFIG,
        Self::MODEL,
        Self::CALIBRATION,
        Self::TEXT,
        Self::CODES,
        "codes.safetensors.files.txt",
        "codes.safetensors.files.jsonl",
        Self::QUERIES,
        Self::QUERY_VALUES,
        Self::GALLERY,
        Self::EVALUATION,
        Self::RESULTS,
        Self::METRICS,
        Self::FEATURES,
        Self::EVENTS,
        Self::REPORT,
        Self::DIVERGED,
        Self::INDEX,
        Self::PHOTOS,
        Self::SPLIT,
        "checkpoint",
    ];

    /// Makes a new directory. A numbered one is called `stem` and its number.
    ///
    /// # Errors
    /// When it cannot be made, or already contains a file of a run, even if it is no whole run.
    pub fn create(place: &NewRun, stem: &str) -> Result<Self> {
        let path = match place {
            NewRun::At(path) => {
                std::fs::create_dir_all(path).map_err(Error::io(path))?;
                path.clone()
            }
            NewRun::NumberedIn(runs) => next_free(runs, stem)?,
        };
        let run = Self { path };
        run.check_new()?;
        Ok(run)
    }

    /// Checks that the directory has no file of a run.
    fn check_new(&self) -> Result<()> {
        let has = |name: &&&str| self.file(name).symlink_metadata().is_ok();
        let Some(found) = Self::ALL.iter().find(has) else { return Ok(()) };
        let expected = match *found {
            Self::CONFIG => "a new directory, or --resume to go on with this run",
            _ => "a new directory: nothing is replaced",
        };
        Err(Error::Config {
            name: "run_dir",
            got: format!("{}, which has {found}", self.path.display()),
            expected: expected.to_owned(),
        })
    }

    /// As [`Self::lock`], of a directory that was just made: that no other program has begun a run in it meanwhile.
    pub(crate) fn lock_new(&self) -> Result<RunLock> {
        let lock = self.lock()?;
        self.check_new()?;
        Ok(lock)
    }

    /// Keeps other programs from writing into the directory until the lock is dropped, however the process ends. A system or a file system that
    /// cannot lock directories does without.
    ///
    /// # Errors
    /// When another program holds the lock.
    pub(crate) fn lock(&self) -> Result<RunLock> {
        let Ok(folder) = File::open(&self.path) else { return Ok(RunLock { _folder: None }) };
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::Data {
                path: self.path.clone(),
                reason: "another program is making this run".to_owned(),
                cure: "wait until it is done, or name another directory".to_owned(),
            }),
            Ok(()) => Ok(RunLock { _folder: Some(folder) }),
            Err(TryLockError::Error(_)) => Ok(RunLock { _folder: None }),
        }
    }

    /// The paths of all files that a run in the directory `path` may have. No command but training may replace them.
    pub fn files_of(path: &Path) -> Vec<PathBuf> {
        let replaceable = |name: &&str| *name == Self::REPORT;
        Self::ALL.iter().filter(|name| !replaceable(name)).map(|name| path.join(name)).collect()
    }

    /// Opens an existing run.
    ///
    /// # Errors
    /// When it has no configuration, as the directories that [`photos`](crate::photos) makes, or the configuration cannot be looked at.
    pub fn open(path: &Path) -> Result<Self> {
        let path = &dhih_manual::through_latest(path);
        let config = path.join(Self::CONFIG);
        match config.metadata() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(Error::io(&config)(error));
            }
            _ if path.symlink_metadata().is_err() => {
                let reason = "it is not there".to_owned();
                return Err(Error::Run { path: path.to_owned(), reason });
            }
            _ => {}
        }
        if !config.is_file() && path.join(Self::PHOTOS).is_file() {
            let reason = "it is of `dhih-train photos`, and has neither settings nor an evaluation";
            let cure =
                "use its model, its codes or its index; in Python: Encoder, read_codes or Index";
            let (reason, cure) = (reason.to_owned(), cure.to_owned());
            return Err(Error::Data { path: path.to_owned(), reason, cure });
        }
        if !config.is_file() {
            let reason = format!("it has no {}", Self::CONFIG);
            return Err(Error::Run { path: path.to_owned(), reason });
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of the training state. Its folder is made.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn checkpoint(&self) -> Result<PathBuf> {
        self.in_checkpoint(STATE)
    }

    /// The path of the best epoch's weights. Their folder is made.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn best(&self) -> Result<PathBuf> {
        self.in_checkpoint("checkpoint/best.safetensors")
    }

    fn in_checkpoint(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path.join("checkpoint");
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(self.path.join(name))
    }

    /// Writes a file that appears under its name only when it is complete.
    ///
    /// # Errors
    /// When it cannot be written. An older file is then still there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        files::write(&self.file(name), bytes)
    }

    /// As [`Self::write`], as indented JSON.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut text =
            serde_json::to_vec_pretty(value).map_err(|error| self.wrong(name, &error))?;
        text.push(b'\n');
        self.write(name, &text)
    }

    /// Reads a JSON file.
    ///
    /// # Errors
    /// When it is absent or damaged.
    pub fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.file(name);
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        serde_json::from_slice(&bytes).map_err(|error| self.wrong(name, &error))
    }

    /// One line of JSON for each value.
    ///
    /// # Errors
    /// When a value has no JSON form.
    pub fn to_json_lines<T: Serialize>(&self, values: &[T]) -> Result<String> {
        let mut text = String::new();
        for value in values {
            let line = serde_json::to_string(value);
            text += &line.map_err(|error| self.wrong(Self::METRICS, &error))?;
            text.push('\n');
        }
        Ok(text)
    }

    /// Reads the log, one record for each epoch.
    ///
    /// # Errors
    /// When it is absent or damaged.
    pub fn read_metrics(&self) -> Result<Vec<EpochRecord>> {
        let path = self.file(Self::METRICS);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let parse = |line| serde_json::from_str(line).map_err(|e| self.wrong(Self::METRICS, &e));
        text.lines().map(parse).collect()
    }

    /// Writes the real values of the queries' codes, `[n, bits]`.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_query_values(&self, values: Vec<f32>, bits: usize) -> Result<()> {
        files::write_values(&self.file(Self::QUERY_VALUES), values, bits)
    }

    /// Reads what [`Self::write_query_values`] wrote, row-major.
    ///
    /// # Errors
    /// When it is absent or damaged.
    pub fn read_query_values(&self) -> Result<Vec<f32>> {
        let (contents, _) = checkpoint::read(&self.file(Self::QUERY_VALUES))?;
        let missing = || self.wrong(Self::QUERY_VALUES, &"it has no tensor `values`");
        let values = contents.tensors.get("values").ok_or_else(missing)?;
        Ok(values.flatten_all()?.to_vec1()?)
    }

    /// Writes `config.toml`.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_config(&self, config: &RunConfig) -> Result<()> {
        let text = toml::to_string(config).map_err(|error| self.wrong(Self::CONFIG, &error))?;
        self.write(Self::CONFIG, text.as_bytes())
    }

    /// Reads `config.toml`.
    ///
    /// # Errors
    /// When it is absent, damaged, or of another version.
    pub fn read_config(&self) -> Result<RunConfig> {
        let path = self.file(Self::CONFIG);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let wrong = |error: toml::de::Error| self.wrong(Self::CONFIG, &error);
        let table: toml::Table = text.parse().map_err(wrong)?;
        // Another version may have other settings, so its number is checked first.
        match table.get("version").and_then(toml::Value::as_integer) {
            Some(found) if found != i64::from(Self::VERSION) => {
                Err(Error::RunVersion { path, found, supported: Self::VERSION })
            }
            _ => table.try_into().map_err(wrong),
        }
    }

    fn wrong(&self, name: &str, error: &dyn std::fmt::Display) -> Error {
        Error::Run { path: self.file(name), reason: error.to_string() }
    }
}

/// Makes `runs/STEM-NNN` with the lowest free number.
fn next_free(runs: &Path, stem: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(runs).map_err(Error::io(runs))?;
    let mut number = 1;
    loop {
        let path = runs.join(format!("{stem}-{number:03}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(Error::io(&path)(error)),
        }
    }
}
