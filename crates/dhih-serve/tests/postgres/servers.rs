//! PostgreSQL servers in a temporary folder. If the test runs as root, the servers run as another user, because PostgreSQL refuses to run
//! as root.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use dhih_serve::postgres::{Cluster, LoadConfig, Loaded, Loader, StoreConfig};
use tempfile::TempDir;

/// The password has characters that must be escaped in connection strings and in SQL.
pub const PASSWORD: &str = "p'a ss\\w@rd";
const ADMIN: &str = "not the same";
const START: Duration = Duration::from_secs(30);

/// A server.
pub struct Server {
    process: Child,
    pub port: u16,
    data: PathBuf,
    options: Vec<String>,
}

/// Two shards, a standby of each, and a coordinator that knows them.
pub struct Servers {
    pub coordinator: Server,
    pub primaries: Vec<Server>,
    pub standbys: Vec<Server>,
    // Fields are dropped in order. The folder comes last, because the files of the servers are in it.
    folder: TempDir,
}

/// The numbers of servers.
#[derive(Clone, Copy)]
pub struct Size {
    pub shards: usize,
    pub standbys: usize,
    /// Settings of all servers.
    pub settings: &'static [&'static str],
}

impl Size {
    /// This number of shards, without standbys.
    pub fn shards(shards: usize) -> Self {
        Self { shards, standbys: 0, settings: &[] }
    }
}

impl Servers {
    /// Two shards, each with a standby.
    pub fn start() -> Self {
        Self::of(Size { standbys: 2, ..Size::shards(2) })
    }

    pub fn of(size: Size) -> Self {
        let folder = tempfile::tempdir().unwrap();
        hand_over(folder.path());
        let template = folder.path().join("template");
        init(&template);
        let copy = |name: String| {
            let data = folder.path().join(name);
            run(as_owner("cp").arg("-a").arg(&template).arg(&data));
            Server::start(data, size.settings)
        };
        let coordinator = copy("coordinator".into());
        let primaries: Vec<Server> =
            (0..size.shards).map(|n| copy(format!("primary_{n}"))).collect();
        let standby = |(n, primary): (usize, &Server)| {
            let data = folder.path().join(format!("standby_{n}"));
            let mut backup = as_owner(binary("pg_basebackup"));
            backup.env("PGPASSWORD", PASSWORD).arg("-D").arg(&data);
            backup.args(["-h", "127.0.0.1", "-p", &primary.port.to_string(), "-U", "dhih"]);
            run(backup.args(["-R", "-X", "stream", "-c", "fast", "--no-sync"]));
            Server::start(data, size.settings)
        };
        let standbys = primaries.iter().take(size.standbys).enumerate().map(standby).collect();
        let servers = Self { coordinator, primaries, standbys, folder };
        servers.set_up();
        servers
    }

    /// Sets the servers up as an administrator would by `docs/src/scaling.md`.
    fn set_up(&self) {
        let grants = "CREATE EXTENSION postgres_fdw; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO dhih";
        self.coordinator.sql(grants);
        for (n, primary) in self.primaries.iter().enumerate() {
            let hosts = [Some(primary), self.standbys.get(n)].into_iter().flatten();
            let (hosts, ports): (Vec<&str>, Vec<String>) =
                hosts.map(|server| ("127.0.0.1", server.port.to_string())).unzip();
            self.coordinator.sql_as_owner(&format!(
                "CREATE SERVER dhih_shard_{n} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{}', port '{}', dbname 'dhih');
                 CREATE USER MAPPING FOR CURRENT_USER SERVER dhih_shard_{n} OPTIONS (user 'dhih', password '{}')",
                hosts.join(","),
                ports.join(","),
                PASSWORD.replace('\'', "''"),
            ));
        }
    }

    pub fn url(&self) -> String {
        let port = self.coordinator.port;
        format!("postgres://dhih:p%27a%20ss%5Cw%40rd@127.0.0.1:{port}/dhih")
    }

    pub fn store(&self) -> StoreConfig {
        StoreConfig::new(self.url())
    }

    pub fn loader(&self) -> Loader {
        Loader::new(LoadConfig::new(self.store())).unwrap()
    }

    pub fn load(&self, set: &dhih_index::CodeSet) -> Loaded {
        self.loader().stage(vec![set.clone()]).unwrap().switch().unwrap()
    }

    pub fn open(&self) -> Cluster {
        Cluster::open(&self.store()).unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Server {
    fn start(data: PathBuf, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let mut last = String::new();
        // Another program may have taken the free port meanwhile.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            match Self::start_at(data.clone(), port, options.clone()) {
                Ok(server) => return server,
                Err(log) => last = log,
            }
        }
        panic!("a server does not start: {last}");
    }

