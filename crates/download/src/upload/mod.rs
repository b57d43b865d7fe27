//! Puts local files into a model repository of the hub, as one commit: it makes the repository if there is none, sends large files
//! to where the hub wants them, and commits last. Until the commit the repository shows nothing of it.
//!
//! The hub's library sends large files by its own storage protocol alone, and puts them whole into the commit where a hub does not
//! have it. Here they take Git LFS's `basic` transfer, which every hub has.

mod file;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hf_hub::HFClient;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{BROKEN, Error, Result};
use crate::transfer::{Stall, run};

pub use file::{Content, UploadFile};
use file::{Described, body, bytes, describe};

/// What Git LFS calls its JSON.
const LFS_JSON: &str = "application/vnd.git-lfs+json";

/// Files for a model repository.
#[derive(Debug, Clone)]
pub struct Upload {
    /// `OWNER/NAME`.
    pub repo: String,
    /// Whether nobody else may see the repository. A public one of that name is then refused.
    pub private: bool,
    /// The message of the commit.
    pub summary: String,
    /// What allows the upload, see [`token()`].
    pub token: String,
    /// The files.
    pub files: Vec<UploadFile>,
}

/// What the hub answers to a commit.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// The address of the commit.
    pub commit_url: String,
    /// Its id.
    pub commit_oid: String,
}

/// The token that the hub's own programs would use: `HF_TOKEN`, else the file that `HF_TOKEN_PATH` names, else `token` in `HF_HOME`,
/// by default `~/.cache/huggingface`.
pub fn token() -> Option<String> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(token) = given("HF_TOKEN") {
        return token.into_string().ok().map(|token| token.trim().to_owned());
    }
    let cache = || {
        let home = || Some(PathBuf::from(given("HOME").or_else(|| given("USERPROFILE"))?));
        let cache = given("XDG_CACHE_HOME").map(PathBuf::from);
        Some(cache.or_else(|| Some(home()?.join(".cache")))?.join("huggingface"))
    };
    let in_home = || Some(given("HF_HOME").map(PathBuf::from).or_else(cache)?.join("token"));
    let path = given("HF_TOKEN_PATH").map(PathBuf::from).or_else(in_home)?;
    let token = std::fs::read_to_string(path).ok()?.trim().to_owned();
    (!token.is_empty()).then_some(token)
}

/// Makes the repository where there is none, and commits the files to its branch `main`. The hub is that of `HF_ENDPOINT`. It gives up
/// when nothing moves for `stall`.
///
/// # Errors
/// A file cannot be read; the hub cannot be reached, refuses, breaks off, stalls, or answers what is no answer; or the
/// repository is public and must not be. The files are then not in the repository, except with [`Error::Unconfirmed`], which cannot
/// tell.
pub fn upload(upload: &Upload, stall: Duration) -> Result<Committed> {
    let library = HFClient::builder().cache_enabled(false).build();
    let library = library.map_err(Error::transfer("cannot set up the hub client"))?;
    let endpoint = library.endpoint().trim_end_matches('/').to_owned();
    let hub = Hub { client: Client::new(), endpoint, upload, stall: Stall(stall) };
    run(hub.publish())
}

#[derive(Deserialize)]
struct Modes {
    files: Vec<Mode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mode {
    path: String,
    upload_mode: String,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

/// A large file as the hub wants it.
#[derive(Deserialize)]
struct Object {
    oid: String,
    /// Absent where the hub has the file.
    #[serde(default)]
    actions: BTreeMap<String, Action>,
    error: Option<ObjectError>,
}

#[derive(Deserialize)]
struct ObjectError {
    code: u16,
    message: String,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

struct Hub<'a> {
    client: Client,
    endpoint: String,
    upload: &'a Upload,
    stall: Stall,
}

impl Hub<'_> {
    async fn publish(&self) -> Result<Committed> {
        let files = self.upload.files.iter().map(describe).collect::<Result<Vec<_>>>()?;
        self.make_repository().await?;
        let modes = self.modes(&files).await?;
        let is_large = |file: &&Described<'_>| {
            file.size > 0 && modes.get(&file.file.path).is_some_and(|mode| mode == "lfs")
        };
        let large: Vec<&Described<'_>> = files.iter().filter(is_large).collect();
        if !large.is_empty() {
            self.send_large(&large).await?;
        }
        self.commit(&files, is_large).await
    }

