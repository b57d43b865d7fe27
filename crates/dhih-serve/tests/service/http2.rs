//! HTTP/2, in clear text by prior knowledge and over TLS by ALPN: the limits of clients are those of HTTP/1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode, Version, header};
use dhih_serve::{Limits, ServerConfig, Timeouts, Tls, TlsConfig};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::serving::{Serving, served, soon};

/// A client, and what resolves when its connection ends.
struct Client {
    requests: SendRequest<Body>,
    ended: JoinHandle<()>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), &Self::builder()).await
    }

    async fn over<S>(stream: S, builder: &Builder<TokioExecutor>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) = soon(builder.handshake(TokioIo::new(stream))).await.unwrap();
        let ended = tokio::spawn(async move { drop(connection.await) });
        Self { requests, ended }
    }

    fn builder() -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        builder
    }

    async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        soon(self.requests.send_request(request)).await
    }

    async fn status(&mut self, request: Request<Body>) -> u16 {
        self.send(request).await.unwrap().status().as_u16()
    }
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("http://localhost{path}")).body(Body::empty()).unwrap()
}

fn search(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("http://localhost/v1/search");
    request.header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = soon(to_bytes(Body::new(response.into_body()), usize::MAX)).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_a_connection() {
    let served = served(ServerConfig { max_connections: 1, ..ServerConfig::default() }).await;
    let client = Client::connect(served.address).await;
    let mut answers = Vec::new();
    for id in 0..300_u64 {
        let mut requests = client.requests.clone();
        answers.push(tokio::spawn(async move {
            let id = id % 60;
            let answer = requests.send_request(search(format!("{{\"id\":{id}}}"))).await.unwrap();
            assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
            let answer: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
            assert_eq!(answer["hits"][0]["distance"], 0, "{answer}");
        }));
    }
    for answer in answers {
        soon(answer).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_requests_are_those_of_http_1() {
    let limits = Limits { max_body_bytes: 1000, ..Limits::default() };
    let served = Serving { limits, ..Serving::default() }.begin().await;
    let mut client = Client::connect(served.address).await;
    // The name of the service is in `:authority`, where HTTP/1 has `Host`.
    let elsewhere = Request::get("http://evil.example/v1/info").body(Body::empty()).unwrap();
    assert_eq!(client.status(elsewhere).await, 421);
    let mut cross_site = search("{\"id\":1}");
    *cross_site.uri_mut() = "http://localhost/v1/admin/reload".parse().unwrap();
    cross_site.headers_mut().insert(header::ORIGIN, "http://evil.example".parse().unwrap());
    assert_eq!(client.status(cross_site).await, 403);
    assert_eq!(client.status(search(vec![b' '; 2000])).await, 413);
    let mut large = get("/healthz");
    large.headers_mut().insert("x-large", "x".repeat(20_000).parse().unwrap());
    assert_eq!(client.status(large).await, 431);
    assert_eq!(client.status(get("/v1/info")).await, 200, "the connection goes on");
}

/// Pings prolong nothing: the bug would be that any frame begins the time of a header, or keeps an idle connection forever.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_kept_and_then_closed_whatever_it_pings() {
    let (header, idle) = (Duration::from_millis(300), Duration::from_millis(1500));
    let timeouts = Timeouts { header, idle, ..Timeouts::default() };
    let served = served(ServerConfig { timeouts, ..ServerConfig::default() }).await;
    for request in [get("/healthz"), search("{\"id\":1}")] {
        let mut builder = Client::builder();
        builder.keep_alive_interval(Duration::from_millis(40)).keep_alive_while_idle(true);
        let stream = TcpStream::connect(served.address).await.unwrap();
        let mut client = Client::over(stream, &builder).await;
        text(client.send(request).await.unwrap()).await;
        let answered = Instant::now();
        soon(&mut client.ended).await.unwrap();
        assert!(
            answered.elapsed() >= idle - Duration::from_millis(100),
            "{:?}",
            answered.elapsed()
        );
    }
    // A client that begins no request is not waited for.
    let started = Instant::now();
    let silent = Client::connect(served.address).await;
    soon(silent.ended).await.unwrap();
    assert!(started.elapsed() < idle);
}

/// A client can withhold the window of a stream, and the connection goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_is_given_up_and_the_connection_goes_on() {
    let timeouts = Timeouts { write: Duration::from_millis(300), ..Timeouts::default() };
    let served = served(ServerConfig { timeouts, ..ServerConfig::default() }).await;
    let mut builder = Client::builder();
    builder.initial_stream_window_size(1000);
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut client = Client::over(stream, &builder).await;
    let read = text(client.send(get("/openapi.json")).await.unwrap()).await;
    assert!(read.len() > 50_000, "it is longer than what a stream takes at a time");
    let unread = client.send(get("/openapi.json")).await.unwrap();
    assert_eq!(unread.status(), 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.status(get("/healthz")).await, 200);
    let body = to_bytes(Body::new(unread.into_body()), usize::MAX);
    assert!(soon(body).await.is_err(), "the rest of it is gone");
    assert_eq!(text(client.send(get("/openapi.json")).await.unwrap()).await, read);
}

/// The bug: an answer of one piece counted as read as soon as the client had room for its first byte, and its rest stayed in memory without
/// a time limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_answer_that_is_not_read_is_given_up_too() {
    let timeouts = Timeouts { write: Duration::from_millis(300), ..Timeouts::default() };
    let served = served(ServerConfig { timeouts, ..ServerConfig::default() }).await;
    let mut builder = Client::builder();
    builder.initial_stream_window_size(100);
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut client = Client::over(stream, &builder).await;
    // The length of an export is not known beforehand.
    for path in ["/v1/info", "/v1/items/export?format=ndjson"] {
        let read = text(client.send(get(path)).await.unwrap()).await;
        assert!((200..16_000).contains(&read.len()), "{read}");
        let unread = client.send(get(path)).await.unwrap();
        assert_eq!(unread.status(), 200);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let body = to_bytes(Body::new(unread.into_body()), usize::MAX);
        assert!(soon(body).await.is_err(), "the rest of it is gone");
        assert_eq!(text(client.send(get(path)).await.unwrap()).await, read);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_an_open_request_end() {
    let served = served(ServerConfig::default()).await;
    let mut client = Client::connect(served.address).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<&'static str>(1);
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), receiver))
    });
    let mut requests = client.requests.clone();
    let answer = requests.send_request(search(Body::from_stream(pieces)));
    let answer = tokio::spawn(answer);
    sender.send("{\"id\"").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(served.address).await.is_err(), "new connections are refused");
    sender.send(":1}").await.unwrap();
    drop(sender);
    let answer = soon(answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(text(answer).await.contains("\"hits\""));
    soon(served.ended).await.unwrap();
    soon(&mut client.ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_chooses_the_protocol_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let config = TlsConfig { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&config.cert, made.cert.pem()).unwrap();
    std::fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();
    let tls = Arc::new(Tls::load(config).unwrap());
    let served = Serving { tls: Some(tls), ..Serving::default() }.begin().await;
    let connect = async |protocols: &[&str]| {
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(served.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        soon(connector.connect("localhost".try_into().unwrap(), stream)).await
    };
    for (offered, chosen) in
        [(&["http/1.1", "h2"][..], &b"h2"[..]), (&["h2"], b"h2"), (&["http/1.1"], b"http/1.1")]
    {
        let stream = connect(offered).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(chosen), "{offered:?}");
    }
    assert!(connect(&["spdy/3"]).await.is_err());
    let mut client = Client::over(connect(&["h2"]).await.unwrap(), &Client::builder()).await;
    let answer = client.send(get("/v1/info")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key(header::STRICT_TRANSPORT_SECURITY));
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Rapid reset: a client that begins requests and gives them up at once costs the service more than itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_ends_the_connection() {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    let served = served(ServerConfig { max_connections: 1, ..ServerConfig::default() }).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    // GET http://localhost/ in the words of HPACK's static table.
    let head = [&[0x82, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat();
    for stream in (1..20_000).step_by(2) {
        bytes.extend(frame(HEADERS, 0x5, stream, &head));
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let (mut read, mut write) = TcpStream::connect(served.address).await.unwrap().into_split();
    let flood = tokio::spawn(async move { drop(write.write_all(&bytes).await) });
    let mut answer = Vec::new();
    let _ = soon(read.read_to_end(&mut answer)).await;
    drop((soon(flood).await, read));
    let mut frames = &answer[..];
    let mut goaway = None;
    while let [a, b, c, kind, rest @ ..] = frames {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((payload, after)) = rest.get(5..).and_then(|it| it.split_at_checked(length))
        else {
            break;
        };
        if *kind == GOAWAY {
            goaway = payload.get(4..8).map(<[u8]>::to_vec);
        }
        frames = after;
    }
    assert_eq!(goaway.as_deref(), Some(&[0, 0, 0, 0xb][..]), "ENHANCE_YOUR_CALM");
    let mut other = Client::connect(served.address).await;
    assert_eq!(other.status(get("/healthz")).await, 200, "the place is free again");
}
