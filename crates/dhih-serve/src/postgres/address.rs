//! `Address`: the hosts of a shard or of the coordinator, with the parameters for connecting to each, parsed from a connection string or
//! from the options of a foreign server. `session` makes the connections.

use std::{fmt, net::IpAddr, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs},
};

use super::{Error, tls::Connector};

/// The default time limit for connecting to a host.
const CONNECT: Duration = Duration::from_secs(2);
/// A host that does not react to keepalives for this time is given up, with its connections.
const SILENCE: Duration = Duration::from_secs(3);

/// The accepted forms of connection strings, for error messages.
const FORM: &str = "give postgres://USER@HOST:PORT,HOST:PORT/DATABASE?OPTION=VALUE, or KEY=VALUE pairs, with options of libpq such as \
                    sslmode, connect_timeout, target_session_attrs and application_name";

/// The hosts of one shard, or of the coordinator.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) what: String,
    pub(super) hosts: Vec<Endpoint>,
}

/// One host.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// Host and port, which may appear in messages.
    pub(super) name: String,
    /// The connection parameters, with this host only.
    pub(super) config: Config,
    /// The TLS connector, if the connection is to be encrypted.
    pub(super) tls: Option<Connector>,
}

/// Credentials for connection strings that contain none.
#[derive(Debug, Clone, Default)]
pub(super) struct Credentials {
    pub(super) user: Option<String>,
    pub(super) password: Option<Vec<u8>>,
}

impl Address {
    /// Parses a connection string. `what` names its origin in error messages, which never contain the string itself.
    pub(super) fn parse(
        what: &str,
        text: &str,
        given: &Credentials,
        tls: Option<&Connector>,
    ) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Address { what: what.to_owned(), reason };
        let config: Config = text.parse().map_err(|error| wrong(unreadable(&error)))?;
        if !config.get_hostaddrs().is_empty() {
            return Err(wrong(
                "`hostaddr` is not understood here: give the address as `host`".into(),
            ));
        }
        if config.get_load_balance_hosts() != LoadBalanceHosts::Disable {
            let reason = "`load_balance_hosts` is not understood here: hosts are taken in order";
            return Err(wrong(reason.into()));
        }
        let (hosts, ports) = (config.get_hosts(), config.get_ports());
        if hosts.is_empty() {
            return Err(wrong(format!("it names no host; {FORM}")));
        }
        if ports.len() > 1 && ports.len() != hosts.len() {
            let reason =
                format!("{} hosts and {} ports: give a port for each", hosts.len(), ports.len());
            return Err(wrong(reason));
        }
        if config.get_dbname().is_none() {
            return Err(wrong(format!("it names no database; {FORM}")));
        }
        let endpoint = |(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            Endpoint::new(&config, host, port, given, tls)
        };
        let hosts = hosts.iter().enumerate().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { what: what.to_owned(), hosts })
    }

    /// Parses the options of a foreign server of `postgres_fdw`, and those of its user mapping.
    pub(super) fn of_server(
        what: &str,
        (server, user): (&[String], &[String]),
        given: &Credentials,
        tls: Option<&Connector>,
    ) -> Result<Self, Error> {
        let text: Vec<String> =
            server.iter().chain(user).filter_map(|option| libpq(option)).collect();
        Self::parse(what, &text.join(" "), given, tls)
    }

    /// The same hosts, but connections are only made to a host that accepts writes.
    pub(super) fn writable(&self) -> Self {
        let mut address = self.clone();
        for host in &mut address.hosts {
            host.config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        address
    }

    /// The user and the password of the first host.
    pub(super) fn credentials(&self) -> Credentials {
        let config = self.hosts.first().map(|host| &host.config);
        Credentials {
            user: config.and_then(|config| config.get_user()).map(str::to_owned),
            password: config.and_then(|config| config.get_password()).map(<[u8]>::to_vec),
        }
    }

    /// Hosts, ports and database, which may appear in messages.
    pub(super) fn shown(&self) -> String {
        let names: Vec<&str> = self.hosts.iter().map(|host| &*host.name).collect();
        let database = self.hosts.first().and_then(|host| host.config.get_dbname());
        format!("postgres://{}/{}", names.join(","), database.unwrap_or_default())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.shown())
    }
}

