//! What the connection tells of every request that comes over it.

use std::net::SocketAddr;

/// The connection of a request, in the request's extensions. Where a router is called without a server there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    /// The other end. Behind a proxy it is the proxy.
    pub(crate) peer: SocketAddr,
    /// Whether it is encrypted by this service.
    pub(crate) tls: bool,
}
