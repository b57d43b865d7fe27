//! `traceparent`: the trace of a request is in the answer and in the log of the program.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use crate::common::{Fixture, get, program, send};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn value() -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-01")
}

fn with_trace(path: &str, value: &str) -> Request<Body> {
    let mut request = get(path);
    request.headers_mut().append("traceparent", value.parse().unwrap());
    request
}

#[tokio::test]
async fn a_trace_comes_back_with_every_answer() {
    let app = Fixture::new().app();
    for path in ["/v1/info", "/healthz", "/nothing", "/v1/items/9999", "/"] {
        assert_eq!(send(&app, with_trace(path, &value())).await.header("traceparent"), value());
    }
    for wrong in ["", "00-1-2-3", &value().to_uppercase(), &format!("ff{}", &value()[2..])] {
        let answer = send(&app, with_trace("/v1/info", wrong)).await;
        assert_eq!((answer.status.as_u16(), answer.headers.get("traceparent")), (200, None));
    }
    assert_eq!(send(&app, get("/v1/info")).await.headers.get("traceparent"), None);
}

#[cfg(unix)]
#[test]
fn the_log_has_the_trace() {
    use std::io::{BufRead, BufReader};
    let fixture = Fixture::new();
    let mut child = program()
        .arg("--run")
        .arg(fixture.run())
        .args(["--bind", "127.0.0.1:0", "--log-format", "json"])
        .args(["--path-prefix", "/dhih", "--cors-origin", "https://app.example"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let address = url.trim().strip_prefix("http://").unwrap().strip_suffix("/dhih/").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "GET /dhih/v1/items/3 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntraceparent: {}\r\n\
         origin: https://app.example\r\n\r\n",
        value()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"/dhih/v1/items/3/image?v="), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://app.example"), "{answer}");
    let stopped = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let requests: Vec<Value> = lines.filter(|line| line["message"] == "request").collect();
    assert_eq!(requests.len(), 1, "{log}");
    assert_eq!(
        (&requests[0]["trace_id"], &requests[0]["path"]),
        (&TRACE.into(), &"/v1/items/3".into())
    );
}
