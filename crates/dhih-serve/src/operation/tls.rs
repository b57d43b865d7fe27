//! TLS: certificate and key from files, read again when the program is told to.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{Error, Result};

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The chain, in PEM, the service's own certificate first.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Certificate and key in use.
pub struct Tls {
    config: TlsConfig,
    acceptor: ArcSwap<TlsAcceptor>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn load(config: TlsConfig) -> Result<Self> {
        let acceptor = ArcSwap::from_pointee(acceptor(&config)?);
        Ok(Self { config, acceptor })
    }

    /// Reads them again. Connections that are open keep theirs; on failure the old ones stay in use.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn reload(&self) -> Result<()> {
        self.acceptor.store(Arc::new(acceptor(&self.config)?));
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        (**self.acceptor.load()).clone()
    }
}

fn acceptor(TlsConfig { cert, key }: &TlsConfig) -> Result<TlsAcceptor> {
    let wrong = |path: &PathBuf, reason: &dyn std::fmt::Display| Error::Tls {
        reason: format!("{}: {reason}", path.display()),
    };
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(cert, &error))?;
    if chain.is_empty() {
        return Err(wrong(cert, &"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(cert, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| wrong(key, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
