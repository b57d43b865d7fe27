//! Facts about the connection of a request.

use std::net::SocketAddr;

/// The connection of a request, in its extensions. Absent if the router is called without a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    /// The address at the other end. Behind a proxy it is that of the proxy.
    pub(crate) peer: SocketAddr,
    /// Whether this service encrypts the connection.
    pub(crate) tls: bool,
}
