//! `/containerLogs`: a container's log from where the client wants it, for as long as it wants it.
//!
//! The kernel says when a file has grown; nothing is looked at in between. Not here: the lines' form
//! ([`crate::logs`]).

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::inotify;
use tokio::fs::File;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::route::{Place, values};
use super::{Body, text};
use crate::kubelet::Kubelet;
use crate::logs::parse;
use crate::pod::observed::State;

/// How often it is looked whether the container still runs, while its log is silent.
const ALIVE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Options {
    follow: bool,
    timestamps: bool,
    tail: Option<usize>,
    since: Option<Timestamp>,
    limit: Option<u64>,
}

fn options(query: &str, now: Timestamp) -> Result<Options, String> {
    let one = |key: &str| values(query, key).pop().filter(|v| !v.is_empty());
    let on = |key: &str| {
        one(key).is_some_and(|v| matches!(v.as_str(), "1" | "t" | "true" | "True" | "TRUE"))
    };
    let number = |key: &str| -> Result<Option<u64>, String> {
        one(key)
            .map(|v| v.parse().map_err(|_| format!("invalid value for {key}: {v:?}")))
            .transpose()
    };
    let since = match (number("sinceSeconds")?, one("sinceTime")) {
        (Some(_), Some(_)) => {
            return Err("at most one of `sinceTime` or `sinceSeconds` may be specified".into());
        }
        (Some(seconds), None) => {
            let back = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            now.checked_sub(back).ok()
        }
        (None, Some(time)) => Some(
            api::clock::parse_time(&time)
                .ok_or_else(|| format!("invalid value for sinceTime: {time:?}"))?,
        ),
        (None, None) => None,
    };
    Ok(Options {
        follow: on("follow"),
        timestamps: on("timestamps"),
        tail: number("tailLines")?.and_then(|n| usize::try_from(n).ok()),
        since,
        limit: number("limitBytes")?,
    })
}

