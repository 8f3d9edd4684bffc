//! kubeconfig files: clusters, users, contexts, and the configuration a context stands for.
//!
//! Not here: credential plugins (`exec`), which run programs and are refused.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use super::{Config, Credential, Impersonate, Pem};
use crate::error::Error;

/// A kubeconfig.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Kubeconfig {
    /// The context used unless another is asked for.
    pub current_context: String,
    /// Servers.
    #[serde(deserialize_with = "nullable")]
    pub clusters: Vec<NamedCluster>,
    /// Credentials.
    #[serde(deserialize_with = "nullable")]
    pub users: Vec<NamedUser>,
    /// Pairs of the two.
    #[serde(deserialize_with = "nullable")]
    pub contexts: Vec<NamedContext>,
}

fn nullable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A cluster with its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedCluster {
    /// As contexts call it.
    pub name: String,
    /// The cluster.
    #[serde(default)]
    pub cluster: Cluster,
}

/// A server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs)]
pub struct Cluster {
    pub server: String,
    pub certificate_authority: Option<PathBuf>,
    pub certificate_authority_data: Option<String>,
    pub insecure_skip_tls_verify: bool,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
}

/// A user with its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedUser {
    /// As contexts call it.
    pub name: String,
    /// The user.
    #[serde(default)]
    pub user: User,
}

/// Credentials.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs)]
pub struct User {
    pub client_certificate: Option<PathBuf>,
    pub client_certificate_data: Option<String>,
    pub client_key: Option<PathBuf>,
    pub client_key_data: Option<String>,
    pub token: Option<String>,
    #[serde(rename = "tokenFile", alias = "token-file")]
    pub token_file: Option<PathBuf>,
    pub username: Option<String>,
    pub password: Option<String>,
    #[serde(rename = "as")]
    pub act_as: Option<String>,
    pub as_uid: Option<String>,
    pub as_groups: Vec<String>,
    pub exec: Option<serde_json::Value>,
    pub auth_provider: Option<serde_json::Value>,
}

/// A context with its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedContext {
    /// As `current-context` calls it.
    pub name: String,
    /// The context.
    #[serde(default)]
    pub context: Context,
}

/// A cluster and a user.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Context {
    pub cluster: String,
    pub user: String,
    pub namespace: String,
}

fn decode(what: &str, text: &str) -> Result<Vec<u8>, Error> {
    base64::engine::general_purpose::STANDARD
        .decode(text.split_ascii_whitespace().collect::<String>())
        .map_err(|e| Error::Config(format!("kubeconfig: {what} is not base64: {e}")))
}

impl Kubeconfig {
    /// Reads a file; relative paths in it are relative to it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bad = |why: &dyn std::fmt::Display| {
            Error::Config(format!("kubeconfig {}: {why}", path.display()))
        };
        let text = std::fs::read(path).map_err(|e| bad(&e))?;
        let mut config = Self::parse(&text).map_err(|e| bad(&e))?;
        if let Some(dir) = path.parent() {
            let resolve = |file: &mut Option<PathBuf>| {
                if let Some(file) = file.as_mut().filter(|f| f.is_relative()) {
                    *file = dir.join(&file);
                }
            };
            config.clusters.iter_mut().for_each(|c| resolve(&mut c.cluster.certificate_authority));
            for user in config.users.iter_mut().map(|u| &mut u.user) {
                resolve(&mut user.client_certificate);
                resolve(&mut user.client_key);
                resolve(&mut user.token_file);
            }
        }
        Ok(config)
    }

    /// Reads the text of a kubeconfig (YAML or JSON).
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let parsed: Option<Self> =
            yaml_serde::from_slice(text).map_err(|e| Error::Config(e.to_string()))?;
        Ok(parsed.unwrap_or_default())
    }

    /// Adds what another file has under names this one lacks, as `KUBECONFIG=a:b` does.
    pub fn merge(&mut self, other: Self) {
        fn add<T>(into: &mut Vec<T>, from: Vec<T>, name: impl Fn(&T) -> &str) {
            for item in from {
                if !into.iter().any(|have| name(have) == name(&item)) {
                    into.push(item);
                }
            }
        }
        if self.current_context.is_empty() {
            self.current_context = other.current_context;
        }
        add(&mut self.clusters, other.clusters, |c| &c.name);
        add(&mut self.users, other.users, |u| &u.name);
        add(&mut self.contexts, other.contexts, |c| &c.name);
    }

    /// What a context stands for; the current one, or the only one, where none is named.
    pub fn config(&self, context: Option<&str>) -> Result<Config, Error> {
        let missing = |what: &str, name: &str| {
            Error::Config(format!("kubeconfig: there is no {what} named {name:?}"))
        };
        let wanted = context.unwrap_or(&self.current_context);
        let context = match (wanted, self.contexts.as_slice()) {
            ("", [only]) => &only.context,
            ("", _) => return Err(Error::Config("kubeconfig: no current context is set".into())),
            (name, all) => {
                let found = all.iter().find(|c| c.name == name);
                &found.ok_or_else(|| missing("context", name))?.context
            }
        };
        let cluster = self.clusters.iter().find(|c| c.name == context.cluster);
        let cluster = &cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
        let user = match self.users.iter().find(|u| u.name == context.user) {
            Some(named) => named.user.clone(),
            None if context.user.is_empty() => User::default(),
            None => return Err(missing("user", &context.user)),
        };
        if cluster.proxy_url.as_deref().is_some_and(|p| !p.is_empty()) {
            return Err(Error::Config("kubeconfig: proxy-url is not supported".into()));
        }
        let mut config = user.config()?;
        config.server.clone_from(&cluster.server);
        config.insecure = cluster.insecure_skip_tls_verify;
        config.server_name = cluster.tls_server_name.clone().filter(|n| !n.is_empty());
        config.namespace.clone_from(&context.namespace);
        config.ca = pem(
            "certificate-authority-data",
            cluster.certificate_authority_data.as_deref(),
            cluster.certificate_authority.as_deref(),
        )?;
        Ok(config)
    }
}

