//! Files of a volume that are in each other's way.

use std::fmt;

use api::{Map, Value};

use crate::admission::lookup::{maps, text};

/// A file, and what it comes from where there is more than one source.
#[derive(Clone, PartialEq)]
struct File {
    path: String,
    source: String,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.source {
            "" => write!(f, "{:?}", self.path),
            source => write!(f, "{:?} ({source})", self.path),
        }
    }
}

/// The files that a list names.
fn items(list: Option<&Value>, source: &str) -> Vec<File> {
    maps(list).map(|item| file(text(item, "path"), source)).collect()
}

fn file(path: &str, source: &str) -> File {
    File { path: path.to_owned(), source: source.to_owned() }
}

/// Advises about a volume.
pub fn overlaps(volume: &Map<String, Value>, out: &mut Vec<String>) {
    let name = text(volume, "name");
    let of = |field: &str| volume.get(field).and_then(Value::as_object);
    for (field, title, key) in
        [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")]
    {
        if let Some(source) = of(field) {
            let of = format!("{title} {:?}", text(source, key));
            check(&mut Vec::new(), items(source.get("items"), ""), (name, &of), out);
        }
    }
    if let Some(source) = of("downwardAPI") {
        check(&mut Vec::new(), items(source.get("items"), ""), (name, "DownwardAPI"), out);
    }
    let mut known = Vec::new();
    for source in maps(of("projected").and_then(|projected| projected.get("sources"))) {
        if source.values().all(Value::is_null) {
            out.push(format!("volume {name:?} (Projected) has no sources provided"));
        } else {
            check(&mut known, projected(source), (name, "Projected"), out);
        }
    }
}

fn projected(source: &Map<String, Value>) -> Vec<File> {
    let of = |field: &str| source.get(field).and_then(Value::as_object);
    for (field, title) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if let Some(map) = of(field).filter(|map| map.contains_key("items")) {
            return items(map.get("items"), &format!("{title} {:?}", text(map, "name")));
        }
    }
    if let Some(map) = of("downwardAPI").filter(|map| map.contains_key("items")) {
        return items(map.get("items"), "DownwardAPI");
    }
    if let Some(map) = of("serviceAccountToken") {
        return vec![file(text(map, "path"), "ServiceAccountToken")];
    }
    if let Some(map) = of("clusterTrustBundle") {
        let name = if map.contains_key("name") { "name" } else { "signerName" };
        let source = format!("ClusterTrustBundle {:?}", text(map, name));
        return vec![file(text(map, "path"), &source)];
    }
    let Some(map) = of("podCertificate") else { return Vec::new() };
    let parts = [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ];
    let given = parts.iter().filter(|(field, _)| !text(map, field).is_empty());
    given.map(|(field, source)| file(text(map, field), source)).collect()
}

/// Says which of the new files are at, above or below known ones.
fn check(known: &mut Vec<File>, new: Vec<File>, (name, of): (&str, &str), out: &mut Vec<String>) {
    let below = |a: &File, b: &File| format!("{}/", a.path).starts_with(&format!("{}/", b.path));
    for mut file in new {
        file.path = file.path.trim_end_matches('/').to_owned();
        let others = known.iter().filter(|other| !other.path.is_empty() && !file.path.is_empty());
        for other in others.filter(|other| below(other, &file) || below(&file, other)) {
            out.push(format!("volume {name:?} ({of}): overlapping paths: {file} with {other}"));
        }
        known.push(file);
    }
}