    fn start_at(data: PathBuf, port: u16, options: Vec<String>) -> Result<Self, String> {
        let log = data.with_extension("log");
        let file = fs::File::create(&log).unwrap();
        let mut command = as_owner(binary("postgres"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "shared_buffers=32MB",
            "max_connections=60",
            "log_statement=all",
        ] {
            command.args(["-c", setting]);
        }
        for setting in &options {
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let mut server = Self { process: command.spawn().unwrap(), port, data, options };
        let started = Instant::now();
        while started.elapsed() < START {
            if server.process.try_wait().unwrap().is_some() {
                break;
            }
            let mut ready = Command::new(binary("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            if ready.status().unwrap().success() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(fs::read_to_string(log).unwrap_or_default())
    }

    /// Kills the server at once, like a loss of power.
    pub fn kill(&mut self) {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        // Child processes would answer for a moment longer. Those that have already ended are no failure.
        let kill = format!("kill -KILL {children}");
        let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().unwrap();
    }

    /// Restarts the server at the same port with its data.
    pub fn restart(&mut self) {
        self.quit();
        // A process of the killed server may still hold its shared memory.
        let started = Instant::now();
        loop {
            let _ = fs::remove_file(self.data.join("postmaster.pid"));
            match Self::start_at(self.data.clone(), self.port, self.options.clone()) {
                Ok(server) => {
                    *self = server;
                    return;
                }
                Err(log) => assert!(started.elapsed() < START, "{log}"),
            }
        }
    }

    /// Restarts the server with other settings.
    pub fn restart_with(&mut self, options: &[&str]) {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
        self.restart();
    }

    /// Stops or continues the server and all its processes. While it is stopped, existing connections stay open, and only the operating
    /// system accepts new ones.
    pub fn hang(&self, hangs: bool) {
        let signal = if hangs { "STOP" } else { "CONT" };
        let parent = self.process.id().to_string();
        let mut processes = vec![parent.clone()];
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // The format is `pid (name) state parent`, and the name may contain anything.
            let of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            if of == Some(parent.as_str()) {
                processes.push(entry.file_name().into_string().unwrap());
            }
        }
        signal_all(signal, &processes);
    }

    fn quit(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.hang(false);
            signal_all("QUIT", &[self.process.id().to_string()]);
            let started = Instant::now();
            while matches!(self.process.try_wait(), Ok(None)) {
                if started.elapsed() > START {
                    let _ = self.process.kill();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// The result of SQL statements as administrator, one line for each row.
    pub fn sql(&self, text: &str) -> String {
        self.psql("postgres", ADMIN, text)
    }

    /// The result of SQL statements as the role that owns the store.
    pub fn sql_as_owner(&self, text: &str) -> String {
        self.psql("dhih", PASSWORD, text)
    }

    fn psql(&self, user: &str, password: &str, text: &str) -> String {
        let mut psql = Command::new(binary("psql"));
        psql.env("PGPASSWORD", password).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", user, "-d", "dhih", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", text]);
        run(&mut psql)
    }

    /// The complete log of the server.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data.with_extension("log")).unwrap()
    }

    pub fn data(&self) -> &Path {
        &self.data
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.quit();
    }
}

/// Initialises the folder of a new server, with the roles and the database that all servers have.
fn init(data: &Path) {
    let password = data.with_extension("password");
    fs::write(&password, ADMIN).unwrap();
    let mut init = as_owner(binary("initdb"));
    init.arg("-D").arg(data).arg("--pwfile").arg(&password);
    init.args(["-U", "postgres", "--auth=scram-sha-256", "--no-sync", "--locale=C", "-E", "UTF8"]);
    run(&mut init);
    for (database, text) in [
        (
            "postgres",
            format!(
                "CREATE ROLE dhih LOGIN REPLICATION PASSWORD '{}'\n",
                PASSWORD.replace('\'', "''")
            ),
        ),
        ("postgres", "CREATE DATABASE dhih OWNER dhih\n".to_owned()),
    ] {
        let file = data.with_extension("sql");
        fs::write(&file, text).unwrap();
        let mut single = as_owner(binary("postgres"));
        single.args(["--single", "-D"]).arg(data).args(["-c", "fsync=off", database]);
        run(single.stdin(fs::File::open(&file).unwrap()));
    }
}

/// The path of one of PostgreSQL's programs.
fn binary(name: &str) -> PathBuf {
    let folders = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()).unwrap_or_default()
    };
    let newest = folders.map(|entry| entry.path()).max_by_key(version);
    let debian = newest.map(|folder| folder.join("bin").join(name)).filter(|path| path.exists());
    let on_path = || {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).map(|path| path.join(name)).find(|path| path.exists())
    };
    debian.or_else(on_path).unwrap_or_else(|| {
        panic!("{name} is not there: these tests need PostgreSQL 15 or newer (`apt-get install postgresql`)")
    })
}

/// A command that runs as the user of the servers.
fn as_owner(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let Some(owner) = owner() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={owner}")).args(["--clear-groups", "--pdeathsig=QUIT", "--"]);
    // Other users may not have access to the folder that the test runs in.
    command.arg(program).current_dir("/");
    command
}

/// The user of the servers, if it differs from the user that runs the test.
fn owner() -> Option<&'static str> {
    let is_root = run(Command::new("id").arg("-u")).trim() == "0";
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let has = |name: &str| users.lines().any(|line| line.starts_with(&format!("{name}:")));
    is_root.then(|| if has("postgres") { "postgres" } else { "nobody" })
}

/// Gives a folder to the user of the servers.
pub fn hand_over(path: &Path) {
    if let Some(owner) = owner() {
        run(Command::new("chown").arg("-R").arg(owner).arg(path));
    }
}

fn signal_all(signal: &str, processes: &[String]) {
    let command = format!("kill -{signal} {} 2>/dev/null", processes.join(" "));
    // A process may have ended meanwhile.
    let _ = Command::new("sh").args(["-c", &command]).status();
}

/// The output of a command that must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out
}
