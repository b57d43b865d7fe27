//! The host names of the service. In a DNS rebinding attack, the name of another site resolves to this machine, so that its pages have the
//! service's own origin in the eyes of a browser. Their requests still carry the name of that site in `Host`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::uri::Authority;

/// A host name in lower case or an IP address, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name that stands for every host name.
    const ANY: &str = "*";

    /// The host name in an authority such as `localhost:7878` or `[::1]`; `None` where the host is missing or user information precedes it.
    pub(crate) fn of(authority: &Authority) -> Option<Self> {
        let named = !authority.as_str().contains('@') && !authority.host().is_empty();
        named.then(|| Self::normal(authority.host()))
    }

    fn normal(text: &str) -> Self {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(address) => Self(address.to_canonical().to_string()),
            Err(_) => Self(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()),
        }
    }

    /// Whether this stands for every host name.
    pub(crate) fn is_any(&self) -> bool {
        self.0 == Self::ANY
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::ANY {
            return Ok(Self(text.to_owned()));
        }
        let name = Self::normal(text);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        match name.0.parse::<IpAddr>().is_ok() || !name.0.is_empty() && name.0.bytes().all(is_name)
        {
            true => Ok(name),
            false => Err("give a host name or an IP address, without scheme and port".into()),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host names that a service accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// `None` accepts every name.
    names: Option<Vec<HostName>>,
}

impl Default for Hosts {
    /// The names of this machine only.
    fn default() -> Self {
        Self::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), &[], false)
    }
}

impl Hosts {
    /// The names of a service that listens on `bind` and has the further `names`. If it is `guarded`, which means that even reading needs a
    /// key, and listens on an address that other machines reach, it accepts every name unless `names` are given.
    pub fn new(bind: IpAddr, names: &[HostName], guarded: bool) -> Self {
        let unnamed = names.is_empty() && !bind.is_loopback() && guarded;
        if unnamed || names.iter().any(HostName::is_any) {
            return Self { names: None };
        }
        let mut own = names.to_vec();
        if bind.is_loopback() {
            own.extend(["localhost", "127.0.0.1", "::1"].map(HostName::normal));
        }
        if !bind.is_unspecified() {
            own.push(HostName::normal(&bind.to_string()));
        }
        Self { names: Some(own) }
    }

    /// Whether the service has this name.
    pub(crate) fn have(&self, name: &HostName) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(hosts: &Hosts, host: &str) -> bool {
        let authority = host.parse::<Authority>().ok();
        authority
            .and_then(|authority| HostName::of(&authority))
            .is_some_and(|name| hosts.have(&name))
    }

    #[test]
    fn a_service_on_this_machine_answers_to_this_machines_names() {
        let hosts =
            Hosts::new("127.0.0.5".parse().unwrap(), &["Photos.Example".parse().unwrap()], false);
        for host in [
            "localhost",
            "LOCALHOST:7878",
            "127.0.0.1:1",
            "[::1]:7878",
            "127.0.0.5",
            "photos.example.",
            "localhost.:80",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(answers(&hosts, host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:7878",
            "evil.example@localhost",
            "127.0.0.1.nip.io",
            "127.0.0.6",
            "0.0.0.0",
            "[::2]",
            "localhost:7878@evil.example",
            "",
            "a b",
            "localhost/evil",
        ] {
            assert!(!answers(&hosts, host), "{host}");
        }
        assert_eq!(Hosts::default(), Hosts::new("127.0.0.1".parse().unwrap(), &[], true));
    }

    #[test]
    fn an_address_that_others_reach_answers_to_any_name_until_it_has_one() {
        let (wildcard, own) = ("0.0.0.0".parse().unwrap(), "10.0.0.7".parse().unwrap());
        assert!(answers(&Hosts::new(wildcard, &[], true), "anything.example"));
        assert!(!answers(&Hosts::new(wildcard, &[], false), "anything.example"));
        let named = ["photos.example".parse().unwrap()];
        for (bind, host, is) in [
            (wildcard, "photos.example:7878", true),
            (wildcard, "10.0.0.7", false),
            (own, "10.0.0.7:7878", true),
            (own, "localhost", false),
            (own, "evil.example", false),
        ] {
            assert_eq!(answers(&Hosts::new(bind, &named, true), host), is, "{bind} {host}");
        }
        assert!(answers(&Hosts::new(own, &["*".parse().unwrap()], true), "anything.example"));
    }

    #[test]
    fn a_name_is_given_without_scheme_and_port() {
        for name in ["https://a.example", "a.example:80", "", "a b", "[::1]:80", "a/b", "*.example"]
        {
            assert!(name.parse::<HostName>().is_err(), "{name}");
        }
        let same = |a: &str, b: &str| a.parse::<HostName>().unwrap() == b.parse().unwrap();
        assert!(same("[::1]", "::1") && same("A.example.", "a.EXAMPLE") && same("::1", "0:0::1"));
    }
}
