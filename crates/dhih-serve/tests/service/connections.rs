//! Connections over TCP: slow clients, TLS, disconnects, and the graceful shutdown.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::serving::{Serving, served, soon};
use dhih_serve::{Keys, ServerConfig, Timeouts, Tls, TlsConfig};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer},
};

const KEY: &str = "read-key-0123456789";
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    soon(stream.write_all(request)).await.unwrap();
    let mut answer = Vec::new();
    // Some peers close TLS connections without a close notification.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let header = Duration::from_millis(200);
    let timeouts = Timeouts { header, ..Timeouts::default() };
    let served = served(ServerConfig { timeouts, ..ServerConfig::default() }).await;
    let started = Instant::now();
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(slow.read_to_end(&mut rest)).await;
    assert!(started.elapsed() >= header && !String::from_utf8_lossy(&rest).contains(" 200 "));
    let other = TcpStream::connect(served.address).await.unwrap();
    assert!(exchange(other, HEALTH).await.starts_with("HTTP/1.1 200"));
}

/// An idle connection between two requests is kept for longer than one whose header is late, because a proxy may reuse it. The bug: after
/// an answer that took some time, such as that of a search, an idle connection was never closed.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_kept_and_then_closed() {
    let (header, idle) = (Duration::from_millis(150), Duration::from_millis(800));
    let timeouts = Timeouts { header, idle, ..Timeouts::default() };
    let config = ServerConfig { max_connections: 1, timeouts, ..ServerConfig::default() };
    let served = served(config).await;
    let health = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let search = "POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{\"id\":1}";
    let mut only_place = TcpStream::connect(served.address).await.unwrap();
    for (request, times) in [(health, 1), (health, 2), (search, 1), (search, 2)] {
        // The first request has arrived when the connection is accepted.
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        soon(stream.write_all(request.as_bytes())).await.unwrap();
        drop(std::mem::replace(&mut only_place, stream));
        let mut buffer = vec![0; 1 << 16];
        let mut answered = Instant::now();
        for time in 1..=times {
            let read = soon(only_place.read(&mut buffer)).await.unwrap();
            assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
            answered = Instant::now();
            if time < times {
                tokio::time::sleep(3 * header).await;
                soon(only_place.write_all(request.as_bytes())).await.unwrap();
            }
        }
        assert_eq!(soon(only_place.read(&mut buffer)).await.unwrap(), 0, "it is closed in the end");
        assert!(answered.elapsed() >= idle - Duration::from_millis(50));
    }
}

/// The bug: clients requested megabytes without reading them, kept their places forever, and nobody else could connect.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_lose_their_places() {
    let write = Duration::from_millis(300);
    let timeouts = Timeouts { write, ..Timeouts::default() };
    let config = ServerConfig { max_connections: 2, timeouts, ..ServerConfig::default() };
    let served = served(config).await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        let mut client = socket.connect(served.address).await.unwrap();
        // More than the buffers of the operating system hold.
        let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(400);
        client.write_all(&request).await.unwrap();
        clients.push(client);
    }
    let other = TcpStream::connect(served.address).await.unwrap();
    assert!(exchange(other, HEALTH).await.starts_with("HTTP/1.1 200"));
    drop(clients);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let served = served(ServerConfig { max_connections: 1, ..ServerConfig::default() }).await;
    let first = TcpStream::connect(served.address).await.unwrap();
    // Acceptance cannot be observed directly, so the test waits for an answer.
    let (mut read, mut write) = first.into_split();
    write.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut byte = [0];
    soon(read.read_exact(&mut byte)).await.unwrap();
    let second = TcpStream::connect(served.address).await.unwrap();
    let mut waiting = tokio::spawn(exchange(second, HEALTH));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "the second was answered while the first was open");
    drop((read, write));
    assert!(soon(waiting).await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_an_open_request_end() {
    let served = served(ServerConfig::default()).await;
    let body = b"{\"id\":1}";
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = "POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..4]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(served.address).await.is_err(), "new connections are refused");
    let answer = exchange(stream, &body[4..]).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"hits\""), "{answer}");
    soon(served.ended).await.unwrap();
}

