//! ServiceAccount: every pod runs as one; its token is mounted, its pull secrets are taken over.

use api::clock::Rng;
use api::{ApiError, Map, Object, Resource, Value, resource};
use futures_util::future::BoxFuture;
use serde_json::json;

use super::lookup::{Lookup, done, forbidden, is_mirror, is_pod, list_mut, maps, text};
use crate::gate::{Admission, Operation, Write};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// The plugin.
pub struct ServiceAccount {
    /// Service accounts.
    pub look: Lookup,
    /// Names of volumes.
    pub rng: Rng,
}

impl ServiceAccount {
    fn account(&self, write: &Write<'_>, name: &str) -> Result<Object, ApiError> {
        let found = self.look.object(&resource::SERVICE_ACCOUNTS, write.namespace, name);
        found.ok_or_else(|| {
            let namespace = write.namespace;
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            );
            forbidden(write, &why)
        })
    }

    /// Returns the account, where the pod has one.
    fn fill_in(&self, write: &mut Write<'_>) -> Result<Option<Object>, ApiError> {
        let Some(pod) = &mut write.object else { return Ok(None) };
        if is_mirror(pod) {
            return Ok(None);
        }
        let spec = pod.map_mut("spec");
        if text(spec, "serviceAccountName").is_empty() {
            spec.insert("serviceAccountName".into(), "default".into());
        }
        let name = text(spec, "serviceAccountName").to_owned();
        // The name that old clients know.
        spec.insert("serviceAccount".into(), name.clone().into());
        let account = self.account(write, &name)?;
        let Some(pod) = &mut write.object else { return Ok(None) };
        let spec = pod.map_mut("spec");
        let wish = |value: Option<&Value>| value.and_then(Value::as_bool);
        let mount = wish(spec.get("automountServiceAccountToken"))
            .or_else(|| wish(account.at("automountServiceAccountToken")))
            .unwrap_or(true);
        if mount {
            self.mount_token(spec);
        }
        if maps(spec.get("imagePullSecrets")).next().is_none()
            && let Some(Value::Array(secrets)) = account.at("imagePullSecrets")
            && !secrets.is_empty()
        {
            spec.insert("imagePullSecrets".into(), secrets.clone().into());
        }
        Ok(Some(account))
    }

    fn mount_token(&self, spec: &mut Map<String, Value>) {
        let names: Vec<&str> = maps(spec.get("volumes")).map(|v| text(v, "name")).collect();
        let existing = names.iter().find(|name| name.starts_with(VOLUME_PREFIX));
        let (name, there) = match existing {
            Some(name) => ((*name).to_owned(), true),
            None => (format!("{VOLUME_PREFIX}{}", self.rng.name_suffix(5)), false),
        };
        let mut needed = false;
        for list in ["initContainers", "containers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            for container in containers.filter_map(Value::as_object_mut) {
                let mounted = maps(container.get("volumeMounts"))
                    .any(|mount| text(mount, "mountPath") == MOUNT_PATH);
                if !mounted {
                    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
                    list_mut(container, "volumeMounts").push(mount);
                    needed = true;
                }
            }
        }
        if needed && !there {
            list_mut(spec, "volumes").push(token_volume(&name));
        }
    }

    /// `account` is the pod's, where it is at hand.
    fn check(&self, write: &Write<'_>, account: Option<Object>) -> Result<(), ApiError> {
        let Some(pod) = &write.object else { return Ok(()) };
        let empty = Map::new();
        let spec = pod.at("spec").and_then(Value::as_object).unwrap_or(&empty);
        if is_mirror(pod) {
            if !text(spec, "serviceAccountName").is_empty() {
                return Err(forbidden(write, "a mirror pod may not reference service accounts"));
            }
            if let Some(what) = api_reference(spec) {
                let why = format!("a mirror pod may not reference {what}");
                return Err(forbidden(write, &why));
            }
            return Ok(());
        }
        let account = match account {
            Some(account) => account,
            None => self.account(write, text(spec, "serviceAccountName"))?,
        };
        if account.annotation(ENFORCE) == Some("true") {
            secrets_fault(spec, &account).map_or(Ok(()), |why| Err(forbidden(write, &why)))?;
        }
        Ok(())
    }
}