/// Data wins over a file.
fn pem(what: &str, data: Option<&str>, file: Option<&Path>) -> Result<Option<Pem>, Error> {
    if let Some(data) = data.filter(|d| !d.is_empty()) {
        return Ok(Some(Pem::Data(decode(what, data)?)));
    }
    Ok(file.filter(|f| !f.as_os_str().is_empty()).map(|f| Pem::File(f.to_owned())))
}

impl User {
    /// The part of a configuration that says who we are.
    fn config(self) -> Result<Config, Error> {
        for (plugin, what) in [(&self.exec, "exec"), (&self.auth_provider, "auth-provider")] {
            if plugin.as_ref().is_some_and(|p| !p.is_null()) {
                return Err(Error::Config(format!(
                    "kubeconfig: credentials from {what} plugins are not supported; use a client certificate or a token"
                )));
            }
        }
        let chain = pem(
            "client-certificate-data",
            self.client_certificate_data.as_deref(),
            self.client_certificate.as_deref(),
        )?;
        let key =
            pem("client-key-data", self.client_key_data.as_deref(), self.client_key.as_deref())?;
        let token_file = self.token_file.filter(|f| !f.as_os_str().is_empty());
        let credential = match (self.token.filter(|t| !t.is_empty()), token_file, self.username) {
            (_, Some(file), _) => Credential::TokenFile(file),
            (Some(token), None, _) => Credential::Token(token),
            (None, None, Some(user)) if !user.is_empty() => {
                Credential::Basic(user, self.password.unwrap_or_default())
            }
            _ => Credential::None,
        };
        Ok(Config {
            identity: chain.zip(key),
            credential,
            impersonate: Impersonate {
                user: self.act_as.unwrap_or_default(),
                uid: self.as_uid.unwrap_or_default(),
                groups: self.as_groups,
            },
            ..Config::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r"
apiVersion: v1
kind: Config
current-context: main
clusters:
- name: c
  cluster: {server: 'https://127.0.0.1:6443', certificate-authority: ca.pem, tls-server-name: api}
users:
- name: u
  user: {token: t, as: other, as-groups: [a, b]}
- name: plugin
  user: {exec: {command: aws}}
contexts:
- name: main
  context: {cluster: c, user: u, namespace: dev}
- name: bad
  context: {cluster: c, user: plugin}
preferences: {}
";

    #[test]
    fn contexts_resolve() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config");
        std::fs::write(&path, TEXT).expect("written");
        let kubeconfig = Kubeconfig::load(&path).expect("loads");
        let config = kubeconfig.config(None).expect("resolves");
        assert_eq!(config.ca, Some(Pem::File(dir.path().join("ca.pem"))));
        assert_eq!(config.credential, Credential::Token("t".into()));
        assert_eq!(config.server_name.as_deref(), Some("api"));
        assert_eq!(config.namespace, "dev");
        assert_eq!(config.impersonate.groups, ["a", "b"]);
        assert!(kubeconfig.config(Some("bad")).is_err());
        assert!(kubeconfig.config(Some("none")).is_err());
    }

    #[test]
    fn the_first_file_wins() {
        let mut a = Kubeconfig::parse(b"current-context: x\nclusters: null\n").expect("parses");
        a.merge(Kubeconfig::parse(TEXT.as_bytes()).expect("parses"));
        assert_eq!(a.current_context, "x");
        assert_eq!(a.contexts.len(), 2);
    }
}