impl Endpoint {
    fn new(
        all: &Config,
        host: &Host,
        port: u16,
        given: &Credentials,
        tls: Option<&Connector>,
    ) -> Result<Self, Error> {
        let mut config = Config::new();
        let (name, here) = match host {
            Host::Tcp(host) => {
                config.host(host);
                let ip = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
                (format!("{host}:{port}"), ip || host == "localhost")
            }
            #[cfg(unix)]
            Host::Unix(path) => {
                config.host_path(path);
                (format!("{}:{port}", path.display()), true)
            }
        };
        config.port(port);
        if let Some(name) = all.get_dbname() {
            config.dbname(name);
        }
        if let Some(user) = all.get_user().or(given.user.as_deref()) {
            config.user(user);
        }
        if let Some(password) = all.get_password().or(given.password.as_deref()) {
            config.password(password);
        }
        if let Some(options) = all.get_options() {
            config.options(options);
        }
        config.application_name(all.get_application_name().unwrap_or("dhih-serve"));
        config.target_session_attrs(all.get_target_session_attrs());
        config.channel_binding(all.get_channel_binding());
        config.ssl_negotiation(all.get_ssl_negotiation());
        config.connect_timeout(all.get_connect_timeout().copied().unwrap_or(CONNECT));
        config.tcp_user_timeout(all.get_tcp_user_timeout().copied().unwrap_or(SILENCE));
        config.keepalives(all.get_keepalives());
        config.keepalives_idle(all.get_keepalives_idle().min(SILENCE));
        config.keepalives_interval(all.get_keepalives_interval().unwrap_or(Duration::from_secs(1)));
        config.keepalives_retries(all.get_keepalives_retries().unwrap_or(2));
        // If `sslmode` is absent, unencrypted connections are only allowed to this machine.
        let tls = match (all.get_ssl_mode(), tls) {
            (SslMode::Disable, _) => None,
            (_, Some(tls)) if !name.starts_with('/') => Some(tls.clone()),
            (SslMode::Prefer, _) if here => None,
            _ => return Err(Error::InTheClear { host: name }),
        };
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        Ok(Self { name, config, tls })
    }
}

/// The fault of a connection string, without quoting it: in a malformed string, the password may be anywhere.
fn unreadable(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match cause.starts_with("invalid value for option") {
        true => format!("{cause}; {FORM}"),
        false => format!("it cannot be read; {FORM}"),
    }
}

