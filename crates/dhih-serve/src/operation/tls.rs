//! TLS: reads certificate and key from files, and again when they change or at a reload.

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

/// The interval at which the files are checked for changes.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The protocols that a client may choose from (ALPN), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The paths of certificate and key.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The certificate chain in PEM, the service's own certificate first.
    pub cert: PathBuf,
    /// The private key in PEM.
    pub key: PathBuf,
}

/// The certificate and the key in use.
pub struct Tls {
    config: TlsConfig,
    acceptor: ArcSwap<TlsAcceptor>,
    /// The state of the files when they were last read, whether or not they could be used.
    seen: Mutex<Files>,
}

/// The state of both files, by which a change or replacement is detected.
#[derive(Debug, PartialEq, Eq)]
struct Files([Option<FileState>; 2]);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate and the key.
    ///
    /// # Errors
    /// When a file cannot be used; the message names it.
    pub fn load(config: TlsConfig) -> Result<Self> {
        let seen = Mutex::new(Files::of(&config));
        let acceptor = ArcSwap::from_pointee(acceptor(&config)?);
        Ok(Self { config, acceptor, seen })
    }

    /// Reads the files again. Open connections keep the previous certificate. If this fails, the previous one stays in use.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn reload(&self) -> Result<()> {
        // The state is taken before reading, so that a change during the read is noticed at the next check.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Files::of(&self.config);
        self.acceptor.store(Arc::new(acceptor(&self.config)?));
        Ok(())
    }

    /// Reads the files again if they have changed. Returns whether they have.
    ///
    /// # Errors
    /// As for [`load`](Self::load). Files that failed are not tried again until they change.
    pub fn reload_if_changed(&self) -> Result<bool> {
        let changed =
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != Files::of(&self.config);
        if changed {
            self.reload()?;
        }
        Ok(changed)
    }

    /// Checks the files every 30 seconds as long as the program runs, and reads them again when they have changed.
    pub async fn watch(self: Arc<Self>) {
        self.watch_every(LOOK_EVERY).await;
    }

    async fn watch_every(self: Arc<Self>, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            let tls = self.clone();
            // Reading may block, because disks may be slow.
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
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(cert, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| wrong(key, &error))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
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
