//! The CNI plugin: the same binary, started by the container runtime with `CNI_COMMAND` set.
//!
//! ADD, DEL, CHECK, GC, STATUS and VERSION of specification 0.3.0 to 1.1.0, and the `loopback`
//! plugin that containerd expects beside it. It is a straight program of blocking netlink calls: its
//! start is on every pod's path. [`configure`] is its other half, called by the node.
//!
//! Not here: services, DNS, other nodes' pods.

pub mod conf;
mod configure;
pub mod firewall;
pub mod ipam;
pub mod pod;
pub mod ports;
pub mod record;

use std::io::Read;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

pub use configure::{Configuration, ConfigureError, STATE_DIR, configure, heal};

use crate::cidr::Cidr;
use crate::netlink::Socket;
use crate::netlink::nft::{Batch, Family};
use conf::{Attachment, CniError, NetConf, VERSIONS};
use ipam::Pool;
use record::Record;

/// Whether this process was started as a CNI plugin.
pub fn is_invocation() -> bool {
    std::env::var_os("CNI_COMMAND").is_some()
}

/// The plugin: reads the environment and standard input, answers on standard output.
pub fn main() -> ExitCode {
    let mut input = Vec::new();
    let command = std::env::var("CNI_COMMAND").unwrap_or_default();
    let read = std::io::stdin().lock().read_to_end(&mut input);
    let (version, result) = match read {
        Err(e) => ("1.0.0".to_owned(), Err(CniError::new(CniError::IO, e))),
        Ok(_) => run(&command, &input, |name| std::env::var(name).ok()),
    };
    match result {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(value)) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", error.print(&version));
            ExitCode::FAILURE
        }
    }
}

/// One invocation: the version to answer in, and the answer. It may leave this thread in another
/// network namespace.
pub fn run(
    command: &str,
    input: &[u8],
    env: impl Fn(&str) -> Option<String>,
) -> (String, Result<Option<Value>, CniError>) {
    let conf: Result<NetConf, _> = serde_json::from_slice(input);
    let version = match &conf {
        Ok(conf) if !conf.cni_version.is_empty() => conf.cni_version.clone(),
        _ => "1.0.0".to_owned(),
    };
    if command == "VERSION" {
        let answer = json!({"cniVersion": version, "supportedVersions": VERSIONS});
        return (version, Ok(Some(answer)));
    }
    let result = conf
        .map_err(|e| CniError::new(CniError::DECODE, format!("network configuration: {e}")))
        .and_then(|conf| dispatch(command, &conf, &version, env));
    (version, result)
}

