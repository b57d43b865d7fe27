//! The HTTP client that sends spans to a collector. It logs once that the collector cannot be reached, and once that it is there again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Uri, header};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use crate::operation::connect::{Peer, connect};

/// The time limits of connecting, with the TLS handshake, and from the request to the end of its answer.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const LONGEST: usize = 1 << 20;

/// Sends requests by an async runtime. The thread of the SDK that waits for the answers has none.
#[derive(Clone)]
pub(super) struct Client {
    runtime: Handle,
    tls: Option<Arc<ClientConfig>>,
    is_lost: Arc<AtomicBool>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts these certificates for URLs of https.
    pub(super) fn new(runtime: Handle, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { runtime, tls, is_lost: Arc::default() }
    }

    /// Checks that the client could send to a URL.
    ///
    /// # Errors
    /// When the text is no URL of http or https, or nobody's certificates are trusted for https.
    pub(super) fn check(&self, url: &str) -> Result<(), String> {
        let uri: Uri = url.parse().map_err(|_| no_url(url))?;
        self.peer(&uri).map(drop)
    }

    fn peer(&self, uri: &Uri) -> Result<Peer, String> {
        let wrong = || no_url(&uri.to_string());
        let (default, tls) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => (443, Some(self.tls.clone().ok_or_else(|| {
                format!("{uri} is encrypted, and nobody's certificates are trusted: give OTEL_EXPORTER_OTLP_CERTIFICATE=FILE")
            })?)),
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Peer { host, port: uri.port_u16().unwrap_or(default), tls })
    }

    /// Sends one request on a connection of its own.
    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, body) = request.into_parts();
        let stream = connect(&self.peer(&head.uri)?, CONNECT).await?;
        let host = head.uri.authority().map_or("", |authority| authority.as_str());
        head.headers.insert(header::HOST, HeaderValue::from_str(host)?);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse()?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let request = Request::from_parts(head, Body::from(body));
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = to_bytes(Body::new(body), LONGEST).await?;
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        let answered = async {
            tokio::select! {
                answer = exchange => answer,
                Err(error) = connection => Err(error.into()),
            }
        };
        timeout(ANSWER, answered).await.unwrap_or_else(|_| {
            let message = format!("it has not answered within {ANSWER:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, message).into())
        })
    }

    fn log(&self, collector: &Uri, failure: Option<String>) {
        match failure {
            Some(error) if !self.is_lost.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%collector, error, "spans cannot be sent; those that are recorded until they can are dropped");
            }
            None if self.is_lost.swap(false, Ordering::Relaxed) => {
                tracing::info!(%collector, "spans are sent again");
            }
            _ => {}
        }
    }
}

fn no_url(text: &str) -> String {
    format!("OTEL_EXPORTER_OTLP_ENDPOINT={text}: give a URL such as http://127.0.0.1:4318")
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let collector = request.uri().clone();
        let answer = self.runtime.spawn(self.clone().send(request)).await;
        let answer = answer.unwrap_or_else(|error| Err(error.into()));
        let failure = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.log(&collector, failure);
        answer
    }
}
