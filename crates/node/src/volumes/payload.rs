//! What configMap, secret, downwardAPI and projected volumes show: files out of objects and fields.
//!
//! Not here: writing them (`atomic`), or fetching tokens (`token`).

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Volume};

use super::atomic::{File, Payload};
use super::token::Tokens;
use crate::pod::config::env::{Data, Lookup};
use crate::pod::config::fields::{Facts, field, resource};
use crate::pod::view::{Kind, PodView};

/// What a payload is made from.
pub struct Source<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// The node's facts and the pod's addresses.
    pub facts: &'a Facts,
    /// Its configMaps and secrets.
    pub lookup: &'a dyn Lookup,
    /// Service account tokens.
    pub tokens: &'a Tokens,
}

fn mode(value: Option<i32>) -> u32 {
    value.and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644)
}

fn add(payload: &mut Payload, path: &str, data: Vec<u8>, mode: u32) {
    payload.insert(path.to_owned(), File { data, mode, owner: None });
}

/// All keys, or those that `items` names, under the paths that it gives.
fn keys(
    payload: &mut Payload,
    data: Option<Data>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    default_mode: u32,
    what: &str,
) -> Result<(), String> {
    let Some(data) = data else {
        return if optional { Ok(()) } else { Err(format!("{what} not found")) };
    };
    match items.filter(|i| !i.is_empty()) {
        None => {
            for (key, value) in data {
                add(payload, &key, value, default_mode);
            }
        }
        Some(items) => {
            for item in items {
                match data.get(&item.key) {
                    Some(value) => {
                        let mode = item.mode.map_or(default_mode, |m| mode(Some(m)));
                        add(payload, &item.path, value.clone(), mode);
                    }
                    None if optional => {}
                    None => {
                        return Err(format!("references non-existent {what} key: {}", item.key));
                    }
                }
            }
        }
    }
    Ok(())
}

impl Source<'_> {
    fn downward(
        &self,
        payload: &mut Payload,
        items: Option<&[DownwardAPIVolumeFile]>,
        default_mode: u32,
    ) -> Result<(), String> {
        for item in items.unwrap_or_default() {
            let text = if let Some(f) = &item.field_ref {
                field(self.pod, self.facts, &f.field_path)?
            } else if let Some(r) = &item.resource_field_ref {
                let name = r.container_name.as_deref().unwrap_or("");
                let (_, container) =
                    self.pod.by_name(name).ok_or_else(|| format!("container {name} not found"))?;
                resource(container, self.facts, r)?
            } else {
                continue;
            };
            let mode = item.mode.map_or(default_mode, |m| mode(Some(m)));
            add(payload, &item.path, text.into_bytes(), mode);
        }
        Ok(())
    }

    async fn projected(&self, source: &ProjectedVolumeSource) -> Result<Payload, String> {
        let default_mode = mode(source.default_mode);
        let mut payload = Payload::new();
        for part in source.sources.iter().flatten() {
            // A configmap and a secret have the same shape under two names.
            let keyed = if let Some(s) = &part.config_map {
                let data = self.lookup.config_map(&s.name).await?;
                Some((data, "configmap", &s.name, &s.items, s.optional))
            } else if let Some(s) = &part.secret {
                let data = self.lookup.secret(&s.name).await?;
                Some((data, "secret", &s.name, &s.items, s.optional))
            } else {
                None
            };
            if let Some((data, kind, name, items, optional)) = keyed {
                let what = format!("{kind} {name:?}");
                let optional = optional == Some(true);
                keys(&mut payload, data, items.as_deref(), optional, default_mode, &what)?;
            } else if let Some(s) = &part.downward_api {
                self.downward(&mut payload, s.items.as_deref(), default_mode)?;
            } else if let Some(s) = &part.service_account_token {
                let token = self
                    .tokens
                    .get(
                        self.pod,
                        s.audience.as_deref().unwrap_or(""),
                        s.expiration_seconds.unwrap_or(3600),
                    )
                    .await?;
                let (mode, owner) = self.token_access(default_mode);
                let file = File { data: token.into_bytes(), mode, owner };
                payload.insert(s.path.clone(), file);
            } else {
                return Err("this kind of projected source is not supported".into());
            }
        }
        Ok(payload)
    }

    /// Who may read a token: the one user of all containers if there is one, the pod's group if it
    /// has one, else everyone in the containers.
    fn token_access(&self, default_mode: u32) -> (u32, Option<u32>) {
        let of_pod = self.pod.spec.security_context.as_ref();
        let mut users =
            [Kind::Init, Kind::Regular].into_iter().flat_map(|k| self.pod.containers(k)).map(|c| {
                let own = c.security_context.as_ref().and_then(|s| s.run_as_user);
                own.or(of_pod.and_then(|s| s.run_as_user))
            });
        let first = users.next().flatten();
        let one = first.filter(|f| users.all(|u| u == Some(*f)));
        let has_group = of_pod.is_some_and(|s| s.fs_group.is_some());
        match one.and_then(|u| u32::try_from(u).ok()) {
            Some(user) => (0o600, Some(user)),
            None if has_group => (0o600, None),
            None => (default_mode, None),
        }
    }

    /// The files of a volume; `None` where it is of another kind.
    pub async fn payload(&self, volume: &Volume) -> Result<Option<Payload>, String> {
        let mut payload = Payload::new();
        if let Some(s) = &volume.config_map {
            let data = self.lookup.config_map(&s.name).await?;
            let what = format!("configmap {:?}", s.name);
            keys(
                &mut payload,
                data,
                s.items.as_deref(),
                s.optional == Some(true),
                mode(s.default_mode),
                &what,
            )?;
        } else if let Some(s) = &volume.secret {
            let name = s.secret_name.as_deref().unwrap_or("");
            let data = self.lookup.secret(name).await?;
            let what = format!("secret {name:?}");
            keys(
                &mut payload,
                data,
                s.items.as_deref(),
                s.optional == Some(true),
                mode(s.default_mode),
                &what,
            )?;
        } else if let Some(s) = &volume.downward_api {
            self.downward(&mut payload, s.items.as_deref(), mode(s.default_mode))?;
        } else if let Some(s) = &volume.projected {
            payload = self.projected(s).await?;
        } else {
            return Ok(None);
        }
        Ok(Some(payload))
    }
}
