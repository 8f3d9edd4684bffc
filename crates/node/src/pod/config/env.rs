//! A container's environment: variables of services, of whole configMaps and secrets, and its own.
//!
//! Fetching objects is the caller's: a [`Lookup`] hands them in. Not here: expansion syntax.

use std::borrow::Cow;
use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Service};

use super::expand::expand;
use super::fields::{Facts, field, resource};
use crate::pod::view::PodView;

/// Keys and values of a configMap or secret.
pub type Data = BTreeMap<String, Vec<u8>>;

/// Hands in configMaps and secrets of the pod's namespace; `None` where there is none.
pub trait Lookup: Send + Sync {
    /// A configMap.
    fn config_map<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Data>, String>>;
    /// A secret.
    fn secret<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Data>, String>>;
}

/// The variables that tell of services, as links between containers once did.
pub fn service_variables(services: &[Service]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None")
        else {
            continue;
        };
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first() else { continue };
        let name = variable(service.metadata.name.as_deref().unwrap_or(""));
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        out.insert(format!("{name}_SERVICE_HOST"), ip.to_owned());
        out.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
        let url = |p: &k8s_openapi::api::core::v1::ServicePort| {
            let protocol = p.protocol.as_deref().unwrap_or("TCP").to_lowercase();
            format!("{protocol}://{host}:{}", p.port)
        };
        out.insert(format!("{name}_PORT"), url(first));
        for port in ports {
            if let Some(n) = port.name.as_deref().filter(|n| !n.is_empty()) {
                out.insert(format!("{name}_SERVICE_PORT_{}", variable(n)), port.port.to_string());
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
            out.insert(format!("{prefix}_PROTO"), protocol.to_lowercase());
            out.insert(format!("{prefix}_PORT"), port.port.to_string());
            out.insert(format!("{prefix}_ADDR"), ip.to_owned());
            out.insert(prefix, url(port));
        }
    }
    out
}

fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// The variables of a container, sorted by name; an error says what was not found.
pub async fn variables(
    pod: &PodView,
    container: &Container,
    facts: &Facts,
    services: &BTreeMap<String, String>,
    lookup: &dyn Lookup,
) -> Result<BTreeMap<String, String>, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or("");
        let (kind, name, optional, data) = if let Some(r) = &from.config_map_ref {
            ("configmap", &r.name, r.optional, lookup.config_map(&r.name).await?)
        } else if let Some(r) = &from.secret_ref {
            ("secret", &r.name, r.optional, lookup.secret(&r.name).await?)
        } else {
            continue;
        };
        match data {
            Some(data) => {
                out.extend(data.into_iter().map(|(k, v)| {
                    (format!("{prefix}{k}"), String::from_utf8_lossy(&v).into_owned())
                }))
            }
            None if optional == Some(true) => {}
            None => return Err(format!("{kind} {name:?} not found")),
        }
    }
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) => expand(value, |name| {
                let known = out.get(name).or_else(|| services.get(name));
                known.map(|v| Cow::Owned(v.clone()))
            }),
            (None, Some(from)) => {
                if let Some(f) = &from.field_ref {
                    field(pod, facts, &f.field_path)?
                } else if let Some(r) = &from.resource_field_ref {
                    let of = r.container_name.as_deref().and_then(|n| pod.by_name(n));
                    resource(of.map_or(container, |(_, c)| c), facts, r)?
                } else if let Some(r) = &from.config_map_key_ref {
                    let data = lookup.config_map(&r.name).await?;
                    match key(data, "configmap", pod, &r.name, &r.key, r.optional)? {
                        Some(value) => value,
                        None => continue,
                    }
                } else if let Some(r) = &from.secret_key_ref {
                    let data = lookup.secret(&r.name).await?;
                    match key(data, "secret", pod, &r.name, &r.key, r.optional)? {
                        Some(value) => value,
                        None => continue,
                    }
                } else {
                    continue;
                }
            }
            (None, None) => String::new(),
        };
        out.insert(var.name.clone(), value);
    }
    for (name, value) in services {
        out.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(out)
}

fn key(
    data: Option<Data>,
    kind: &str,
    pod: &PodView,
    name: &str,
    key: &str,
    optional: Option<bool>,
) -> Result<Option<String>, String> {
    let optional = optional == Some(true);
    let Some(data) = data else {
        return if optional { Ok(None) } else { Err(format!("{kind} {name:?} not found")) };
    };
    match data.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional => Ok(None),
        None => {
            let kind = if kind == "secret" { "Secret" } else { "ConfigMap" };
            Err(format!("couldn't find key {key} in {kind} {}/{name}", pod.namespace()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::view::Kind;
    use crate::pod::view::tests::pod;

    struct One;

    impl Lookup for One {
        fn config_map<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Data>, String>> {
            let data = (name == "cm").then(|| Data::from([("K".to_owned(), b"v".to_vec())]));
            Box::pin(async move { Ok(data) })
        }

        fn secret<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Data>, String>> {
            Box::pin(async { Ok(None) })
        }
    }

    async fn make(env: serde_json::Value) -> Result<BTreeMap<String, String>, String> {
        let pod = pod(serde_json::json!({ "metadata": { "name": "p", "namespace": "n" },
            "spec": { "containers": [{ "name": "c", "env": env,
                "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "cm" } },
                            { "secretRef": { "name": "none", "optional": true } }] }] } }));
        let services = BTreeMap::from([("DB_SERVICE_HOST".to_owned(), "10.0.0.9".to_owned())]);
        variables(&pod, &pod.containers(Kind::Regular)[0], &Facts::default(), &services, &One).await
    }

    #[tokio::test]
    async fn sources_combine_and_expand() {
        let env = make(serde_json::json!([
            { "name": "A", "value": "$(P_K)/$(DB_SERVICE_HOST)/$(LATER)" },
            { "name": "LATER", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "O", "valueFrom": { "configMapKeyRef": { "name": "cm", "key": "x", "optional": true } } }
        ]))
        .await
        .expect("found");
        assert_eq!(env["A"], "v/10.0.0.9/$(LATER)");
        assert_eq!(env["LATER"], "p");
        assert!(!env.contains_key("O"));
        assert_eq!(env["DB_SERVICE_HOST"], "10.0.0.9");
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let of = |r: serde_json::Value| make(serde_json::json!([{ "name": "A", "valueFrom": r }]));
        let e = of(serde_json::json!({ "configMapKeyRef": { "name": "cm", "key": "x" } })).await;
        assert_eq!(e, Err("couldn't find key x in ConfigMap n/cm".into()));
        let e = of(serde_json::json!({ "secretKeyRef": { "name": "s", "key": "x" } })).await;
        assert_eq!(e, Err("secret \"s\" not found".into()));
    }

    #[test]
    fn services_become_variables() {
        let service: Service = serde_json::from_value(serde_json::json!({ "metadata": { "name": "my-db" },
            "spec": { "clusterIP": "10.0.0.9", "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }] } }))
        .expect("a service");
        let v = service_variables(&[service]);
        assert_eq!(v["MY_DB_SERVICE_HOST"], "10.0.0.9");
        assert_eq!(v["MY_DB_SERVICE_PORT_SQL"], "5432");
        assert_eq!(v["MY_DB_PORT_5432_TCP"], "tcp://10.0.0.9:5432");
        assert_eq!(v["MY_DB_PORT_5432_TCP_ADDR"], "10.0.0.9");
        assert_eq!(v.len(), 8);
    }
}
