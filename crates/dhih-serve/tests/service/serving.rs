//! A service on a free port of this machine, for tests of connections.

use std::{future::IntoFuture, net::SocketAddr, sync::Arc, time::Duration};

use dhih_serve::{Keys, Limits, Server, ServerConfig, Tls, app, bind};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::common::{Fixture, state};

/// How the service is configured.
#[derive(Default)]
pub struct Serving {
    pub config: ServerConfig,
    pub limits: Limits,
    pub keys: Keys,
    pub tls: Option<Arc<Tls>>,
}

/// A running service.
pub struct Served {
    pub address: SocketAddr,
    pub stop: oneshot::Sender<()>,
    pub ended: JoinHandle<()>,
    _fixture: Fixture,
}

impl Serving {
    pub async fn begin(self) -> Served {
        let Self { config, limits, keys, tls } = self;
        let fixture = Fixture::new();
        let app = app(state(fixture.load().unwrap(), limits, keys));
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stop_at = async { drop(stopped.await) };
        let ended = tokio::spawn(Server { listener, app, config, tls }.run(stop_at));
        Served { address, stop, ended, _fixture: fixture }
    }
}

/// A service without keys and TLS.
pub async fn served(config: ServerConfig) -> Served {
    Serving { config, ..Serving::default() }.begin().await
}

/// The output of `future`. A connection that hangs fails the test instead of blocking it.
pub async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("the connection hangs")
}
