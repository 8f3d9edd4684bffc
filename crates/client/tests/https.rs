//! The HTTPS transport against the real API server: certificates, many requests on one connection,
//! watches, restarts.

use std::path::Path;
use std::time::Duration;

use api::Object;
use api::clock::{Clock, Rng};
use api::resource::CONFIG_MAPS;
use isopod_client as client;
use serde_json::json;

use client::https::{Config, Credential, Kubeconfig, Pem};
use client::{Client, Error, Informers, ListOptions, Shutdown};

struct Server {
    running: server::Running,
    stop: Shutdown,
}

async fn start(dir: &Path, port: u16, store: store::Store) -> Server {
    let config = server::Config {
        data_dir: dir.to_owned(),
        bind_address: [127, 0, 0, 1].into(),
        secure_port: port,
        ..server::Config::default()
    };
    let stop = Shutdown::new();
    let running = server::start(config, store, Clock::system(), Rng::system(), stop.clone());
    let running = running.await.expect("the server starts");
    Server { running, stop }
}

fn kubeconfig(server: &Server, dir: &Path) -> std::path::PathBuf {
    let path = dir.join("admin.kubeconfig");
    let url = server.running.url();
    server
        .running
        .pki
        .write_kubeconfig(&path, server::pki::Identity::Admin, &url)
        .expect("written");
    path
}

fn map(name: &str) -> api::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
           "metadata": {"name": name, "namespace": "default"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_and_watches() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(dir.path(), 0, store::Store::memory()).await;
    let client = Client::from_kubeconfig(kubeconfig(&server, dir.path())).expect("a client");
    let before = client
        .list::<Object>(&CONFIG_MAPS, "default", &ListOptions::all())
        .await
        .expect("lists")
        .items
        .len();
    // More watches than one connection carries.
    let informers: Vec<Informers> = (0..120).map(|_| Informers::new(client.clone())).collect();
    let views: Vec<_> = informers.iter().map(|i| i.get(&CONFIG_MAPS)).collect();
    let creating = (0..200).map(|i| {
        let client = client.clone();
        tokio::spawn(async move {
            let name = format!("m{i}");
            client.create::<Object>(&CONFIG_MAPS, "default", &map(&name)).await
        })
    });
    for task in creating.collect::<Vec<_>>() {
        task.await.expect("joins").expect("creates");
    }
    for view in &views {
        let wait = async {
            while view.list_ns("default").len() < before + 200 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("every view sees all");
    }
    let entry = views[0].get("default", "m7").expect("is there");
    assert_eq!(entry.object().expect("JSON").kind(), "ConfigMap");
    server.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_checked_and_reread() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = start(dir.path(), 0, store::Store::memory()).await;
    let path = kubeconfig(&server, dir.path());
    let admin = Kubeconfig::load(&path).expect("loads").config(None).expect("resolves");

    let stranger = Config { ca: None, ..admin.clone() };
    let error = Client::from_config(stranger).expect("a client");
    let error = error.list::<Object>(&CONFIG_MAPS, "", &ListOptions::all()).await;
    assert!(matches!(error, Err(Error::Transport { unsent: true, .. })), "an unknown authority");

    let anonymous = Config { identity: None, insecure: true, ca: None, ..admin.clone() };
    let anonymous = Client::from_config(anonymous).expect("a client");
    let refused = anonymous.list::<Object>(&CONFIG_MAPS, "", &ListOptions::all()).await;
    assert!(refused.expect_err("refused").is_forbidden());

    let token = dir.path().join("token");
    std::fs::write(&token, "nonsense\n").expect("written");
    let config = Config {
        identity: None,
        credential: Credential::TokenFile(token.clone()),
        ..admin.clone()
    };
    let by_token = Client::from_config(config).expect("a client");
    let refused = by_token.list::<Object>(&CONFIG_MAPS, "", &ListOptions::all()).await;
    assert_eq!(refused.expect_err("refused").api().map(|e| e.code), Some(401));
    // A refused token is read again: it may have been rotated.
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let admin_client = Client::from_config(admin.clone()).expect("a client");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"name": "bot", "namespace": "default"}});
    let accounts = api::resource::SERVICE_ACCOUNTS;
    admin_client.create::<Object>(&accounts, "default", &account).await.expect("creates");
    let made: Object = admin_client
        .create_sub(&accounts, "default", "bot", "token", &body)
        .await
        .expect("a token");
    std::fs::write(&token, made.text("status.token").expect("text")).expect("written");
    let refused = by_token.list::<Object>(&CONFIG_MAPS, "", &ListOptions::all()).await;
    assert!(refused.expect_err("known now, but not permitted").is_forbidden());

    let wrong = Config { ca: Some(Pem::Data(b"no certificate".to_vec())), ..admin };
    assert!(matches!(Client::from_config(wrong), Err(Error::Config(_))));
    server.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_survived() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store::Store::memory();
    let server = start(dir.path(), 0, store.clone()).await;
    let port = server.running.address.port();
    let client = Client::from_kubeconfig(kubeconfig(&server, dir.path())).expect("a client");
    let view = Informers::new(client.clone()).get(&CONFIG_MAPS);
    view.synced().await;
    client.create::<Object>(&CONFIG_MAPS, "default", &map("before")).await.expect("creates");
    server.stop.cancel();
    server.running.wait().await;
    let failed = client.list::<Object>(&CONFIG_MAPS, "", &ListOptions::all()).await;
    assert!(failed.is_err(), "nobody is there");
    let server = start(dir.path(), port, store).await;
    client.create::<Object>(&CONFIG_MAPS, "default", &map("after")).await.expect("creates");
    let wait = async {
        while view.get("default", "after").is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the view goes on");
    assert!(view.get("default", "before").is_some());
    server.stop.cancel();
}
