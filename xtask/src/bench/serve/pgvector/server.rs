//! A PostgreSQL server with pgvector in a temporary folder, and pgbench. If the benchmark runs as root, the server runs as another user,
//! because PostgreSQL refuses to run as root.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::super::text;
use crate::step::Step;
use crate::workspace::Workspace;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);
const USER: &str = "bench";

/// An installation of PostgreSQL with pgvector.
pub(super) struct Postgres {
    bin: PathBuf,
    pub(super) version: String,
    pub(super) extension: String,
}

impl Postgres {
    /// The installation whose programs are in `bin`, or else one of Debian's or of the path. The inner error says why there is none.
    pub(super) fn find(bin: Option<&Path>, workspace: &Workspace) -> Result<Result<Self, String>> {
        let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let debian = debian.map(|entry| entry.path().join("bin"));
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let places: Vec<PathBuf> = match bin {
            Some(bin) => vec![bin.to_owned()],
            None => debian.chain(std::env::split_paths(&paths)).collect(),
        };
        let has = |place: &PathBuf| {
            ["postgres", "initdb", "psql", "pgbench", "pg_config"]
                .iter()
                .all(|name| place.join(name).exists())
        };
        for bin in places.into_iter().filter(has) {
            let config = |word: &str| {
                Step::new("ask", &bin.join("pg_config"), workspace).args([word]).capture()
            };
            let control = Path::new(config("--sharedir")?.trim()).join("extension/vector.control");
            let Ok(control) = fs::read_to_string(control) else { continue };
            let version = control.lines().find_map(|line| line.strip_prefix("default_version = "));
            let extension = format!("pgvector {}", version.unwrap_or("?").trim_matches('\''));
            return Ok(Ok(Self { version: config("--version")?.trim().into(), extension, bin }));
        }
        Ok(Err("there is no PostgreSQL with pgvector, initdb, psql and pgbench (give --postgres DIR, the folder of its programs)".into()))
    }
}

/// A running server.
pub(super) struct Server<'p> {
    postgres: &'p Postgres,
    workspace: Workspace,
    port: String,
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The settings of pgbench.
pub(super) struct PgBench<'a> {
    pub(super) script: &'a str,
    /// Options of the connections.
    pub(super) options: &'a str,
    pub(super) clients: usize,
    pub(super) seconds: u32,
}

/// What pgbench saw.
pub(super) struct Seen {
    pub(super) per_second: f64,
    /// Milliseconds, ascending.
    latencies: Vec<f64>,
}

impl Seen {
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let at = (share * self.latencies.len() as f64) as usize;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(at.min(last)).copied().unwrap_or(f64::NAN)
    }
}

impl<'p> Server<'p> {
    /// Starts a server with the settings that suit a table in memory.
    pub(super) fn start(postgres: &'p Postgres, workspace: &Workspace) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let user = other_user(workspace)?;
        if let Some(user) = user {
            let words = [user, text(folder.path())?];
            Step::new("hand over", Path::new("chown"), workspace).args(words).run()?;
        }
        let data = folder.path().join("data");
        let data = text(&data)?;
        let words = ["-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"];
        as_user(user, &postgres.bin.join("initdb"), workspace).args(words).capture()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let words = ["-D", data, "-p", &port, "-c", "listen_addresses=127.0.0.1"];
        let settings = [
            "unix_socket_directories=",
            "fsync=off",
            "jit=off",
            "shared_buffers=1GB",
            "maintenance_work_mem=2GB",
            "max_wal_size=8GB",
            "log_min_messages=fatal",
        ];
        let settings = settings.iter().flat_map(|setting| ["-c", setting]);
        let step = as_user(user, &postgres.bin.join("postgres"), workspace);
        let child = step.args(words).args(settings).start()?;
        let server = Self { postgres, workspace: workspace.clone(), port, child, folder };
        let started = Instant::now();
        while std::net::TcpStream::connect(format!("127.0.0.1:{}", server.port)).is_err()
            || server.sql("SELECT 1").is_err()
        {
            if started.elapsed() > START {
                bail!(
                    "PostgreSQL does not start; see why with `{}`",
                    postgres.bin.join("postgres").display()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    fn step(&self, name: &'static str, program: &str) -> Step {
        let step = Step::new(name, &self.postgres.bin.join(program), &self.workspace);
        step.args(["-h", "127.0.0.1", "-p", &self.port, "-U", USER])
    }

    /// Runs SQL; what the last statement returns.
    pub(super) fn sql(&self, sql: &str) -> Result<String> {
        self.sql_with("", sql)
    }

    /// As [`sql`](Self::sql), with options of the connection.
    pub(super) fn sql_with(&self, options: &str, sql: &str) -> Result<String> {
        let mut words = vec!["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres"];
        // Each statement is a transaction of its own: VACUUM needs that.
        words.extend(sql.split(';').flat_map(|statement| ["-c", statement]));
        self.step("psql", "psql").env("PGOPTIONS", options).args(words).capture()
    }

    /// Copies lines of values with tabs between them into a table.
    pub(super) fn copy(&self, table: &str, lines: &str) -> Result<()> {
        let file = self.folder.path().join("lines");
        fs::write(&file, lines).with_context(|| format!("cannot write {}", file.display()))?;
        let copied = self.sql(&format!("\\copy {table} FROM '{}'", text(&file)?));
        fs::remove_file(&file)?;
        copied.map(drop)
    }

    /// Runs a script by so many clients, each of which begins again as soon as it has its answer.
    pub(super) fn bench(&self, bench: &PgBench<'_>) -> Result<Seen> {
        let PgBench { script, options, clients, seconds } = bench;
        let dir = tempfile::tempdir_in(self.folder.path())?;
        let (file, log) = (dir.path().join("script.sql"), dir.path().join("log"));
        fs::write(&file, script)?;
        let (clients, seconds) = (clients.to_string(), seconds.to_string());
        let log = format!("--log-prefix={}", text(&log)?);
        let words = ["-n", "-M", "prepared", "-c", &clients, "-j", "1", "-T", &seconds];
        let words = [&words[..], &["-l", &log, "-f", text(&file)?, "postgres"]].concat();
        let said = self.step("pgbench", "pgbench").env("PGOPTIONS", *options).args(words);
        let said = said.capture()?;
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
        let rate = rate.and_then(|rate| rate.parse().ok());
        let mut latencies = Vec::new();
        for entry in fs::read_dir(dir.path())?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("log") {
                // The third column is the time of a transaction in microseconds.
                let lines = fs::read_to_string(entry.path())?;
                let of = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
                latencies.extend(lines.lines().filter_map(of).map(|time| time / 1e3));
            }
        }
        latencies.sort_by(f64::total_cmp);
        let per_second = rate.with_context(|| format!("pgbench printed no rate: {said}"))?;
        Ok(Seen { per_second, latencies })
    }
}

fn as_user(user: Option<&str>, program: &Path, workspace: &Workspace) -> Step {
    match user {
        None => Step::new("postgres", program, workspace),
        Some(user) => Step::new("postgres", Path::new("setpriv"), workspace)
            .args([format!("--reuid={user}")])
            .args(["--clear-groups", "--pdeathsig=KILL", "--"])
            .args([program]),
    }
}

/// The user of the server, if this program runs as root.
fn other_user(workspace: &Workspace) -> Result<Option<&'static str>> {
    let id = Step::new("ask", Path::new("id"), workspace).args(["-u"]).capture()?;
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let has = |name: &str| users.lines().any(|line| line.starts_with(&format!("{name}:")));
    Ok((id.trim() == "0").then(|| if has("postgres") { "postgres" } else { "nobody" }))
}