/// Answers a request for logs.
pub async fn answer(kubelet: &Arc<Kubelet>, rest: &[&str], query: Option<&str>) -> Response<Body> {
    let query = query.unwrap_or("");
    let place = match Place::find(kubelet, rest, true) {
        Ok(place) => place,
        Err(response) => return *response,
    };
    let options = match options(query, kubelet.clock.now()) {
        Ok(options) => options,
        Err(e) => return text(StatusCode::UNPROCESSABLE_ENTITY, e),
    };
    let previous = values(query, "previous").iter().any(|v| v == "true" || v == "1");
    let name = &place.container;
    let pod = place.snapshot.pod.name();
    let observed = &place.snapshot.observed;
    let container = if previous {
        let current = observed.latest(name);
        // One that waits for its restart is the previous one itself.
        let found = observed.previous(name).or(current.filter(|c| c.state == State::Exited));
        match found {
            Some(c) => c,
            None => {
                let message =
                    format!("previous terminated container {name:?} in pod {pod:?} not found");
                return text(StatusCode::BAD_REQUEST, message);
            }
        }
    } else {
        match observed.latest(name) {
            Some(c) if c.state != State::Created => c,
            _ => return text(StatusCode::BAD_REQUEST, waiting(&place)),
        }
    };
    let path = PathBuf::from(&container.log_path);
    let file = match File::open(&path).await {
        Ok(file) => file,
        Err(e) => {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("failed to try resolving symlinks in path {:?}: {e}", container.log_path),
            );
        }
    };
    let (sender, receiver) = mpsc::channel(16);
    let reader = Reader {
        kubelet: Arc::clone(kubelet),
        uid: place.snapshot.pod.uid().to_owned(),
        id: container.id.clone(),
        path,
        out: sender,
        left: options.limit.unwrap_or(u64::MAX),
        options,
    };
    tokio::spawn(async move {
        // A client that goes away ends it by its channel.
        if let Err(error) = reader.run(file).await {
            tracing::debug!(%error, "a log cannot be read");
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|bytes| (bytes, receiver))
    });
    let body =
        StreamBody::new(stream.map(|bytes: Bytes| Ok::<_, std::io::Error>(Frame::data(bytes))));
    let mut response = Response::new(BodyExt::boxed(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Why there is no log yet.
fn waiting(place: &Place) -> String {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let status = lists
        .iter()
        .filter_map(|l| place.snapshot.status.get(*l)?.as_array())
        .flatten()
        .find(|s| s["name"] == place.container.as_str());
    let reason = status.and_then(|s| s["state"]["waiting"]["reason"].as_str());
    let (name, pod) = (&place.container, place.snapshot.pod.name());
    match reason {
        Some("ErrImagePull" | "ImagePullBackOff") => {
            format!(
                "container {name:?} in pod {pod:?} is waiting to start: trying and failing to pull image"
            )
        }
        Some(reason) => format!("container {name:?} in pod {pod:?} is waiting to start: {reason}"),
        None => format!("container {name:?} in pod {pod:?} is not available"),
    }
}

struct Reader {
    kubelet: Arc<Kubelet>,
    uid: String,
    id: String,
    path: PathBuf,
    out: mpsc::Sender<Bytes>,
    options: Options,
    left: u64,
}

impl Reader {
    async fn run(mut self, mut file: File) -> std::io::Result<()> {
        // Watched before the first read: nothing written in between is missed.
        let watch = if self.options.follow { Watch::new(&self.path).ok() } else { None };
        if let Some(lines) = self.options.tail {
            let at = tail_offset(&mut file, lines).await?;
            file.seek(SeekFrom::Start(at)).await?;
        }
        let mut pending = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let running = self.running();
            loop {
                let n = file.read(&mut buffer).await?;
                if n == 0 {
                    break;
                }
                pending.extend_from_slice(&buffer[..n]);
                if !self.send(&mut pending).await {
                    return Ok(());
                }
            }
            let Some(watch) = &watch else { return Ok(()) };
            if let Some(next) = self.rotated(&file).await {
                file = next;
                continue;
            }
            // Asked before the last read: what it wrote before it ended has been sent.
            if !running {
                return Ok(());
            }
            tokio::select! {
                () = self.out.closed() => return Ok(()),
                () = watch.changed() => {}
                () = tokio::time::sleep(ALIVE) => {}
            }
        }
    }

    fn running(&self) -> bool {
        let pods = self.kubelet.pods.read();
        let Some(handle) = pods.get(&self.uid) else { return false };
        let snapshot = handle.snapshot.lock();
        snapshot.observed.containers.iter().any(|c| c.id == self.id && c.state == State::Running)
    }

    /// The file that has taken the place of ours.
    async fn rotated(&self, file: &File) -> Option<File> {
        let ours = file.metadata().await.ok()?;
        let now = tokio::fs::metadata(&self.path).await.ok()?;
        if (now.ino(), now.dev()) == (ours.ino(), ours.dev()) {
            return None;
        }
        File::open(&self.path).await.ok()
    }

    /// Sends the whole lines of `pending`; false when there is nothing more to send.
    async fn send(&mut self, pending: &mut Vec<u8>) -> bool {
        let Some(end) = pending.iter().rposition(|b| *b == b'\n') else { return true };
        let rest = pending.split_off(end + 1);
        let lines = std::mem::replace(pending, rest);
        let mut out = Vec::with_capacity(lines.len());
        for raw in lines.split_inclusive(|b| *b == b'\n') {
            let Some(line) = parse(raw) else { continue };
            if let Some(since) = self.options.since
                && api::clock::parse_time(line.time).is_some_and(|t| t < since)
            {
                continue;
            }
            if self.options.timestamps {
                out.extend_from_slice(line.time.as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line.text);
            if !line.partial {
                out.push(b'\n');
            }
        }
        let keep = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        out.truncate(keep);
        self.left -= keep as u64;
        if !out.is_empty() && self.out.send(Bytes::from(out)).await.is_err() {
            return false;
        }
        self.left > 0
    }
}

/// Where the last lines begin.
async fn tail_offset(file: &mut File, lines: usize) -> std::io::Result<u64> {
    const BLOCK: u64 = 16 << 10;
    let size = file.metadata().await?.len();
    if lines == 0 {
        return Ok(size);
    }
    let mut found = 0;
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut block).await?;
        for (i, byte) in block.iter().enumerate().rev() {
            let at = start + i as u64;
            // The line end of the last line ends no other.
            if *byte == b'\n' && at + 1 < size {
                found += 1;
                if found == lines {
                    return Ok(at + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

/// Tells when files of a directory change.
struct Watch(AsyncFd<std::os::fd::OwnedFd>);

impl Watch {
    fn new(path: &Path) -> std::io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, path.parent().unwrap_or(path), flags)?;
        crate::containerd::async_fd(fd).map(Self)
    }

    async fn changed(&self) {
        let Ok(mut guard) = self.0.readable().await else { return };
        let mut buffer = [0u8; 4096];
        // What changed does not matter, only that something did.
        while rustix::io::read(&self.0, &mut buffer).is_ok_and(|n| n > 0) {}
        guard.clear_ready();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tails_begin_at_lines() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let text: String = (0..5000).map(|i| format!("t stdout F line {i}\n")).collect();
        tokio::fs::write(&path, &text).await.expect("written");
        let mut file = File::open(&path).await.expect("open");
        for lines in [0, 1, 3, 4999, 5000, 9000] {
            let at = tail_offset(&mut file, lines).await.expect("read");
            let rest = &text[usize::try_from(at).expect("small")..];
            assert_eq!(rest.lines().count(), lines.min(5000));
        }
    }

    #[test]
    fn options_are_read() {
        let now = Timestamp::from_second(1000).expect("in range");
        let o = options("follow=true&tailLines=7&sinceSeconds=10&limitBytes=5", now).expect("fine");
        assert_eq!((o.follow, o.tail, o.limit), (true, Some(7), Some(5)));
        assert_eq!(o.since.map(Timestamp::as_second), Some(990));
        assert!(options("tailLines=x", now).is_err());
    }
}