/// The bug: a client that began a TLS handshake and sent nothing more delayed the stop until requests in progress were cut off.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_does_not_wait_for_a_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let config = TlsConfig { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&config.cert, made.cert.pem()).unwrap();
    std::fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();
    let hour = Duration::from_secs(3600);
    let timeouts = Timeouts { header: hour, ..Timeouts::default() };
    let config_of_server = ServerConfig { timeouts, drain: hour, ..ServerConfig::default() };
    let tls = Some(Arc::new(Tls::load(config).unwrap()));
    let served = Serving { config: config_of_server, tls, ..Serving::default() }.begin().await;
    let mut stalled = TcpStream::connect(served.address).await.unwrap();
    stalled.write_all(&[0x16]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.stop.send(()).unwrap();
    soon(served.ended).await.unwrap();
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_serves_the_certificate_that_is_there_now() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let renew = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    };
    let first = renew();
    let config = TlsConfig { cert: cert.clone(), key: key.clone() };
    let tls = Arc::new(Tls::load(config.clone()).unwrap());
    let keys = Keys::new(Some(KEY), None).unwrap();
    let served = Serving { keys, tls: Some(tls.clone()), ..Serving::default() }.begin().await;
    let ask = async |certificate: &CertificateDer<'static>, request: &[u8]| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(served.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.ok()?;
        Some(exchange(stream, request).await)
    };
    let trusts = async |certificate: &CertificateDer<'static>| ask(certificate, HEALTH).await;
    assert!(trusts(&first).await.unwrap().starts_with("HTTP/1.1 200"));
    let second = renew();
    tls.reload().unwrap();
    assert!(trusts(&second).await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(trusts(&first).await.is_none(), "the old certificate is gone");
    // After a renewal the service detects the changed files by itself, and only once.
    assert!(!tls.reload_if_changed().unwrap());
    let third = renew();
    assert!(tls.reload_if_changed().unwrap() && !tls.reload_if_changed().unwrap());
    assert!(trusts(&third).await.is_some() && trusts(&second).await.is_none());
    // An incomplete renewal is not used and not retried until the files change again. The previous certificate stays.
    std::fs::rename(&cert, dir.path().join("kept.pem")).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, other.cert.pem()).unwrap();
    assert!(tls.reload_if_changed().unwrap_err().to_string().contains("key.pem"));
    assert!(!tls.reload_if_changed().unwrap());
    assert!(trusts(&third).await.is_some());
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    assert!(tls.reload_if_changed().unwrap());
    let second = other.cert.der().clone();
    // A damaged file changes nothing; the error names it.
    std::fs::write(&key, "no key").unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("key.pem"));
    assert!(trusts(&second).await.is_some());
    // Over TLS, browsers are told to use only TLS, and the cookie of a session is bound to the host.
    let answer = trusts(&second).await.unwrap();
    assert!(answer.contains("strict-transport-security: max-age=31536000\r\n"), "{answer}");
    let body = format!("{{\"key\":\"{KEY}\"}}");
    let head = "POST /v1/session HTTP/1.1\r\nhost: localhost\r\norigin: https://localhost\r\nconnection: close\r\n";
    let begin = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let answer = ask(&second, begin.as_bytes()).await.unwrap();
    let (_, cookie) = answer.split_once("set-cookie: ").unwrap();
    let cookie = cookie.split("\r\n").next().unwrap();
    assert!(cookie.starts_with("__Host-dhih-session=") && cookie.contains("; Secure"), "{cookie}");
    let with = |cookie: &str| {
        format!(
            "GET /v1/info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n"
        )
    };
    let pair = cookie.split(';').next().unwrap();
    for (pair, status) in [(pair, "200"), (pair.strip_prefix("__Host-").unwrap(), "401")] {
        let answer = ask(&second, with(pair).as_bytes()).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
    // A client without TLS gets no answer.
    let plain = TcpStream::connect(served.address).await.unwrap();
    assert!(!exchange(plain, HEALTH).await.contains("200"));
    std::fs::write(&cert, "").unwrap();
    let error = Tls::load(config).err().unwrap().to_string();
    assert!(error.contains("cert.pem") && error.contains("no certificate"), "{error}");
}