/// An option of a foreign server or a user mapping in the form of libpq; `None` for options of `postgres_fdw` itself.
fn libpq(option: &str) -> Option<String> {
    const KNOWN: [&str; 13] = [
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "options",
        "sslmode",
        "connect_timeout",
        "tcp_user_timeout",
        "keepalives",
        "keepalives_idle",
        "target_session_attrs",
    ];
    let (name, value) = option.split_once('=')?;
    if !KNOWN.contains(&name) {
        return None;
    }
    let value = match (name, value) {
        // Certificates and host names are always verified here.
        ("sslmode", "verify-ca" | "verify-full") => "require",
        ("sslmode", "allow") => "prefer",
        ("target_session_attrs", "primary") => "read-write",
        ("target_session_attrs", "standby") => "read-only",
        ("target_session_attrs", "prefer-standby") => "any",
        (_, value) => value,
    };
    Some(format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, Error> {
        Address::parse("the store", text, &Credentials::default(), None)
    }

    #[test]
    fn each_host_has_what_the_string_says() {
        let text = "postgres://me:p%40ss@127.0.0.1:5433,localhost:5435/codes?connect_timeout=7&target_session_attrs=read-write";
        let address = parse(text).unwrap();
        assert_eq!(address.shown(), "postgres://127.0.0.1:5433,localhost:5435/codes");
        for host in &address.hosts {
            assert_eq!(host.config.get_hosts().len(), 1);
            assert_eq!(host.config.get_password(), Some(&b"p@ss"[..]));
            assert_eq!(host.config.get_connect_timeout(), Some(&Duration::from_secs(7)));
            assert_eq!(host.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
            assert_eq!(host.config.get_ssl_mode(), SslMode::Disable);
        }
        let shown = format!("{address:?} {:?}", address.hosts[0].config);
        assert!(!shown.contains("p@ss") && !shown.contains("p%40ss"), "{shown}");
    }

    #[test]
    fn the_options_of_a_server_are_read() {
        let server = [
            "host=127.0.0.1,127.0.0.2",
            "port=1,2",
            "dbname=it's \\ a",
            "fetch_size=7",
            "target_session_attrs=prefer-standby",
        ];
        let user = ["user=me", "password=p'a\\ss"];
        let [server, user] =
            [&server[..], &user].map(|o| o.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>());
        let address =
            Address::of_server("dhih_shard_0", (&server, &user), &Credentials::default(), None)
                .unwrap();
        let names: Vec<&str> = address.hosts.iter().map(|host| &*host.name).collect();
        assert_eq!(names, ["127.0.0.1:1", "127.0.0.2:2"]);
        let config = &address.hosts[1].config;
        assert_eq!((config.get_dbname(), config.get_user()), (Some("it's \\ a"), Some("me")));
        assert_eq!(config.get_password(), Some(&b"p'a\\ss"[..]));
        let given = Credentials { user: Some("other".into()), password: Some(b"word".to_vec()) };
        let address = Address::of_server("dhih_shard_0", (&server, &[]), &given, None).unwrap();
        assert_eq!(address.credentials().user.as_deref(), Some("other"));
        assert_eq!(address.credentials().password.as_deref(), Some(&b"word"[..]));
        assert_eq!(address.hosts[0].config.get_target_session_attrs(), TargetSessionAttrs::Any);
        let writable = address.writable().hosts[0].config.get_target_session_attrs();
        assert_eq!(writable, TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn a_broken_string_is_refused_and_not_repeated() {
        for (text, part) in [
            ("postgres://me:secret@", "no host"),
            ("postgres://me:secret@127.0.0.1", "no database"),
            ("mysql://me:secret@127.0.0.1/a", "cannot be read"),
            ("host=127.0.0.1 dbname=a password=my secret", "cannot be read"),
            ("postgres://127.0.0.1/a?passwd=secret", "cannot be read"),
            ("postgres://me:secret@127.0.0.1:port/a", "`port`"),
            ("postgres://me:secret@127.0.0.1/a?sslmode=always", "`sslmode`"),
            ("host=127.0.0.1,127.0.0.2 port=1,2,3 dbname=a password=secret", "2 hosts and 3 ports"),
            ("hostaddr=127.0.0.1 dbname=a password=secret", "`hostaddr`"),
            ("postgres://me:secret@127.0.0.1/a?load_balance_hosts=random", "`load_balance_hosts`"),
            ("", "no host"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("the store"), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn nothing_goes_over_a_network_in_the_clear_unasked() {
        for text in ["postgres://db.example.org/a", "postgres://127.0.0.1/a?sslmode=require"] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, Error::InTheClear { .. }), "{error}");
            assert!(error.to_string().contains("--store-ca"), "{error}");
        }
        for text in [
            "postgres://db.example.org/a?sslmode=disable",
            "postgres://localhost/a",
            "host=/run/postgresql dbname=a",
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address.hosts[0].config.get_ssl_mode(), SslMode::Disable);
        }
    }
}
