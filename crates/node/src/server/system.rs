//! `/logs`: the machine's log files, as a directory of pages.
//!
//! Not here: containers' logs (`logs`), who may look.

use std::path::{Component, Path, PathBuf};

use api::percent;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use super::route::decoded;
use super::{Body, respond, text};

/// Where the machine's logs are.
const ROOT: &str = "/var/log";

/// Answers a request for a path behind `/logs`.
pub async fn answer(path: &str) -> Response<Body> {
    serve(Path::new(ROOT), path.strip_prefix("/logs").unwrap_or(path)).await
}

async fn serve(root: &Path, path: &str) -> Response<Body> {
    let missing = || text(StatusCode::NOT_FOUND, "404 page not found");
    let Some(file) = inside(root, &decoded(&path.replace('+', "%2B"))) else { return missing() };
    let Ok(meta) = tokio::fs::metadata(&file).await else { return missing() };
    match (meta.is_dir(), path.ends_with('/')) {
        (true, false) => moved(&format!("{}/", path.rsplit('/').next().unwrap_or("logs"))),
        (true, true) => listing(&file).await.unwrap_or_else(|_| missing()),
        (false, _) if meta.is_file() => match File::open(&file).await {
            Ok(file) => stream(file),
            Err(_) => missing(),
        },
        _ => missing(),
    }
}

/// The file that a path means; none where it leads out of the root.
fn inside(root: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    (relative.components().all(plain) && !path.contains('\0')).then(|| root.join(relative))
}

fn moved(to: &str) -> Response<Body> {
    let mut response = respond(StatusCode::MOVED_PERMANENTLY, "text/plain", Vec::new());
    let to = if to == "/" { "logs/" } else { to };
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

async fn listing(dir: &Path) -> std::io::Result<Response<Body>> {
    let mut entries = tokio::fs::read_dir(dir).await?;
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let slash = if entry.path().is_dir() { "/" } else { "" };
        names.push(format!("{}{slash}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    let mut page = String::from(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n",
    );
    for name in names {
        page.push_str(&format!(
            "<a href=\"{}\">{}</a>\n",
            percent::encode(&name, percent::PATH),
            in_page(&name)
        ));
    }
    page.push_str("</pre>\n");
    Ok(respond(StatusCode::OK, "text/html; charset=utf-8", page.into_bytes()))
}

fn stream(file: File) -> Response<Body> {
    use futures_util::StreamExt;
    let chunks =
        ReaderStream::new(file).map(|chunk: std::io::Result<Bytes>| chunk.map(Frame::data));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(chunks)));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn in_page(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(root: &Path, path: &str) -> (StatusCode, String) {
        let response = serve(root, path).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn files_and_directories() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("log");
        std::fs::create_dir_all(root.join("apt")).expect("made");
        std::fs::write(root.join("a <b>.log"), "line\n").expect("written");
        std::fs::write(dir.path().join("secret"), "x").expect("written");
        let (status, page) = get(&root, "/").await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("<a href=\"apt/\">apt/</a>\n"), "{page}");
        assert!(page.contains("<a href=\"a%20%3Cb%3E.log\">a &lt;b&gt;.log</a>\n"), "{page}");
        assert_eq!(get(&root, "/a%20%3Cb%3E.log").await, (StatusCode::OK, "line\n".into()));
        assert_eq!(get(&root, "/apt").await.0, StatusCode::MOVED_PERMANENTLY);
        for out in ["/../secret", "/apt/../../secret", "/%2e%2e/secret", "/none", "//etc/passwd"] {
            assert_eq!(get(&root, out).await.0, StatusCode::NOT_FOUND, "{out}");
        }
    }
}
