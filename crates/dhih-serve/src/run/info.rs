//! What `/v1/info` tells of a run.

use crate::api;
use crate::operation::keys::Keys;
use crate::run::Run;
use crate::run::source::Codes;

impl Run {
    /// What is served.
    pub(crate) fn info(&self, service: Service<'_>) -> api::Info {
        let Service { limits, keys, is_reloading, last_reload } = service;
        let input = self.encoder.input();
        let local = self.local();
        let index = local.map(|items| items.index().info());
        api::Info {
            version: env!("CARGO_PKG_VERSION"),
            bits: self.bits(),
            items: self.len(),
            samples: self.samples(),
            classes: self.encoder.classes().to_vec(),
            model: api::Model {
                sha256: self.encoder.model_sha256().to_owned(),
                input: [input.height, input.width, input.channels],
            },
            index: index.map(|index| api::Index {
                version: index.version,
                distinct: index.distinct,
                substrings: index.substrings.len(),
                bytes: index.bytes,
            }),
            store: self.store(),
            thumbnails: self.is_changeable() || (self.gallery.is_some() && self.rows_are_known()),
            writable: self.is_writable() && keys.let_somebody_change(),
            write_error: local.and_then(|items| items.last_error()),
            reloading: is_reloading,
            last_reload,
            auth: api::Auth { read: keys.guard_reading(), write: keys.guard_changing() },
            labels: self.shape().name(),
            dataset: self.facts.dataset.clone(),
            protocol: self.facts.protocol.clone(),
            map: self.facts.map,
            verified: self.facts.verified,
            limits,
        }
    }

    fn store(&self) -> Option<api::Store> {
        match &self.codes {
            Codes::Local { .. } => None,
            #[cfg(feature = "postgres")]
            Codes::Remote(remote) => Some(remote.store),
        }
    }
}

/// What the service tells of itself beside the run.
pub(crate) struct Service<'a> {
    pub(crate) limits: api::RequestLimits,
    pub(crate) keys: &'a Keys,
    pub(crate) is_reloading: bool,
    pub(crate) last_reload: Option<api::LastReload>,
}
