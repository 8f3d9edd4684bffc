//! The plugin's input and output as the CNI specification words them.
//!
//! Versions 0.3.0 to 1.1.0 share one shape but for a few fields. Not here: doing anything.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cidr::Cidr;
use crate::netlink::route::full_prefix;

/// Specification versions understood, newest last.
pub const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The network configuration on standard input, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetConf {
    /// Which version the runtime speaks.
    #[serde(default)]
    pub cni_version: String,
    /// `isopod`, or `loopback` (containerd runs that one by itself).
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The ranges that pods of this node get their addresses from, one a family.
    #[serde(default, rename = "podCIDRs")]
    pub pod_cidrs: Vec<Cidr>,
    /// 0: the kernel's default.
    #[serde(default)]
    pub mtu: u32,
    /// Where claims and records are kept.
    #[serde(default)]
    pub state_dir: PathBuf,
    /// What the runtime says about this pod.
    #[serde(default)]
    pub runtime_config: RuntimeConfig,
    /// The result of ADD, handed back to CHECK.
    #[serde(default)]
    pub prev_result: Option<Value>,
    /// For GC: who is still there.
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Option<Vec<Attachment>>,
}

/// Capability arguments.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfig {
    /// Host ports.
    #[serde(default, deserialize_with = "nullable")]
    pub port_mappings: Vec<PortMapping>,
}

/// Go writes an empty list as `null`.
fn nullable<'de, D, T>(d: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(d).map(Option::unwrap_or_default)
}

/// One host port. containerd writes Go's field names as they are, and Go reads them in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port on the machine; 0 for none.
    #[serde(default, alias = "HostPort", alias = "hostport")]
    pub host_port: u16,
    /// Port in the pod.
    #[serde(default, alias = "ContainerPort", alias = "containerport")]
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`, in any case.
    #[serde(default, alias = "Protocol")]
    pub protocol: String,
    /// Only this address of the machine; empty or unspecified for all.
    #[serde(default, rename = "hostIP", alias = "HostIP", alias = "hostip")]
    pub host_ip: String,
}

/// An interface of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Attachment {
    /// The container (pod sandbox).
    #[serde(rename = "containerID")]
    pub container: String,
    /// The interface in it.
    #[serde(rename = "ifname")]
    pub interface: String,
}

impl Attachment {
    /// As claims and records name it.
    pub fn owner(&self) -> String {
        format!("{}@{}", self.container, self.interface)
    }
}

/// What ADD made.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name and hardware address on the machine.
    pub host: (String, String),
    /// Name and hardware address in the pod.
    pub pod: (String, String),
    /// Path of the pod's network namespace.
    pub netns: String,
    /// Address and gateway, one a family.
    pub ips: Vec<(IpAddr, IpAddr)>,
}

impl Outcome {
    /// The result in the version asked for.
    pub fn print(&self, version: &str) -> Value {
        let old = version.starts_with("0.");
        let ips: Vec<Value> = self
            .ips
            .iter()
            .map(|(ip, gateway)| {
                let mut entry = json!({
                    "address": format!("{ip}/{}", full_prefix(*ip)),
                    "gateway": gateway, "interface": 1,
                });
                if old {
                    entry["version"] = if ip.is_ipv4() { "4" } else { "6" }.into();
                }
                entry
            })
            .collect();
        let routes: Vec<Value> = self
            .ips
            .iter()
            .map(|(ip, gateway)| {
                let everywhere = if ip.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                json!({"dst": everywhere, "gw": gateway})
            })
            .collect();
        json!({
            "cniVersion": version,
            "interfaces": [
                {"name": self.host.0, "mac": self.host.1},
                {"name": self.pod.0, "mac": self.pod.1, "sandbox": self.netns},
            ],
            "ips": ips, "routes": routes, "dns": {},
        })
    }
}

/// A failure, with the specification's code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CniError {
    /// See the specification's "Error" section; from 100 on our own.
    pub code: u32,
    /// For people.
    pub message: String,
}

impl CniError {
    /// The version is not one of [`VERSIONS`].
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// An environment variable is missing or wrong.
    pub const ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO: u32 = 5;
    /// Standard input is not what it should be.
    pub const DECODE: u32 = 6;
    /// The configuration makes no sense.
    pub const CONFIG: u32 = 7;
    /// No free address.
    pub const NO_ADDRESS: u32 = 101;
    /// The kernel refused.
    pub const KERNEL: u32 = 102;
    /// CHECK found something amiss.
    pub const CHECK: u32 = 103;

    /// An error of a code.
    pub fn new(code: u32, message: impl std::fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// As it goes to standard output.
    pub fn print(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code, "msg": self.message})
    }
}

impl From<super::ipam::IpamError> for CniError {
    fn from(error: super::ipam::IpamError) -> Self {
        let code = match error {
            super::ipam::IpamError::Full(_) => Self::NO_ADDRESS,
            super::ipam::IpamError::Io { .. } => Self::IO,
        };
        Self::new(code, error)
    }
}

impl From<crate::netlink::Error> for CniError {
    fn from(error: crate::netlink::Error) -> Self {
        Self::new(Self::KERNEL, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_mappings_as_runtimes_write_them() {
        let wanted = PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: "tcp".into(),
            host_ip: "127.0.0.1".into(),
        };
        for text in [
            r#"{"HostPort":8080,"ContainerPort":80,"Protocol":"tcp","HostIP":"127.0.0.1"}"#,
            r#"{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"127.0.0.1"}"#,
        ] {
            let mapping: PortMapping = serde_json::from_str(text).expect("a mapping");
            assert_eq!(mapping, wanted);
        }
    }

    #[test]
    fn results_by_version() {
        let outcome = Outcome {
            host: ("isop1".into(), "0a:00:00:00:00:01".into()),
            pod: ("eth0".into(), "0a:00:00:00:00:02".into()),
            netns: "/run/netns/x".into(),
            ips: vec![(
                "10.42.0.2".parse().expect("an address"),
                "10.42.0.1".parse().expect("an address"),
            )],
        };
        let old = outcome.print("0.3.1");
        assert_eq!(old["ips"][0]["version"], "4");
        let new = outcome.print("1.0.0");
        assert_eq!(new["ips"][0].get("version"), None);
        assert_eq!(new["ips"][0]["address"], "10.42.0.2/32");
        assert_eq!(new["interfaces"][1]["sandbox"], "/run/netns/x");
        assert_eq!(new["routes"][0]["dst"], "0.0.0.0/0");
    }
}
