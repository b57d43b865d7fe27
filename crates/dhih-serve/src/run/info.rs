//! The content of `/v1/info`.

use crate::api;
use crate::operation::keys::Keys;
use crate::run::Run;
use crate::run::source::Codes;

impl Run {
    /// Describes what is served.
    pub(crate) fn info(&self, service: Service<'_>) -> api::Info {
        let Service { limits, keys, is_reloading, last_reload, replication } = service;
        let facts = self.data.as_ref().map(|data| data.facts.clone()).unwrap_or_default();
        let has_gallery = self.data.as_ref().is_some_and(|data| data.gallery.is_some());
        let local = self.local();
        let index = local.map(|items| items.index().info());
        api::Info {
            version: env!("CARGO_PKG_VERSION"),
            bits: self.bits(),
            items: self.len(),
            samples: self.samples(),
            classes: self.names.all().to_vec(),
            search_by: self.coder.search_by().to_vec(),
            model: self.encoder().ok().map(|encoder| {
                let input = encoder.input();
                let input = [input.height, input.width, input.channels];
                api::Model { sha256: encoder.model_sha256().to_owned(), input }
            }),
            codec: self.coder.codec().ok().map(|codec| api::Codec {
                sha256: codec.sha256().to_owned(),
                method: codec.config().method.name(),
                dims: codec.dims(),
            }),
            index: index.map(|index| api::Index {
                version: index.version,
                distinct: index.distinct,
                substrings: index.substrings.len(),
                bytes: index.bytes,
                vectors: index.vectors.map(|vectors| api::Vectors {
                    number_type: vectors.number_type.to_string(),
                    dims: vectors.dims,
                }),
            }),
            store: self.store(),
            thumbnails: self.catalogue().is_some() || (has_gallery && self.rows_are_known()),
            writable: self.is_writable() && keys.let_somebody_change(),
            write_error: local.and_then(|items| items.last_error()),
            reloading: is_reloading,
            last_reload,
            replication,
            auth: api::Auth { read: keys.guard_reading(), write: keys.guard_changing() },
            labels: self.shape().name(),
            dataset: facts.dataset,
            protocol: facts.protocol,
            map: facts.map,
            verified: facts.verified,
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

/// Facts about the service for `/v1/info`, beside those of the run.
pub(crate) struct Service<'a> {
    pub(crate) limits: api::RequestLimits,
    pub(crate) keys: &'a Keys,
    pub(crate) is_reloading: bool,
    pub(crate) last_reload: Option<api::LastReload>,
    pub(crate) replication: Option<api::Replication>,
}
