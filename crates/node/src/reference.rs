//! Names of images: `[registry[:port]/]path[:tag][@digest]`, as the distribution project's reference
//! grammar has them.
//!
//! Not here: images (`images`).

use std::borrow::Cow;

/// A name's path (with its registry) may not be longer.
const MAX_NAME: usize = 255;
/// A tag may not be longer.
const MAX_TAG: usize = 128;

/// The name with the tag that it means where it gives neither tag nor digest.
///
/// # Errors
/// What is wrong with it, in the words that users know.
pub fn with_tag(name: &str) -> Result<Cow<'_, str>, &'static str> {
    const FORMAT: &str = "invalid reference format";
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    // A colon after the last slash starts a tag; one before is a port's.
    let path_at = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match rest[path_at..].split_once(':') {
        Some((last, tag)) => (&rest[..path_at + last.len()], Some(tag)),
        None => (rest, None),
    };
    if digest.is_some_and(|d| !is_digest(d)) || tag.is_some_and(|t| !is_tag(t)) {
        return Err(FORMAT);
    }
    let repository = match path.split_once('/') {
        Some((first, repository)) if is_registry(first) => {
            if !valid_registry(first) {
                return Err(FORMAT);
            }
            repository
        }
        _ => path,
    };
    if !repository.split('/').all(is_component) {
        let lower = repository.to_ascii_lowercase();
        let only_case = lower != repository && lower.split('/').all(is_component);
        return Err(if only_case {
            "invalid reference format: repository name must be lowercase"
        } else {
            FORMAT
        });
    }
    if path.len() > MAX_NAME {
        return Err("repository name must not be more than 255 characters");
    }
    Ok(match (tag, digest) {
        (None, None) => Cow::Owned(format!("{name}:latest")),
        _ => Cow::Borrowed(name),
    })
}

/// Whether a name's first part is a registry rather than a directory of the default one.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.contains(char::is_uppercase)
}

fn valid_registry(host: &str) -> bool {
    let (host, port) = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((address, rest)) => {
            let port = match rest {
                "" => None,
                rest => rest.strip_prefix(':').or(Some("")),
            };
            let six = address.parse::<std::net::Ipv6Addr>().is_ok();
            return six && port.is_none_or(is_port);
        }
        None => match host.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || matches!(b, b'.' | b'-'))
        && tag.len() <= MAX_TAG
}

/// `algorithm:hex`, at least 32 digits.
fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let part = |p: &str| {
        p.starts_with(|c: char| c.is_ascii_alphabetic())
            && p.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['+', '.', '-', '_']).all(part)
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Lower-case letters and digits, with single dots, one or two underscores or any dashes between.
fn is_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().copied().is_some_and(word) && bytes.last().copied().is_some_and(word);
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && separators
        .filter(|s| !s.is_empty())
        .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, full) in [
            ("nginx", Some("nginx:latest")),
            ("library/nginx:1.27", Some("library/nginx:1.27")),
            ("registry.k8s.io/pause", Some("registry.k8s.io/pause:latest")),
            ("localhost:5000/a/b", Some("localhost:5000/a/b:latest")),
            ("127.0.0.1:5000/a:v1", Some("127.0.0.1:5000/a:v1")),
            ("[::1]:5000/a", Some("[::1]:5000/a:latest")),
            ("a__b/c---d/e.f", Some("a__b/c---d/e.f:latest")),
            ("", None),
            ("a b", None),
            ("a:", None),
            ("a:-x", None),
            ("/a", None),
            ("a//b", None),
            ("a/", None),
            ("a___b", None),
            ("a..b", None),
            ("-a", None),
            ("host.io:port/a", None),
            ("a@sha256:short", None),
        ] {
            assert_eq!(with_tag(name).ok().as_deref(), full, "{name}");
        }
        let pinned = format!("a@{digest}");
        assert_eq!(with_tag(&pinned).as_deref(), Ok(pinned.as_str()));
        assert_eq!(
            with_tag("Upper"),
            Err("invalid reference format: repository name must be lowercase")
        );
        assert!(with_tag(&format!("{}/a", "a/".repeat(130))).is_err());
    }
}
