//! Which cluster and namespace a command speaks to. Not here: the kubeconfig format (`client`).

use std::path::PathBuf;

use client::Client;
use client::https::Kubeconfig;

use crate::args::Global;
use crate::{Error, Result};

/// Where `isopod server` leaves its kubeconfig unless told otherwise.
const OWN_KUBECONFIG: &str = "/var/lib/isopod/admin.kubeconfig";

/// A cluster and a namespace.
pub struct Context {
    /// The way to the cluster.
    pub client: Client,
    /// `-n`, the context's namespace, or `default`.
    pub namespace: String,
    /// Whether `-n` was given.
    pub explicit_namespace: bool,
}

impl Context {
    /// Reads the kubeconfig that flags and environment choose.
    pub fn load(global: &Global) -> Result<Self> {
        let path = global.kubeconfig.clone().or_else(found).ok_or_else(|| {
            Error::usage(format!(
                "no kubeconfig: set KUBECONFIG or give --kubeconfig (isopod server writes {OWN_KUBECONFIG})"
            ))
        })?;
        let config = Kubeconfig::load(&path)?.config(global.context.as_deref())?;
        let own = Some(config.namespace.clone()).filter(|n| !n.is_empty());
        Ok(Self {
            client: Client::from_config(config)?,
            namespace: global.namespace.clone().or(own).unwrap_or_else(|| "default".to_owned()),
            explicit_namespace: global.namespace.is_some(),
        })
    }
}

/// The first kubeconfig there is: the environment's, the user's, isopod's own.
fn found() -> Option<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty());
    if let Some(list) = named {
        return std::env::split_paths(&list).find(|p| p.exists());
    }
    let home = std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".kube/config"));
    home.into_iter().chain([PathBuf::from(OWN_KUBECONFIG)]).find(|p| p.exists())
}