fn token_volume(name: &str) -> Value {
    let namespace = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]}})
}

/// What of the API a pod refers to, service accounts apart; `None` if nothing.
pub fn api_reference(spec: &Map<String, Value>) -> Option<&'static str> {
    if maps(spec.get("imagePullSecrets")).next().is_some() {
        return Some("secrets");
    }
    for (_, container) in containers(spec) {
        for from in maps(container.get("envFrom")) {
            if from.contains_key("configMapRef") {
                return Some("configmaps");
            }
            if from.contains_key("secretRef") {
                return Some("secrets");
            }
        }
        for from in maps(container.get("env")).filter_map(|e| e.get("valueFrom")?.as_object()) {
            if from.contains_key("configMapKeyRef") {
                return Some("configmaps");
            }
            if from.contains_key("secretKeyRef") {
                return Some("secrets");
            }
        }
    }
    const HARMLESS: [&str; 6] = ["name", "emptyDir", "hostPath", "downwardAPI", "gitRepo", "image"];
    maps(spec.get("volumes")).flat_map(Map::keys).find_map(|kind| match kind.as_str() {
        "configMap" => Some("configmaps (via configMap volumes)"),
        "secret" => Some("secrets (via secret volumes)"),
        "persistentVolumeClaim" => Some("persistentvolumeclaims"),
        "projected" => Some("projected volumes"),
        other if HARMLESS.contains(&other) => None,
        _ => Some("volumes that need API objects"),
    })
}

fn containers(
    spec: &Map<String, Value>,
) -> impl Iterator<Item = (&'static str, &Map<String, Value>)> {
    let kinds = [
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ];
    kinds.into_iter().flat_map(|(list, word)| maps(spec.get(list)).map(move |c| (word, c)))
}

/// A secret that the account does not name.
fn secrets_fault(spec: &Map<String, Value>, account: &Object) -> Option<String> {
    let names =
        |path: &str| -> Vec<&str> { maps(account.at(path)).map(|s| text(s, "name")).collect() };
    let (mountable, pullable) = (names("secrets"), names("imagePullSecrets"));
    let account = account.name();
    let tail = format!("is not allowed because service account {account} does not reference that");
    for volume in maps(spec.get("volumes")) {
        let secret = volume.get("secret").and_then(Value::as_object);
        if let Some(name) = secret.map(|s| text(s, "secretName")).filter(|n| !mountable.contains(n))
        {
            return Some(format!("volume with secret.secretName={name:?} {tail} secret"));
        }
    }
    for (word, container) in containers(spec) {
        let of = text(container, "name");
        for env in maps(container.get("env")) {
            let name =
                env.get("valueFrom").and_then(|v| v.get("secretKeyRef")?.get("name")?.as_str());
            if let Some(name) = name.filter(|n| !mountable.contains(n)) {
                let var = text(env, "name");
                return Some(format!(
                    "{word} {of} with envVar {var} referencing secret.secretName={name:?} {tail} secret"
                ));
            }
        }
        for from in maps(container.get("envFrom")) {
            let name = from.get("secretRef").and_then(|r| r.get("name")?.as_str());
            if let Some(name) = name.filter(|n| !mountable.contains(n)) {
                return Some(format!(
                    "{word} {of} with envFrom referencing secret.secretName={name:?} {tail} secret"
                ));
            }
        }
    }
    for (i, secret) in maps(spec.get("imagePullSecrets")).enumerate() {
        let name = text(secret, "name");
        if !pullable.contains(&name) {
            return Some(format!("imagePullSecrets[{i}].name={name:?} {tail} imagePullSecret"));
        }
    }
    None
}

impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create && is_pod(resource, subresource)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(self.fill_in(write).and_then(|account| self.check(write, account)))
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(self.check(write, None))
    }
}
