//! One batch of an import: reads files, compares them with the catalogue, and decodes them on all cores; then encodes them together, and
//! adds or replaces their items in one change. Memory holds at most one batch, and at most one picture at full size for each core.

use std::sync::Arc;

use dhih_index::to_hex;
use dhih_model::image::PictureReader;
use dhih_model::walk::{Reason, read_picture};
use dhih_model::{Encoded, Encoder};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::import::sidecar::Sidecar;
use crate::import::walk::FoundFile;
use crate::import::{ImportConfig, Imported};
use crate::items::catalogue::{
    Catalogue, Claim, ImportedFile, Record, import_key, legacy_import_key,
};
use crate::items::metadata::Attributes;
use crate::items::thumbnail::thumbnail;
use crate::items::{ChangeError, ItemId, Kept, LocalItems, NewItem};
use crate::run::Run;
use crate::{Error, Result};

/// Imports the files of a folder.
pub(super) struct Importer<'a> {
    run: &'a Run,
    encoder: &'a Encoder,
    items: &'a Arc<LocalItems>,
    catalogue: &'a Catalogue,
    config: &'a ImportConfig,
    input: Input<'a>,
}

/// The input of an import.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// The label of the folder, which is a part of the keys of its files.
    pub(super) root: &'a str,
    pub(super) reader: &'a PictureReader,
    pub(super) sidecar: &'a Sidecar,
}

/// The result of reading a file.
enum Outcome {
    Known,
    Deleted,
    LeftOut(Reason),
    /// A picture to encode.
    Decoded(Box<Decoded>),
}

struct Decoded {
    key: String,
    digest: String,
    id: ItemId,
    /// The pixels in the form that the encoder takes.
    pixels: Vec<u8>,
    thumbnail: Vec<u8>,
    /// The record of format 1 of the catalogue for this path, which may belong to another file.
    legacy: Option<ImportedFile>,
}

impl<'a> Importer<'a> {
    pub(super) fn new(run: &'a Run, config: &'a ImportConfig, input: Input<'a>) -> Result<Self> {
        let items = run.items().map_err(refused)?;
        let catalogue = items.catalogue().ok_or_else(|| refused(ChangeError::ReadOnly))?;
        let encoder = run.encoder().map_err(|e| Error::NotAdded { reason: e.to_string() })?;
        Ok(Self { run, encoder, items, catalogue, config, input })
    }

    /// Imports a part of the folder's files.
    pub(super) fn import(&self, files: &[FoundFile], imported: &mut Imported) -> Result<()> {
        let outcomes: Vec<Outcome> =
            files.par_iter().map(|file| self.read(file)).collect::<Result<_>>()?;
        let mut decoded = Vec::new();
        for (file, outcome) in files.iter().zip(outcomes) {
            match outcome {
                Outcome::Known => imported.known += 1,
                Outcome::Deleted => imported.deleted += 1,
                Outcome::LeftOut(reason) => {
                    imported.leave_out(&self.config.folder, file.path.clone(), reason);
                }
                Outcome::Decoded(picture) => decoded.push((file, *picture)),
            }
        }
        if self.config.strict {
            imported.left_out.refuse_faults().map_err(Error::LeftOut)?;
        }
        if !decoded.is_empty() {
            self.add(decoded, imported)?;
        }
        self.describe(files, imported)
    }

    /// Replaces the metadata of items whose rows in the sidecar differ from what is stored.
    fn describe(&self, files: &[FoundFile], imported: &mut Imported) -> Result<()> {
        let mut outdated = Vec::new();
        for file in files {
            let Some(wanted) = self.input.sidecar.attributes(&file.name) else { continue };
            let known = self.catalogue.imported(&import_key(self.input.root, &file.name))?;
            let Some(id) = known.and_then(|known| known.item) else { continue };
            let Some(record) = self.catalogue.record(id)? else { continue };
            let kept = self.catalogue.attributes(id, &record.code)?.unwrap_or_default();
            let is_same_id = wanted.external_id.is_none() || wanted.external_id == kept.external_id;
            if !is_same_id || wanted.metadata != kept.metadata {
                let Attributes { external_id, metadata, .. } = wanted.clone();
                outdated.push(Kept { id, external_id, metadata });
            }
        }
        imported.described += outdated.len();
        if outdated.is_empty() {
            Ok(())
        } else {
            self.items.keep(outdated).map(drop).map_err(refused)
        }
    }