    async fn make_repository(&self) -> Result<()> {
        const WHAT: &str = "to make the repository";
        let Upload { repo, private, .. } = self.upload;
        let (owner, name) = repo.split_once('/').unwrap_or(("", repo));
        let body =
            json!({ "type": "model", "organization": owner, "name": name, "private": private });
        let request = self.client.post(format!("{}/api/repos/create", self.endpoint));
        let response = self.send(self.with_json(request, &body)).await?;
        if response.status() != StatusCode::CONFLICT {
            return self.accepted(response, WHAT).await.map(drop);
        }
        // It is there. Whether it is private was decided when it was made.
        if *private {
            let request = self.client.get(self.api("")).header(AUTHORIZATION, self.bearer());
            let response = self.send(request).await?;
            let facts: Value = self.json(response, "what the repository is").await?;
            if facts["private"] != Value::Bool(true) {
                return Err(Error::Public);
            }
        }
        Ok(())
    }

    /// How each file is sent: `regular` in the commit, or `lfs`.
    async fn modes(&self, files: &[Described<'_>]) -> Result<BTreeMap<String, String>> {
        let told = |file: &Described<'_>| {
            let sample = STANDARD.encode(&file.sample);
            json!({ "path": file.file.path, "size": file.size, "sample": sample })
        };
        let body = json!({ "files": files.iter().map(told).collect::<Vec<_>>() });
        let request = self.client.post(self.api("/preupload/main"));
        let response = self.send(self.with_json(request, &body)).await?;
        let modes: Modes = self.json(response, "to take files").await?;
        Ok(modes.files.into_iter().map(|mode| (mode.path, mode.upload_mode)).collect())
    }

