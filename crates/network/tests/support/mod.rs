//! Network namespaces for tests: a "machine" and its "pods", all private to the test, gone with it.
#![allow(unsafe_code, dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use isopod_network::cni::{self, Configuration};
use isopod_network::netlink::{Socket, Writer, route};
use serde_json::{Value, json};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// A network namespace, alive while this is.
pub struct Namespace(File);

impl Namespace {
    /// A new one; `None` (with a printed reason) where this user cannot make any.
    pub fn new() -> Option<Self> {
        let made = std::thread::spawn(|| {
            // SAFETY: only this short thread changes its namespace.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.ok()?;
            File::open("/proc/thread-self/ns/net").ok()
        })
        .join()
        .expect("the thread ran");
        if made.is_none() {
            println!("skipped: network namespaces need root");
        }
        made.map(Self)
    }

    /// Another handle on it.
    pub fn another(&self) -> Self {
        Self(self.0.try_clone().expect("clones"))
    }

    /// A path that names it for this process's children and threads.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs something in it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                        .expect("enters the namespace");
                    work()
                })
                .join()
                .unwrap_or_else(|e| std::panic::resume_unwind(e))
        })
    }
}

/// A machine with pods on the plugin's links.
pub struct Machine {
    pub host: Namespace,
    pub dir: tempfile::TempDir,
}

impl Machine {
    pub fn new(pod_cidr: &str) -> Option<Self> {
        let machine = Self { host: Namespace::new()?, dir: tempfile::tempdir().expect("a folder") };
        machine.configure(pod_cidr);
        Some(machine)
    }

    pub fn configure(&self, pod_cidr: &str) {
        let dir = self.dir.path();
        let cidr = pod_cidr.parse().expect("a range");
        let cluster = "10.42.0.0/16".parse().expect("a range");
        self.host
            .run(|| {
                cni::configure(&Configuration {
                    conf_dir: &dir.join("net.d"),
                    bin_dir: &dir.join("bin"),
                    state_dir: &dir.join("state"),
                    executable: Path::new("/usr/local/bin/isopod"),
                    pod_cidrs: &[cidr],
                    cluster_cidrs: &[cluster],
                    mtu: Some(1400),
                })
            })
            .expect("configures");
    }

    /// The plugin's own configuration, as a runtime hands it over.
    pub fn conf(&self, version: &str, ports: &Value) -> Vec<u8> {
        let list = std::fs::read(self.dir.path().join("net.d/10-isopod.conflist")).expect("there");
        let list: Value = serde_json::from_slice(&list).expect("JSON");
        let mut conf = list["plugins"][0].clone();
        conf["cniVersion"] = version.into();
        conf["name"] = list["name"].clone();
        conf["runtimeConfig"] = json!({"portMappings": ports});
        serde_json::to_vec(&conf).expect("JSON")
    }

    pub fn call(
        &self,
        command: &str,
        id: &str,
        netns: &str,
        ports: &Value,
    ) -> Result<Option<Value>, String> {
        let conf = self.conf("1.0.0", ports);
        let env = |name: &str| {
            Some(match name {
                "CNI_CONTAINERID" => id.to_owned(),
                "CNI_NETNS" => netns.to_owned(),
                "CNI_IFNAME" => "eth0".to_owned(),
                _ => return None,
            })
        };
        let (_, result) = self.host.run(|| cni::run(command, &conf, env));
        result.map_err(|e| format!("{}: {e}", e.code))
    }

    pub fn add(&self, id: &str, ports: &Value) -> (Namespace, IpAddr) {
        let pod = Namespace::new().expect("root");
        let result = self.call("ADD", id, &pod.path(), ports).expect("adds").expect("a result");
        let ip = result["ips"][0]["address"].as_str().expect("an address");
        (pod, ip.trim_end_matches("/32").parse().expect("an address"))
    }
}

impl Machine {
    /// The outside: another namespace, 192.0.2.9, behind a link from 192.0.2.1.
    pub fn outside(&self) -> Namespace {
        let outside = Namespace::new().expect("root");
        self.host.run(|| {
            let socket = Socket::route().expect("opens");
            let far = File::open(outside.path()).expect("opens");
            let mut w = Writer::new();
            let end = |name, last| route::VethEnd { name, mac: [2, 0, 0, 0, 0, last] };
            route::add_veth(&mut w, end("up0", 1), end("eth0", 2), far.as_raw_fd(), 1500);
            socket.run(&w).expect("adds");
        });
        for (namespace, name, ip) in
            [(&self.host, "up0", "192.0.2.1"), (&outside, "eth0", "192.0.2.9")]
        {
            namespace.run(|| {
                let socket = Socket::route().expect("opens");
                let link = route::link_by_name(&socket, name).expect("asks").expect("there");
                let mut w = Writer::new();
                route::set_up(&mut w, link.index);
                route::add_address(&mut w, link.index, ip.parse().expect("an address"), 24, 0);
                socket.run(&w).expect("adds");
            });
        }
        // Asking for the link waits until it really sends.
        self.host.run(|| {
            route::link_by_name(&Socket::route().expect("opens"), "up0").expect("asks");
        });
        outside
    }
}

/// Serves one connection: answers with the peer's address.
pub fn answer_once(namespace: &Namespace, port: u16) -> std::thread::JoinHandle<()> {
    let listener = namespace.run(|| TcpListener::bind(("0.0.0.0", port)).expect("binds"));
    std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().expect("a connection");
        stream.write_all(peer.ip().to_string().as_bytes()).expect("writes");
    })
}

pub fn ask(namespace: &Namespace, to: (IpAddr, u16)) -> String {
    let begun = std::time::Instant::now();
    let answer = namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&to.into(), Duration::from_secs(5))
            .unwrap_or_else(|e| panic!("connects to {to:?}: {e}"));
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("reads");
        text
    });
    println!("{to:?} answered after {:?}", begun.elapsed());
    answer
}
