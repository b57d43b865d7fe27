//! The service as a child process of the benchmark: started, asked how it is, and stopped whatever happens. What is measured is in
//! `serve.rs`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::step::Step;

/// A service that is stopped whatever happens.
pub(super) struct Service {
    child: Child,
    pub(super) address: String,
    /// From its start until it was ready.
    pub(super) started: Duration,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Service {
    /// Starts it and waits until it is ready.
    pub(super) fn start(step: &Step) -> Result<Self> {
        let started = Instant::now();
        let mut child = step.start()?;
        let stdout = child.stdout.take().context("the service has no stdout")?;
        let mut service = Self { child, address: String::new(), started: Duration::ZERO };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line).with_context(|| {
            format!("the service did not start; see why with `{}`", step.command_line())
        })?;
        let url = said["url"].as_str().context("the service told no URL")?;
        service.address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        service.require_healthy()?;
        service.started = started.elapsed();
        Ok(service)
    }

    /// Mebibytes of memory: `VmRSS` are those in use, `VmHWM` the most there ever were.
    pub(super) fn memory(&self, what: &str) -> Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(number.with_context(|| format!("{path} has no {what}"))? / 1024.0)
    }

    /// Status and body of a GET.
    pub(super) fn get(&self, path: &str) -> Result<(u16, Vec<u8>)> {
        self.ask("GET", path).with_context(|| {
            format!("no answer to GET {path} at {}; what the service wrote is above", self.address)
        })
    }

    /// Status of a POST without a body.
    pub(super) fn post(&self, path: &str) -> Result<u16> {
        let answer = self.ask("POST", path);
        let (status, _) = answer.with_context(|| format!("no answer to POST {path}"))?;
        Ok(status)
    }

    /// The JSON that a request is answered with, which must succeed. The body goes with its media type.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> Result<Value> {
        let (kind, body) = body.unwrap_or(("application/json", ""));
        let (status, answer) = self.exchange(method, path, kind, body.as_bytes())?;
        let answer = serde_json::from_slice(&answer).with_context(|| format!("{path}: no JSON"))?;
        if !(200..300).contains(&status) {
            bail!("{method} {path}: {status} {answer}");
        }
        Ok(answer)
    }

    fn ask(&self, method: &str, path: &str) -> Result<(u16, Vec<u8>)> {
        self.exchange(method, path, "application/json", b"")
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let at = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no header")?;
        let head = String::from_utf8_lossy(&answer[..at]);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.context("no status")?, answer[at + 4..].to_vec()))
    }

    pub(super) fn require_healthy(&self) -> Result<()> {
        match self.get("/readyz")? {
            (200, _) => Ok(()),
            (status, _) => bail!("the service is not ready any more: {status}"),
        }
    }
}
