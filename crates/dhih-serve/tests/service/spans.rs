//! Spans of requests (feature `otel`): they reach a collector, and a collector that is down or hangs delays nobody.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::common::{Fixture, png, program};
use crate::uploads::base64;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector: its URL, and the bodies of its requests.
fn collector() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            let mut head = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head += &std::mem::take(&mut line).to_lowercase();
            }
            assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
            assert!(head.contains("content-type: application/x-protobuf"), "{head}");
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            sender.send(body).unwrap();
        }
    });
    (url, bodies)
}

/// A running service.
struct Service {
    child: Child,
    address: String,
    _fixture: Fixture,
}

fn command(fixture: &Fixture, variables: &[(&str, &str)]) -> Command {
    let mut command = program();
    command.arg("--run").arg(fixture.run()).args(["--bind", "127.0.0.1:0"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Service {
    fn start(variables: &[(&str, &str)]) -> Self {
        let fixture = Fixture::new();
        let mut child = command(&fixture, variables).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let address = url.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, address, _fixture: fixture }
    }

    fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Stops it gracefully; its log.
    fn stop(self) -> String {
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(stopped.success());
        let output = self.child.wait_with_output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{log}");
        log
    }
}

/// The fields of a protobuf message, by number: varints as bytes of a `u64`, all else as they are.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| *byte < 128).unwrap();
        let (varint, rest) = bytes.split_at(end + 1);
        *bytes = rest;
        varint.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 127))
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (field, rest) = bytes.split_at(length);
        found.push((key >> 3, field.to_vec()));
        bytes = rest;
    }
    found
}

fn all(message: &[u8], number: u64) -> Vec<Vec<u8>> {
    fields(message).into_iter().filter(|(field, _)| *field == number).map(|(_, it)| it).collect()
}

fn one(message: &[u8], number: u64) -> Vec<u8> {
    all(message, number).pop().unwrap_or_default()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// `name=value` of attributes that are texts or integers.
fn attributes(message: &[u8], number: u64) -> Vec<String> {
    let shown = |pair: &Vec<u8>| {
        let value = one(pair, 2);
        let integer = all(&value, 3).pop();
        let value = match integer {
            Some(bytes) => u64::from_le_bytes(bytes.try_into().unwrap()).to_string(),
            None => text(one(&value, 1)),
        };
        format!("{}={value}", text(one(pair, 1)))
    };
    all(message, number).iter().map(shown).collect()
}

#[derive(Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    attributes: Vec<String>,
    resource: Vec<String>,
}

/// The spans of a request to a collector.
fn spans(request: &[u8]) -> Vec<Span> {
    let mut found = Vec::new();
    for of_resource in all(request, 1) {
        let resource = attributes(&one(&of_resource, 1), 1);
        for span in all(&of_resource, 2).iter().flat_map(|of_scope| all(of_scope, 2)) {
            found.push(Span {
                trace: dhih_index::to_hex(&one(&span, 1)),
                id: dhih_index::to_hex(&one(&span, 2)),
                parent: dhih_index::to_hex(&one(&span, 4)),
                name: text(one(&span, 5)),
                attributes: attributes(&span, 9),
                resource: resource.clone(),
            });
        }
    }
    found
}

#[test]
fn a_request_and_its_steps_are_spans_of_the_callers_trace() {
    let (url, bodies) = collector();
    // The spans are sent when the service stops, not before.
    let service = Service::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests"),
    ]);
    assert!(service.ask("POST /v1/search?radius=3", "{\"id\": 3}").starts_with("HTTP/1.1 200"));
    assert!(service.ask("GET /v1/items/9999", "").starts_with("HTTP/1.1 404"));
    service.stop();
    let spans: Vec<Span> = bodies.try_iter().flat_map(|body| spans(&body)).collect();
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (search, step) = (named("POST /v1/search"), named("search"));
    assert_eq!((&*search.trace, &*search.parent), (TRACE, PARENT));
    assert_eq!((&*step.trace, &step.parent), (TRACE, &search.id));
    assert_eq!(named("GET /v1/items/{id}").parent, PARENT);
    assert_eq!(spans.len(), 3, "{spans:#?}");
    for expected in [
        "http.request.method=POST",
        "http.route=/v1/search",
        "http.response.status_code=200",
        "network.protocol.version=1.1",
        "url.path=/v1/search",
        "url.scheme=http",
        "client.address=127.0.0.1",
    ] {
        assert!(search.attributes.iter().any(|it| it == expected), "{expected}: {search:#?}");
    }
    for expected in ["service.name=dhih-serve", "deployment.environment.name=tests"] {
        assert!(search.resource.iter().any(|it| it == expected), "{expected}: {search:#?}");
    }
}

/// The bug: encoding a picture was a step of a search, and not of an addition.
#[test]
fn an_added_picture_is_encoded_and_added_in_spans() {
    let (url, bodies) = collector();
    let service = Service::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ]);
    let item = format!("{{\"image\": \"{}\"}}", base64(&png(3)));
    assert!(service.ask("POST /v1/items", &item).starts_with("HTTP/1.1 201"));
    service.stop();
    let spans: Vec<Span> = bodies.try_iter().flat_map(|body| spans(&body)).collect();
    let mut names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["POST /v1/items", "change", "encode"]);
}

#[test]
fn the_environment_names_the_service_and_chooses_what_is_sampled() {
    let (url, bodies) = collector();
    let service = Service::start(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{url}/v1/traces")),
        ("OTEL_SERVICE_NAME", "pictures"),
    ]);
    service.ask("GET /v1/info", "");
    service.stop();
    let sent: Vec<Span> = bodies.try_iter().flat_map(|body| spans(&body)).collect();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].resource.contains(&"service.name=pictures".to_owned()), "{sent:#?}");
    for off in [
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        let (url, bodies) = collector();
        let service = Service::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), off]);
        service.ask("GET /v1/info", "");
        service.stop();
        assert_eq!(bodies.try_iter().count(), 0, "{off:?}");
    }
}

#[test]
fn a_collector_that_is_down_or_hangs_delays_nobody() {
    // One that hangs accepts connections by its backlog, and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, is_down) in [(hanging.local_addr().unwrap(), false), (down, true)] {
        let service = Service::start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}")),
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
        ]);
        let started = Instant::now();
        for _ in 0..200 {
            assert!(service.ask("GET /v1/items/3", "").starts_with("HTTP/1.1 200"));
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        let stopping = Instant::now();
        let log = service.stop();
        assert!(stopping.elapsed() < Duration::from_secs(8), "{:?}", stopping.elapsed());
        let lines = log.matches("spans cannot be sent").count();
        assert!(!is_down || lines == 1, "{log}");
    }
}

#[test]
fn what_cannot_be_sent_is_said_at_the_start() {
    let fixture = Fixture::new();
    let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
    for (variables, says) in [
        (&[(endpoint, "http://a:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")][..], "http/protobuf"),
        (&[(endpoint, "https://a:1")], "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        (&[(endpoint, "collector:4317")], "give a URL"),
        (&[("OTEL_TRACES_EXPORTER", "zipkin")], "otlp or none"),
        (
            &[(endpoint, "https://a:1"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such.pem")],
            "/no/such.pem",
        ),
    ] {
        let output = command(&fixture, variables).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(says), "{says}: {message}");
    }
}
