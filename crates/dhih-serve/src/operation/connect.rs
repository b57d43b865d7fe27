//! Connections that this program opens as a client, encrypted or not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// The other end of a connection.
#[derive(Clone)]
pub(crate) struct Peer {
    /// A host name or an IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The trusted certificates. Absent if the connection is not encrypted.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// An open connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Opens a connection within a time limit.
///
/// # Errors
/// When there is none: of the kind [`io::ErrorKind::TimedOut`] if the limit has passed.
pub(crate) async fn connect(peer: &Peer, within: Duration) -> io::Result<Box<dyn Stream>> {
    let Peer { host, port, tls } = peer;
    let connected = async {
        let stream = TcpStream::connect((&**host, *port)).await?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return Ok(Box::new(stream) as Box<dyn Stream>) };
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    };
    timeout(within, connected).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