    /// Reads a file, and decodes it if it is new or has changed.
    fn read(&self, file: &FoundFile) -> Result<Outcome> {
        let bytes = match read_picture(&file.path, self.input.reader.limits()) {
            Ok(bytes) => bytes,
            Err(reason) => return Ok(Outcome::LeftOut(reason)),
        };
        let (key, digest) =
            (import_key(self.input.root, &file.name), to_hex(&Sha256::digest(&bytes)));
        let known = self.catalogue.imported(&key)?;
        let id = match &known {
            Some(ImportedFile { digest: Some(of), item: Some(_), .. }) if *of == digest => {
                return Ok(Outcome::Known);
            }
            Some(ImportedFile { item: None, .. }) if !self.config.restore => {
                return Ok(Outcome::Deleted);
            }
            Some(ImportedFile { item: Some(id), .. }) => ItemId::Replaced(*id),
            _ => ItemId::Next,
        };
        let legacy = match known {
            None => self.catalogue.imported(&legacy_import_key(&file.name))?,
            Some(_) => None,
        };
        let picture = self.input.reader.picture(&bytes, self.encoder.input());
        let made = picture.map_err(Reason::broken);
        let made = made.and_then(|picture| {
            let thumbnail = thumbnail(&picture).map_err(Reason::broken)?;
            Ok((picture.fit(self.encoder.input()), thumbnail))
        });
        Ok(match made {
            Err(reason) => Outcome::LeftOut(reason),
            Ok((pixels, thumbnail)) => {
                Outcome::Decoded(Box::new(Decoded { key, digest, id, pixels, thumbnail, legacy }))
            }
        })
    }

    /// Encodes pictures and adds their items.
    fn add(&self, decoded: Vec<(&FoundFile, Decoded)>, imported: &mut Imported) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| Error::Unusable {
            reason: format!("the network failed: {error}"),
            make: "cargo run --release -p dhih-train".into(),
        };
        let pixels: Vec<u8> =
            decoded.iter().flat_map(|(_, it)| it.pixels.iter().copied()).collect();
        let Encoded { values, features } =
            self.encoder.encode_all(&pixels).map_err(|e| failed(&e))?;
        // Either all pictures have features, or none has. In the latter case `chunks_exact` still needs a positive length.
        let each = self.encoder.features().unwrap_or(1);
        let mut vectors = features.as_deref().unwrap_or_default().chunks_exact(each);
        let (mut new, mut claimed) = (Vec::new(), Vec::new());
        let (mut added, mut changed) = (0, 0);
        for ((file, picture), values) in
            decoded.into_iter().zip(values.chunks(self.run.bits() as usize))
        {
            let code = to_hex(&self.run.pack(values).map_err(|e| failed(&e))?);
            let vector = vectors.next().map(<[f32]>::to_vec);
            let Decoded { key, digest, id, thumbnail, legacy, .. } = picture;
            if let Some(file_before) = legacy
                && self.is_same(&file_before, &code)?
            {
                match file_before.item {
                    Some(_) => imported.known += 1,
                    None if self.config.restore => {}
                    None => imported.deleted += 1,
                }
                claimed.push(Claim {
                    path: file.name.clone(),
                    key: key.clone(),
                    digest: digest.clone(),
                });
                if file_before.item.is_some() || !self.config.restore {
                    continue;
                }
            }
            match id {
                ItemId::Replaced(_) => changed += 1,
                _ => added += 1,
            }
            let record = Record {
                code,
                labels: self.run.labels_of(&file.name),
                source: Some(file.name.clone()),
                import: Some(key),
                vector,
                ..Record::default()
            };
            let attributes = self.input.sidecar.attributes(&file.name).cloned();
            new.push(NewItem { id, record, thumbnail, digest: Some(digest), attributes });
        }
        if !claimed.is_empty() {
            self.items.claim(&claimed).map_err(refused)?;
        }
        if !new.is_empty() {
            self.items.add(new).map_err(refused)?;
        }
        imported.added += added;
        imported.changed += changed;
        Ok(())
    }

    /// Whether a file that format 1 identified only by its path is this one, which is the case if their codes are equal.
    fn is_same(&self, file: &ImportedFile, code: &str) -> Result<bool> {
        let of = match file.item {
            Some(id) => self.catalogue.record(id)?.map(|record| record.code),
            None => file.code.clone(),
        };
        Ok(of.as_deref() == Some(code))
    }
}

/// The error for items that were not added.
pub(super) fn refused(refusal: ChangeError) -> Error {
    match refusal {
        ChangeError::Failed(error)
        | ChangeError::NotWritable(error)
        | ChangeError::OutcomeUnknown(error) => error,
        other => Error::NotAdded { reason: other.to_string() },
    }
}
