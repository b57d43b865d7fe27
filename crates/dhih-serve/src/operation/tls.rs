//! TLS: certificate and key from files, read again when they change, or when the program is told to.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::file_identity::FileState;
use crate::{Error, Result};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

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
    /// The files when they were last read, whether they could be used or not.
    seen: Mutex<Files>,
}

/// What tells that one of the two files was changed or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Files([Option<FileState>; 2]);

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
        let seen = Mutex::new(Files::of(&config));
        let acceptor = ArcSwap::from_pointee(acceptor(&config)?);
        Ok(Self { config, acceptor, seen })
    }

    /// Reads them again. Connections that are open keep theirs; on failure the old ones stay in use.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn reload(&self) -> Result<()> {
        // Looked at first: a change while they are read is seen the next time.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Files::of(&self.config);
        self.acceptor.store(Arc::new(acceptor(&self.config)?));
        Ok(())
    }

    /// Reads them again if they have changed; whether they have.
    ///
    /// # Errors
    /// As for [`load`](Self::load). The same files are not tried twice.
    pub fn reload_if_changed(&self) -> Result<bool> {
        let changed =
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != Files::of(&self.config);
        if changed {
            self.reload()?;
        }
        Ok(changed)
    }

    /// Looks at the files every half minute, for as long as the program runs, and reads them again when they have changed.
    pub async fn watch(self: Arc<Self>) {
        self.watch_every(LOOK_EVERY).await;
    }

    async fn watch_every(self: Arc<Self>, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            let tls = self.clone();
            // Disks may be slow.
            match tokio::task::spawn_blocking(move || tls.reload_if_changed()).await {
                Ok(Ok(true)) => tracing::info!("the certificate was read again"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "the certificate was not read again, so that the old one stays in use");
                }
                Err(error) => tracing::error!(%error, "the certificate was not looked at"),
            }
        }
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        (**self.acceptor.load()).clone()
    }
}

impl Files {
    fn of(config: &TlsConfig) -> Self {
        Self([&config.cert, &config.key].map(|path| FileState::of(path)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_renewed_certificate_is_used_without_a_word() {
        let dir = tempfile::tempdir().unwrap();
        let config = TlsConfig { cert: dir.path().join("cert"), key: dir.path().join("key") };
        let renew = || {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            std::fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();
            std::fs::write(&config.cert, made.cert.pem()).unwrap();
        };
        renew();
        let tls = Arc::new(Tls::load(config.clone()).unwrap());
        let first = tls.acceptor.load_full();
        let watching = tokio::spawn(tls.clone().watch_every(Duration::from_millis(5)));
        std::fs::remove_file(&config.cert).unwrap();
        renew();
        let started = std::time::Instant::now();
        while Arc::ptr_eq(&first, &tls.acceptor.load_full()) {
            assert!(started.elapsed() < Duration::from_secs(60), "it was not read again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        watching.abort();
    }
}
