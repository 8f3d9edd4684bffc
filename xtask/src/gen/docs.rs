//! `tables/docs.z`: what the API's documentation says of each type and field, out of the sources of
//! the `k8s-openapi` crate (Apache-2.0): the schemas of its `schemars` feature carry the texts.
//!
//! The texts are read out of the crate's source rather than out of the built crate, which takes
//! minutes to build with that feature. Not here: how the blob is read (`api::docs`).

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde_json::Value;

/// The version of the API, as a folder of the crate.
const API: &str = "v1_36";

/// What a type's schema says.
#[derive(Default)]
struct Texts {
    own: String,
    fields: BTreeMap<String, String>,
}

/// The text in the blob: a type a line, after it its fields, each with its text; `=n` is the text of
/// the n-th line that has one of its own. `None` where the crate's source is not on this machine.
pub fn text() -> Result<Option<String>> {
    let Some(source) = source()? else { return Ok(None) };
    let mut types = BTreeMap::new();
    folder(&source.join("src").join(API), &mut types)?;
    if types.len() < 600 {
        bail!("{}: only {} types with schemas", source.display(), types.len());
    }
    let mut out = String::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut put = |out: &mut String, head: &str, text: &str| {
        out.push_str(head);
        if let Some(at) = known.get(text) {
            out.push_str(&format!(" ={at}\n"));
            return;
        }
        known.insert(text.to_owned(), known.len());
        out.push(' ');
        out.push_str(&text.replace('\\', "\\\\").replace('\n', "\\n"));
        out.push('\n');
    };
    for (name, texts) in &types {
        put(&mut out, name, &texts.own);
        for (field, text) in &texts.fields {
            put(&mut out, &format!("\t{field}"), text);
        }
    }
    Ok(Some(out))
}

/// The blob of a text.
pub fn pack(text: &str) -> Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

/// The text of a blob; empty where it is none.
pub fn unpack(blob: &[u8]) -> String {
    let mut text = String::new();
    match ZlibDecoder::new(blob).read_to_string(&mut text) {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}

/// Where cargo keeps the crate.
fn source() -> Result<Option<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        return Ok(None);
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "k8s-openapi")
        .find_map(|package| package["manifest_path"].as_str());
    Ok(manifest.and_then(|path| Some(Path::new(path).parent()?.to_owned())))
}

fn folder(dir: &Path, types: &mut BTreeMap<String, Texts>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            folder(&path, types)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path)?;
            if let Some((name, texts)) = schema(&source) {
                types.insert(name, texts);
            }
        }
    }
    Ok(())
}

/// The schema in a source file, if it has one with a name of its own (that of lists is made).
fn schema(source: &str) -> Option<(String, Texts)> {
    let (_, source) = source.split_once("JsonSchema for ")?;
    let (head, body) = source.split_once("json_schema!(")?;
    let name = tokens(head).find_map(|token| match token {
        Token::Text(name) => Some(name),
        _ => None,
    })?;
    let mut texts = read(body);
    // One type says in its own text what its field holds.
    let fields: Vec<&String> =
        texts.fields.iter().filter(|(_, text)| text.is_empty()).map(|(field, _)| field).collect();
    let moved = fields.into_iter().find_map(|field| {
        let (own, rest) = texts.own.split_once("\n\n")?;
        let starts = rest.to_lowercase().starts_with(&format!("{field} is:"));
        starts.then(|| (field.clone(), own.to_owned(), rest.trim_end().to_owned()))
    });
    if let Some((field, own, text)) = moved {
        texts.own = own;
        texts.fields.insert(field, text);
    }
    Some((name, texts))
}

enum Token {
    Text(String),
    Open,
    Close,
    Colon,
    Other,
}

/// Reads an object literal whose values are literals or Rust expressions.
fn read(body: &str) -> Texts {
    let mut texts = Texts::default();
    let (mut depth, mut in_properties) = (1, false);
    let mut field: Option<String> = None;
    let mut tokens = tokens(body).peekable();
    while let Some(token) = tokens.next() {
        match token {
            Token::Open => depth += 1,
            Token::Close => {
                depth -= 1;
                in_properties &= depth > 2;
                if depth == 0 {
                    break;
                }
            }
            Token::Text(key) => {
                let is_key = matches!(tokens.peek(), Some(Token::Colon));
                match (depth, in_properties) {
                    (2, _) if key == "properties" && is_key => in_properties = true,
                    (2, _) if key == "description" && is_key => {
                        texts.own = next_text(&mut tokens, &mut depth);
                    }
                    (3, true) if is_key => {
                        texts.fields.insert(key.clone(), String::new());
                        field = Some(key);
                    }
                    // A value beside the key, or one put into a reference's schema.
                    (4, true) if key == "description" && is_key => {
                        put(&mut texts, &field, next_text(&mut tokens, &mut depth));
                    }
                    (6, true) if key == "description" && !is_key => {
                        put(&mut texts, &field, next_text(&mut tokens, &mut depth));
                    }
                    _ => {}
                }
            }
            Token::Colon | Token::Other => {}
        }
    }
    texts
}

fn put(texts: &mut Texts, field: &Option<String>, text: String) {
    if let Some(old) = field.as_ref().and_then(|field| texts.fields.get_mut(field)) {
        *old = text;
    }
}

fn next_text(tokens: &mut impl Iterator<Item = Token>, depth: &mut i32) -> String {
    for token in tokens {
        match token {
            Token::Text(text) => return text,
            Token::Open => *depth += 1,
            Token::Close => *depth -= 1,
            Token::Colon | Token::Other => {}
        }
    }
    String::new()
}

/// The tokens of Rust source that matter here.
fn tokens(source: &str) -> impl Iterator<Item = Token> + '_ {
    let mut chars = source.chars();
    std::iter::from_fn(move || {
        Some(match chars.next()? {
            '{' | '(' | '[' => Token::Open,
            '}' | ')' | ']' => Token::Close,
            ':' => Token::Colon,
            '"' => {
                let mut text = String::new();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            'n' => text.push('\n'),
                            't' => text.push('\t'),
                            other => text.push(other),
                        },
                        other => text.push(other),
                    }
                }
                Token::Text(text)
            }
            _ => Token::Other,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_literals_and_of_references() {
        let source = r##"
            impl crate::schemars::JsonSchema for X {
                fn schema_name() -> Cow<'static, str> { "a.v1.X".into() }
                fn json_schema(__gen: &mut G) -> Schema {
                    crate::schemars::json_schema!({
                        "description": "An \"X\".\nTwo lines.",
                        "type": "object",
                        "properties": {
                            "plain": { "description": "Plain.", "items": { "type": "string" } },
                            "other": ({
                                let mut schema_obj = __gen.subschema_for::<crate::Y>();
                                schema_obj.ensure_object().insert("description".into(), "Other.".into());
                                schema_obj
                            }),
                            "object": (__gen.subschema_for::<crate::Z>()),
                        },
                        "required": ["description"],
                    })
                }
            }"##;
        let (name, texts) = schema(source).unwrap();
        assert_eq!(name, "a.v1.X");
        assert_eq!(texts.own, "An \"X\".\nTwo lines.");
        let fields: Vec<(&str, &str)> =
            texts.fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(fields, [("object", ""), ("other", "Other."), ("plain", "Plain.")]);
    }

    #[test]
    fn a_blob_comes_back() {
        assert_eq!(unpack(&pack("a text").unwrap()), "a text");
        assert_eq!(unpack(b"no blob"), "");
    }
}