fn dispatch(
    command: &str,
    conf: &NetConf,
    version: &str,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<Value>, CniError> {
    if !VERSIONS.contains(&version) {
        let why = format!("version {version} is not one of {}", VERSIONS.join(", "));
        return Err(CniError::new(CniError::INCOMPATIBLE_VERSION, why));
    }
    let need = |name: &str| {
        env(name)
            .filter(|v| !v.is_empty())
            .ok_or_else(|| CniError::new(CniError::ENVIRONMENT, format!("{name} is not set")))
    };
    let who = || {
        let (container, interface) = (need("CNI_CONTAINERID")?, need("CNI_IFNAME")?);
        let ok =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !ok(&container) || !ok(&interface) || interface.len() > 15 {
            let why = "CNI_CONTAINERID or CNI_IFNAME is malformed";
            return Err(CniError::new(CniError::ENVIRONMENT, why));
        }
        Ok(Attachment { container, interface })
    };
    if conf.kind == "loopback" {
        return loopback(command, version, || need("CNI_NETNS"));
    }
    match command {
        "ADD" => add(conf, version, &who()?, &need("CNI_NETNS")?).map(Some),
        "DEL" => delete(conf, &who()?).map(|()| None),
        "CHECK" => check(conf, &who()?, &need("CNI_NETNS")?).map(|()| None),
        "GC" => collect_garbage(conf).map(|()| None),
        "STATUS" => pools(conf).map(|_| None),
        other => {
            Err(CniError::new(CniError::ENVIRONMENT, format!("unknown CNI_COMMAND {other:?}")))
        }
    }
}

fn loopback(
    command: &str,
    version: &str,
    netns: impl FnOnce() -> Result<String, CniError>,
) -> Result<Option<Value>, CniError> {
    if command != "ADD" {
        return Ok(None);
    }
    let path = netns()?;
    let namespace = std::fs::File::open(&path)
        .map_err(|e| CniError::new(CniError::IO, format!("network namespace {path}: {e}")))?;
    pod::enter(&namespace)?;
    let mut w = crate::netlink::Writer::new();
    crate::netlink::route::set_up(&mut w, 1);
    Socket::route()?.run(&w)?;
    let mut ip = json!({"address": "127.0.0.1/8", "interface": 0});
    if version.starts_with("0.") {
        ip["version"] = "4".into();
    }
    Ok(Some(json!({
        "cniVersion": version,
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": path}],
        "ips": [ip], "dns": {},
    })))
}

fn pools(conf: &NetConf) -> Result<Vec<(Cidr, Pool)>, CniError> {
    if conf.pod_cidrs.is_empty() || conf.state_dir.as_os_str().is_empty() {
        let why = "podCIDRs and stateDir have to be set";
        return Err(CniError::new(CniError::CONFIG, why));
    }
    conf.pod_cidrs.iter().map(|cidr| Ok((*cidr, Pool::open(&conf.state_dir, *cidr)?))).collect()
}

fn add(conf: &NetConf, version: &str, who: &Attachment, netns: &str) -> Result<Value, CniError> {
    let result = try_add(conf, who, netns);
    match result {
        Ok(outcome) => Ok(outcome.print(version)),
        Err(error) => {
            // The runtime may or may not call DEL now. Best effort; the first error counts.
            let _ = delete(conf, who);
            Err(error)
        }
    }
}

/// A claim without a link is a leak once it is older than any plugin runs.
const LEAK_AGE: Duration = Duration::from_secs(60);

fn try_add(conf: &NetConf, who: &Attachment, netns: &str) -> Result<conf::Outcome, CniError> {
    let owner = who.owner();
    let mut ips = Vec::new();
    for (cidr, pool) in pools(conf)? {
        let ip = match pool.claim(&owner) {
            Err(ipam::IpamError::Full(_)) => {
                free_leaks(&pool, LEAK_AGE)?;
                pool.claim(&owner)?
            }
            other => other?,
        };
        ips.push((ip, cidr));
    }
    let ports = &conf.runtime_config.port_mappings;
    let record =
        Record { owner, ips: ips.iter().map(|(ip, _)| *ip).collect(), ports: ports.clone() };
    record
        .save(&conf.state_dir)
        .map_err(|e| CniError::new(CniError::IO, format!("{}: {e}", conf.state_dir.display())))?;
    pod::attach(who, netns, &ips, conf.mtu, |link| open_ports(&record, link))
}

fn open_ports(record: &Record, link: &str) -> Result<(), CniError> {
    for ip in &record.ips {
        let family = Family::of(*ip);
        let elements = ports::Elements::of(family, *ip, &record.ports);
        if elements.is_empty() {
            continue;
        }
        // Lets packets from 127.0.0.1 leave towards the pod; they are masqueraded on the way.
        let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{link}/route_localnet"), "1");
        let mut batch = Batch::new(family, ports::TABLE);
        elements.add(&mut batch);
        batch.commit(&Socket::netfilter()?)?;
    }
    Ok(())
}

fn delete(conf: &NetConf, who: &Attachment) -> Result<(), CniError> {
    let owner = who.owner();
    pod::remove(&Socket::route()?, &pod::link_name(&owner))?;
    let pools = pools(conf)?;
    forget(&conf.state_dir, &owner, &pools)
}

/// Frees what an owner had, in the order that a crash in between is finished by the next DEL.
fn forget(
    state_dir: &std::path::Path,
    owner: &str,
    pools: &[(Cidr, Pool)],
) -> Result<(), CniError> {
    match Record::load(state_dir, owner) {
        Some(record) => {
            for ip in &record.ips {
                let family = Family::of(*ip);
                let elements = ports::Elements::of(family, *ip, &record.ports);
                if !elements.is_empty() {
                    elements.remove(&Socket::netfilter()?, family)?;
                }
                for (_, pool) in pools.iter().filter(|(cidr, _)| cidr.contains(*ip)) {
                    pool.release(*ip)?;
                }
            }
            Record::delete(state_dir, owner).map_err(|e| CniError::new(CniError::IO, e))
        }
        None => {
            for (_, pool) in pools {
                pool.release_owner(owner)?;
            }
            Ok(())
        }
    }
}

fn check(conf: &NetConf, who: &Attachment, netns: &str) -> Result<(), CniError> {
    let record = Record::load(&conf.state_dir, &who.owner())
        .ok_or_else(|| CniError::new(CniError::CHECK, "nothing is recorded for this container"))?;
    let claims: Vec<(IpAddr, String)> =
        pools(conf)?.iter().map(|(_, pool)| pool.claims()).collect::<Result<Vec<_>, _>>()?.concat();
    for ip in &record.ips {
        if !claims.contains(&(*ip, record.owner.clone())) {
            return Err(CniError::new(CniError::CHECK, format!("{ip} is not claimed")));
        }
    }
    pod::check(who, netns, &record.ips)
}

fn collect_garbage(conf: &NetConf) -> Result<(), CniError> {
    let Some(valid) = &conf.valid_attachments else { return Ok(()) };
    let valid: Vec<String> = valid.iter().map(Attachment::owner).collect();
    let pools = pools(conf)?;
    let host = Socket::route()?;
    let mut gone = Vec::new();
    for (_, pool) in &pools {
        let dead = |owner: &String| !valid.contains(owner);
        gone.extend(pool.claims()?.into_iter().map(|(_, owner)| owner).filter(dead));
    }
    for owner in gone {
        pod::remove(&host, &pod::link_name(&owner))?;
        forget(&conf.state_dir, &owner, &pools)?;
    }
    Ok(())
}

/// Frees addresses whose link is gone: pods that ended without a DEL.
fn free_leaks(pool: &Pool, grace: Duration) -> Result<Vec<String>, CniError> {
    let links = crate::netlink::route::links(&Socket::route()?)?;
    let alive = |owner: &str| {
        let name = pod::link_name(owner);
        links.iter().any(|l| l.name == name)
    };
    Ok(pool.release_unless(grace, alive)?)
}
