//! Encrypted connections to servers, whose certificates and names are verified.

use std::fs;

use dhih_serve::postgres::{Cluster, LoadConfig, Loader, StoreConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{
    codes::{Kind, items},
    servers::{Servers, Size, hand_over},
};

#[test]
fn connections_are_encrypted_and_certificates_checked() {
    let mut servers = Servers::of(Size::shards(1));
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, other) = (authority(), authority());
    let [ca, wrong] = [("ca.pem", &ours), ("other.pem", &other)].map(|(name, authority)| {
        let file = servers.folder().join(name);
        fs::write(&file, authority.pem()).unwrap();
        file
    });
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &ours).unwrap();
    let Servers { coordinator, primaries, .. } = &mut servers;
    for server in [coordinator, &mut primaries[0]] {
        let data = server.data().to_owned();
        fs::write(data.join("server.crt"), certificate.pem()).unwrap();
        fs::write(data.join("server.key"), key.serialize_pem()).unwrap();
        assert!(
            std::process::Command::new("chmod")
                .arg("600")
                .arg(data.join("server.key"))
                .status()
                .unwrap()
                .success()
        );
        hand_over(&data);
        // The server refuses unencrypted connections.
        let rules = fs::read_to_string(data.join("pg_hba.conf")).unwrap();
        fs::write(data.join("pg_hba.conf"), rules.replace("\nhost ", "\nhostssl ")).unwrap();
        server.restart_with(&["ssl=on"]);
    }
    let open = |config: StoreConfig| Cluster::open(&config).map_err(|error| error.to_string());
    let encrypted = StoreConfig { ca: Some(ca), ..servers.store() };
    let set = items(16, 50, Kind::Random, 1);
    let loader = Loader::new(LoadConfig::new(encrypted.clone())).unwrap();
    loader.stage(vec![set.clone()]).unwrap().switch().unwrap();
    assert!(open(encrypted).unwrap().holds(&set));

    let plain = open(servers.store()).unwrap_err();
    assert!(plain.contains("no encryption"), "{plain}");
    let asked = open(StoreConfig::new(format!("{}?sslmode=require", servers.url()))).unwrap_err();
    assert!(asked.contains("--store-ca"), "{asked}");
    let distrusted = open(StoreConfig { ca: Some(wrong), ..servers.store() }).unwrap_err();
    assert!(distrusted.contains("certificate"), "{distrusted}");
}
