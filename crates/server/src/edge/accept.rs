//! What a client wants to get: media type and shape, out of its `Accept` header.
//!
//! Not here: making that form (`registry::form`).

use api::{ApiError, Reason};

/// The encoding of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Media {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Media {
    /// The `Content-Type` of a response in it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The media type of that name, without parameters; case does not matter.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Json, Self::Yaml, Self::Protobuf]
            .into_iter()
            .find(|m| m.content_type().eq_ignore_ascii_case(text))
    }
}

/// How objects are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shape {
    /// As they are.
    #[default]
    Object,
    /// `as=Table`, with the version of `meta.k8s.io`.
    Table(&'static str),
    /// `as=PartialObjectMetadata`.
    Metadata(&'static str),
    /// `as=PartialObjectMetadataList`.
    MetadataList(&'static str),
}

/// What shapes a response can be had in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shapes {
    /// As it is.
    Own,
    /// And its metadata.
    Metadata,
    /// And a table.
    All,
}

/// A negotiated form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Accept {
    /// The encoding.
    pub media: Media,
    /// The shape.
    pub shape: Shape,
}

const OBJECTS: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const STREAMS: &str =
    "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

fn not_acceptable(what: &str) -> ApiError {
    let message = format!("only the following media types are accepted: {what}");
    ApiError::new(Reason::NotAcceptable, message)
}

/// The first gate: whether the route makes any type that the header names. `list` routes also make
/// streams.
pub fn route(header: &str, list: bool) -> Result<(), ApiError> {
    let fits = |clause: &str| {
        let name = clause.split(';').next().unwrap_or("").trim();
        name == "*/*" || [OBJECTS.split(", ")].into_iter().flatten().any(|m| m == name)
    };
    if header.is_empty() || header.split(',').any(fits) {
        return Ok(());
    }
    let all = if list { format!("{OBJECTS}, {STREAMS}") } else { OBJECTS.to_owned() };
    let message = format!("406: Not Acceptable\n\nAvailable representations: {all}");
    let mut error = ApiError::new(Reason::NotAcceptable, message);
    error.generic = true;
    Err(error)
}

struct Clause<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<Clause<'_>> = header
        .split(',')
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or("");
            let mut quality = 1.0;
            let mut params = Vec::new();
            for part in parts {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                let value = value.trim().trim_matches('"');
                if key.trim() == "q" {
                    quality = value.parse().unwrap_or(1.0);
                } else {
                    params.push((key.trim(), value));
                }
            }
            Clause { media, params, quality }
        })
        .collect();
    // Stable: clauses of one quality keep their order.
    all.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    all
}

fn media_of(name: &str) -> Option<Media> {
    match name {
        "*/*" | "application/*" => Some(Media::Json),
        other => Media::parse(other),
    }
}

/// The shape that a clause's parameters ask for; `None` where this server has no such shape.
fn shape_of(clause: &Clause<'_>, media: Media, shapes: Shapes) -> Option<Shape> {
    let get = |key: &str| clause.params.iter().find(|(k, _)| *k == key).map_or("", |(_, v)| *v);
    let name = get("as");
    if name.is_empty() {
        return Some(Shape::Object);
    }
    if shapes == Shapes::Own || get("g") != "meta.k8s.io" {
        return None;
    }
    let version = ["v1", "v1beta1"].into_iter().find(|v| *v == get("v"))?;
    match name {
        "Table" if media != Media::Protobuf && shapes == Shapes::All => Some(Shape::Table(version)),
        "PartialObjectMetadata" => Some(Shape::Metadata(version)),
        "PartialObjectMetadataList" => Some(Shape::MetadataList(version)),
        _ => None,
    }
}

/// Chooses the form of a response. `protobuf`: whether it has a protobuf form.
pub fn negotiate(header: &str, shapes: Shapes, protobuf: bool) -> Result<Accept, ApiError> {
    if header.trim().is_empty() {
        return Ok(Accept::default());
    }
    for clause in clauses(header) {
        let Some(media) = media_of(clause.media) else { continue };
        match shape_of(&clause, media, shapes) {
            // What is made of an object has a protobuf form, though the object has none.
            Some(Shape::Object) if media == Media::Protobuf && !protobuf => {}
            Some(shape) => return Ok(Accept { media, shape }),
            None => {}
        }
    }
    Err(not_acceptable(OBJECTS))
}

/// Chooses the form of a watch, which has no YAML.
pub fn negotiate_stream(header: &str, protobuf: bool) -> Result<Accept, ApiError> {
    let accept = negotiate(header, Shapes::All, protobuf)?;
    if accept.media == Media::Yaml {
        return Err(not_acceptable(STREAMS));
    }
    Ok(accept)
}

/// The encoding of an error: whatever the client can read, else JSON.
pub fn for_error(header: &str) -> Media {
    negotiate(header, Shapes::Own, true).map(|accept| accept.media).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_back_in_order() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let got = negotiate(table, Shapes::All, true).expect("acceptable");
        assert_eq!(got.shape, Shape::Table("v1"));
        assert!(negotiate(table, Shapes::Metadata, true).is_err());
        assert_eq!(
            negotiate(&format!("{table},application/json"), Shapes::Metadata, true).expect("one"),
            Accept::default()
        );
        let old = format!("{},application/json", table.replace("v=v1", "v=v2"));
        assert_eq!(negotiate(&old, Shapes::All, true).expect("acceptable"), Accept::default());
        assert!(negotiate(&table.replace("v=v1", "v=v2"), Shapes::All, true).is_err());
        let proto = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(negotiate(proto, Shapes::All, true).expect("acceptable").media, Media::Protobuf);
        assert_eq!(negotiate(proto, Shapes::All, false).expect("acceptable").media, Media::Json);
        assert!(route("text/plain", true).is_err());
        assert!(route("text/plain, */*;q=0.1", true).is_ok());
    }
}
