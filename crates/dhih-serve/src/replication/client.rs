//! The HTTP client of a follower. Each request has a connection of its own, and every step of it has a timeout, so that a primary that
//! hangs cannot block the follower.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Builder;
use axum::http::{Request, StatusCode, header};
use futures_util::{FutureExt, StreamExt};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::address::PrimaryAddress;
use super::error::FollowError;
use crate::collections::CollectionName;
use crate::operation::connect::{Peer, Stream, connect};

/// The timeout of connecting, with the TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// The timeout from the request to the header of the response.
const ANSWER: Duration = Duration::from_secs(60);
/// The timeout between two pieces of a response. A feed sends a frame several times a second, so a longer silence means that the connection
/// is dead.
const SILENCE: Duration = Duration::from_secs(5);
/// The longest response that is read into memory as a whole, in bytes.
const LONGEST: usize = 16 << 20;

/// A primary: its address, and the key and certificates to connect with.
#[derive(Clone)]
pub(crate) struct Primary {
    pub(super) address: PrimaryAddress,
    /// A key of the role `replicate`. Absent if the primary requires none.
    key: Option<Arc<str>>,
    /// The trusted certificates. Absent if the connection is not encrypted.
    tls: Option<Arc<ClientConfig>>,
}

/// A response whose body is still arriving.
pub(super) struct Answer {
    address: String,
    pub(super) status: StatusCode,
    body: axum::body::BodyDataStream,
    /// The task that drives the connection. Dropping the response aborts it.
    connection: JoinHandle<()>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    code: String,
    message: String,
}

impl Primary {
    /// A client for the primary at `address`. `key` is sent with each request. `tls` is used only if the address is one of https.
    pub(crate) fn new(
        address: PrimaryAddress,
        key: Option<String>,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        let tls = tls.filter(|_| address.is_encrypted());
        Self { address, key: key.map(Arc::from), tls }
    }

    /// A client for a collection of this primary, which must be a service.
    pub(super) fn of_collection(&self, name: &CollectionName) -> Self {
        Self { address: self.address.of_collection(name), ..self.clone() }
    }

    /// Sends a `GET` for `path`, which is relative to the path prefix of the API. If `from` is above 0, asks for the bytes from there on.
    ///
    /// # Errors
    /// When the primary cannot be reached, does not respond in time, or refuses the request.
    pub(super) async fn get(&self, path: &str, from: u64) -> Result<Answer, FollowError> {
        let mut request = Request::get(format!("{}{path}", self.address.api));
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        self.exchange(request, Body::empty()).await
    }

    /// Sends a `POST` with a JSON body for `path`, and reads the JSON that it is answered with.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and when the answer is not the expected JSON.
    pub(super) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, FollowError> {
        let request = Request::post(format!("{}{path}", self.address.api))
            .header(header::CONTENT_TYPE, "application/json");
        let body =
            serde_json::to_vec(body).map_err(|error| FollowError::List(error.to_string()))?;
        self.exchange(request, Body::from(body)).await?.json().await
    }

    async fn exchange(&self, request: Builder, body: Body) -> Result<Answer, FollowError> {
        let peer = Peer {
            host: self.address.bare_host().to_owned(),
            port: self.address.port,
            tls: self.tls.clone(),
        };
        let stream = connect(&peer, CONNECT).await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => self.timeout("taken a connection", CONNECT),
            _ => self.unreachable(error),
        })?;
        let mut request = request.header(header::HOST, self.address.authority());
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(body);
        let request = request.map_err(|error| self.unreachable(io::Error::other(error)))?;
        let answered = timeout(ANSWER, self.answer(stream, request)).await;
        let answer = answered.map_err(|_| self.timeout("answered", ANSWER))??;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(self.refusal(answer).await),
        }
    }

    async fn answer(
        &self,
        stream: Box<dyn Stream>,
        request: Request<Body>,
    ) -> Result<Answer, FollowError> {
        let address = self.address.to_string();
        let broken = |source| FollowError::Broken { address: address.clone(), source };
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the primary ended early");
            }
        });
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body: Incoming = body;
        let body = Body::new(body).into_data_stream();
        Ok(Answer { address, status: head.status, body, connection })
    }

    /// Turns a response that reports a failure into an error with its code and message.
    async fn refusal(&self, answer: Answer) -> FollowError {
        let (address, status) = (self.address.to_string(), answer.status.as_u16());
        let body = answer.whole().await.unwrap_or_default();
        let (code, message) = match serde_json::from_slice::<Refusal>(&body) {
            Ok(Refusal { error }) => (error.code, error.message),
            Err(_) => ("unknown".into(), "the answer is none of this program".into()),
        };
        FollowError::Refused { address, status, code, message }
    }

    fn unreachable(&self, source: io::Error) -> FollowError {
        FollowError::Unreachable { address: self.address.to_string(), source }
    }

    fn timeout(&self, what: &'static str, within: Duration) -> FollowError {
        FollowError::Timeout { address: self.address.to_string(), what, within }
    }
}

impl Answer {
    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks or is silent for too long.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FollowError> {
        match timeout(SILENCE, self.body.next()).await {
            Ok(piece) => self.piece(piece),
            Err(_) => Err(FollowError::Timeout {
                address: self.address.clone(),
                what: "sent anything",
                within: SILENCE,
            }),
        }
    }

    /// The next bytes of the body if they have already arrived. Does not wait.
    ///
    /// # Errors
    /// When the response has ended or the connection breaks.
    pub(super) fn next_if_here(&mut self) -> Result<Option<Bytes>, FollowError> {
        match self.body.next().now_or_never() {
            Some(piece) => self.piece(piece)?.ok_or(FollowError::Ended).map(Some),
            None => Ok(None),
        }
    }

    fn piece(
        &self,
        piece: Option<Result<Bytes, axum::Error>>,
    ) -> Result<Option<Bytes>, FollowError> {
        piece.transpose().map_err(|error| FollowError::Unreachable {
            address: self.address.clone(),
            source: io::Error::other(error),
        })
    }

    /// Reads the whole body into memory.
    ///
    /// # Errors
    /// When the connection breaks or is silent for too long, or the body is longer than the bound.
    async fn whole(mut self) -> Result<Vec<u8>, FollowError> {
        let mut body = Vec::new();
        while let Some(bytes) = self.next().await? {
            body.extend_from_slice(&bytes);
            if body.len() > LONGEST {
                return Err(FollowError::List(format!("it has more than {LONGEST} bytes")));
            }
        }
        Ok(body)
    }

    /// The JSON that the whole body is.
    ///
    /// # Errors
    /// As for [`whole`](Self::whole), and when the body is not the expected JSON.
    pub(super) async fn json<A: DeserializeOwned>(self) -> Result<A, FollowError> {
        let body = self.whole().await?;
        serde_json::from_slice(&body).map_err(|error| FollowError::List(error.to_string()))
    }
}