    async fn send_large(&self, files: &[&Described<'_>]) -> Result<()> {
        const WHAT: &str = "to take large files";
        let told = |file: &&Described<'_>| json!({ "oid": file.sha256, "size": file.size });
        let body = json!({
            "operation": "upload",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "ref": { "name": "main" },
            "objects": files.iter().map(told).collect::<Vec<_>>(),
        });
        let url = format!("{}/{}.git/info/lfs/objects/batch", self.endpoint, self.upload.repo);
        let request = self.client.post(url).header(AUTHORIZATION, self.bearer());
        let request = request.header(ACCEPT, LFS_JSON).header(CONTENT_TYPE, LFS_JSON);
        let batch: Batch =
            self.json(self.send(request.body(body.to_string())).await?, WHAT).await?;
        for file in files {
            let object = batch.objects.iter().find(|object| object.oid == file.sha256);
            let object = object.ok_or_else(|| Error::Answer {
                what: WHAT,
                reason: format!("it does not speak of {}", file.file.path),
            })?;
            if let Some(ObjectError { code, message }) = &object.error {
                let message = format!("{}: {message}", file.file.path);
                return Err(Error::Refused { what: WHAT, status: *code, message });
            }
            if let Some(action) = object.actions.get("upload") {
                self.put(file, action).await?;
            }
            if let Some(action) = object.actions.get("verify") {
                let body = json!({ "oid": file.sha256, "size": file.size });
                let request = self.client.post(&action.href).header(ACCEPT, LFS_JSON);
                let request =
                    request.header(AUTHORIZATION, self.bearer()).header(CONTENT_TYPE, LFS_JSON);
                let response = self.send(request.body(body.to_string())).await?;
                self.accepted(response, "to confirm a large file").await?;
            }
        }
        Ok(())
    }

    /// Sends a file to where the hub wants it. That place gets no token: its address is the permission.
    async fn put(&self, file: &Described<'_>, action: &Action) -> Result<()> {
        if action.header.contains_key("chunk_size") {
            let reason = format!("it wants {} in pieces", file.file.path);
            return Err(Error::Answer { what: "to take large files", reason });
        }
        let sent = Arc::new(AtomicU64::new(0));
        let mut request = self.client.put(&action.href).header(CONTENT_LENGTH, file.size);
        for (name, value) in &action.header {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        let request = request.body(body(file, Arc::clone(&sent))?);
        let progress = || sent.load(Ordering::Relaxed);
        let response = self.stall.guard_while(request.send(), progress).await?;
        let response = response.map_err(Error::transfer(BROKEN))?;
        self.accepted(response, "a large file").await.map(drop)
    }

    async fn commit(
        &self,
        files: &[Described<'_>],
        is_large: impl Fn(&&Described<'_>) -> bool,
    ) -> Result<Committed> {
        let header = json!({ "summary": self.upload.summary, "description": "" });
        let mut lines = format!("{}\n", json!({ "key": "header", "value": header }));
        for file in files {
            let path = &file.file.path;
            let line = if is_large(&file) {
                let value = json!({ "path": path, "algo": "sha256", "oid": file.sha256, "size": file.size });
                json!({ "key": "lfsFile", "value": value })
            } else {
                let content = STANDARD.encode(bytes(&file.file.content)?);
                let value = json!({ "path": path, "encoding": "base64", "content": content });
                json!({ "key": "file", "value": value })
            };
            lines += &format!("{line}\n");
        }
        let request = self.client.post(self.api("/commit/main"));
        let request = request.header(AUTHORIZATION, self.bearer());
        let request = request.header(CONTENT_TYPE, "application/x-ndjson").body(lines);
        let answer = match self.send(request).await {
            Ok(response) => self.json(response, "the commit").await,
            Err(error) => Err(error),
        };
        // Only a refusal of the hub itself says that nothing was committed. A gateway answers 5xx where the hub behind it has made the commit.
        answer.map_err(|error| match error {
            Error::Refused { status: 400..500, .. } => error,
            error => Error::Unconfirmed { source: Box::new(error) },
        })
    }

    fn api(&self, rest: &str) -> String {
        format!("{}/api/models/{}{rest}", self.endpoint, self.upload.repo)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.upload.token)
    }

    fn with_json(&self, request: RequestBuilder, body: &Value) -> RequestBuilder {
        let request = request.header(AUTHORIZATION, self.bearer());
        request.header(CONTENT_TYPE, "application/json").body(body.to_string())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = self.stall.guard(request.send()).await?;
        response.map_err(Error::transfer("the hub cannot be reached"))
    }

    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        response: Response,
        what: &'static str,
    ) -> Result<T> {
        let response = self.accepted(response, what).await?;
        let bytes = self.stall.guard(response.bytes()).await?.map_err(Error::transfer(BROKEN))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Answer { what, reason: error.to_string() })
    }

    /// The answer, where it is no refusal; else what the hub says of it.
    async fn accepted(&self, response: Response, what: &'static str) -> Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let header = response.headers().get("x-error-message");
        let header = header.and_then(|message| message.to_str().ok()).map(str::to_owned);
        // It is a refusal even where its text is cut or never comes.
        let body = self.stall.guard(response.text()).await;
        let body = body.ok().and_then(|body| body.ok()).unwrap_or_default();
        let told = || {
            let body: Value = serde_json::from_str(&body).ok()?;
            Some(body["error"].as_str()?.to_owned())
        };
        let known = || status.canonical_reason().unwrap_or("it says no more").to_owned();
        let message = header.or_else(told).unwrap_or_else(known);
        Err(Error::Refused { what, status: status.as_u16(), message })
    }
}
