//! The life of a data directory's keys: first start, further starts, renewal, crashes.

use super::*;

fn open(dir: &Path, clock: &Clock) -> Pki {
    let ips = ["10.43.0.1".parse().expect("valid"), "0.0.0.0".parse().expect("valid")];
    Pki::open(dir, &service_names("cluster.local"), &ips, clock.clone()).expect("opens")
}

fn clock() -> Clock {
    Clock::manual(jiff::Timestamp::from_second(1_800_000_000).expect("in range"))
}

#[test]
fn further_starts_find_the_same_keys() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let clock = clock();
    let first = open(dir.path(), &clock);
    let config = dir.path().join("admin.kubeconfig");
    first.write_kubeconfig(&config, Identity::Admin, "https://127.0.0.1:6443").expect("written");
    let text = std::fs::read_to_string(&config).expect("readable");
    let second = open(dir.path(), &clock);
    assert_eq!(first.ca_cert(), second.ca_cert());
    assert_eq!(first.token_key(), second.token_key());
    second.write_kubeconfig(&config, Identity::Admin, "https://127.0.0.1:6443").expect("written");
    assert_eq!(text, std::fs::read_to_string(&config).expect("readable"));
}

#[test]
fn renews_serving_certificate_and_kubeconfigs() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let clock = clock();
    let pki = open(dir.path(), &clock);
    let config = dir.path().join("admin.kubeconfig");
    pki.write_kubeconfig(&config, Identity::Admin, "https://127.0.0.1:6443").expect("written");
    let shown = || pki.serving_now();
    let (before, text) = (shown(), std::fs::read_to_string(&config).expect("readable"));
    pki.refresh().expect("nothing due");
    assert_eq!(before, shown());
    clock.advance(leaf::LIFETIME * 3 / 4);
    pki.refresh().expect("renewed");
    assert_ne!(before, shown());
    assert_ne!(text, std::fs::read_to_string(&config).expect("readable"));
}

#[test]
fn certificate_without_key_is_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    drop(open(dir.path(), &clock()));
    std::fs::remove_file(dir.path().join("pki/ca.key")).expect("removed");
    let error = Pki::open(dir.path(), &[], &[], clock()).err().expect("refused");
    assert!(error.to_string().contains("ca.key is not"), "{error}");
}

#[test]
fn a_key_without_certificate_is_completed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    drop(open(dir.path(), &clock()));
    let key = std::fs::read(dir.path().join("pki/ca.key")).expect("readable");
    std::fs::remove_file(dir.path().join("pki/ca.crt")).expect("removed");
    drop(open(dir.path(), &clock()));
    assert_eq!(key, std::fs::read(dir.path().join("pki/ca.key")).expect("readable"));
}

#[test]
fn verifier_tells_our_certificates_from_others() {
    let (ours, theirs) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let clock = clock();
    let (a, b) = (open(ours.path(), &clock), open(theirs.path(), &clock));
    let cert = der(&a.identity(&Identity::Admin).expect("issued").cert).expect("PEM");
    let now = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    assert!(a.client_verifier().verify_client_cert(&cert, &[], now).is_ok());
    assert!(b.client_verifier().verify_client_cert(&cert, &[], now).is_err());
    let late = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));
    assert!(a.client_verifier().verify_client_cert(&cert, &[], late).is_err());
}
