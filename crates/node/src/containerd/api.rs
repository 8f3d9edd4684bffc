//! The calls of containerd's own API that the CRI does not have: its event stream, writing content,
//! and naming an image.
//!
//! Messages are the facts of that API. Not here: anything the CRI can do.

use std::collections::HashMap;
use std::time::Duration;

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::pause::{Blob, Image};

/// The containerd namespace in which the CRI plugin keeps everything.
const NAMESPACE: &str = "k8s.io";

/// The topic of the event by which a subscription is known to stand.
const SUBSCRIBED: &str = "/isopod/subscribed";

#[derive(Clone, PartialEq, prost::Message)]
struct PublishRequest {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(message, optional, tag = "2")]
    event: Option<AnyMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SubscribeRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// An event as it travels.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    /// containerd's namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// As in `/tasks/exit`.
    #[prost(string, tag = "3")]
    pub topic: String,
    #[prost(message, optional, tag = "4")]
    event: Option<AnyMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyMessage {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// What task events have in common: the container's id first.
#[derive(Clone, PartialEq, prost::Message)]
struct TaskEvent {
    #[prost(string, tag = "1")]
    container_id: String,
    /// In an exit event: the container's own id, or that of an exec in it.
    #[prost(string, tag = "2")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WriteContentRequest {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(string, tag = "2")]
    r#ref: String,
    #[prost(int64, tag = "3")]
    total: i64,
    #[prost(string, tag = "4")]
    expected: String,
    #[prost(int64, tag = "5")]
    offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    data: Vec<u8>,
    #[prost(map = "string, string", tag = "7")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WriteContentResponse {
    #[prost(int32, tag = "1")]
    action: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Descriptor {
    #[prost(string, tag = "1")]
    media_type: String,
    #[prost(string, tag = "2")]
    digest: String,
    #[prost(int64, tag = "3")]
    size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NamedImage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(map = "string, string", tag = "2")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "3")]
    target: Option<Descriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<NamedImage>,
}

/// containerd's `WriteAction.COMMIT`: write these bytes and finish.
const COMMIT: i32 = 2;

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}

async fn ready(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    Ok(grpc)
}

fn exists_is_done<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Ok(_) => Ok(()),
        Err(s) if s.code() == Code::AlreadyExists => Ok(()),
        Err(s) => Err(s),
    }
}

async fn write(channel: &Channel, blob: &Blob, labels: &[(&str, &str)]) -> Result<(), Status> {
    let mut grpc = ready(channel.clone()).await?;
    let size = i64::try_from(blob.data.len()).unwrap_or(i64::MAX);
    let message = WriteContentRequest {
        action: COMMIT,
        r#ref: format!("isopod-{}", blob.digest),
        total: size,
        expected: blob.digest.clone(),
        offset: 0,
        data: blob.data.clone(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    let path = PathAndQuery::from_static("/containerd.services.content.v1.Content/Write");
    let codec: ProstCodec<WriteContentRequest, WriteContentResponse> = ProstCodec::default();
    let stream = futures_util::stream::iter([message]);
    let written = async {
        let mut answers = grpc.streaming(request(stream), path, codec).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    };
    exists_is_done(written.await)
}

/// Puts an image into containerd's store under `name`. Idempotent.
pub async fn import(channel: &Channel, name: &str, image: &Image, now: &str) -> Result<(), Status> {
    // Rooted, so that no garbage collection between these calls takes a part away; the image's
    // references keep them afterwards.
    let root = ("containerd.io/gc.root", now);
    write(channel, &image.layer, &[root]).await?;
    write(channel, &image.config, &[root]).await?;
    let references = [
        root,
        ("containerd.io/gc.ref.content.config", image.config.digest.as_str()),
        ("containerd.io/gc.ref.content.l.0", image.layer.digest.as_str()),
    ];
    write(channel, &image.manifest, &references).await?;
    let named = NamedImage {
        name: name.to_owned(),
        labels: [("io.cri-containerd.image".to_owned(), "managed".to_owned())].into(),
        target: Some(Descriptor {
            media_type: image.manifest.media_type.to_owned(),
            digest: image.manifest.digest.clone(),
            size: i64::try_from(image.manifest.data.len()).unwrap_or(i64::MAX),
        }),
    };
    let mut grpc = ready(channel.clone()).await?;
    let path = PathAndQuery::from_static("/containerd.services.images.v1.Images/Create");
    let codec: ProstCodec<ImageRequest, ImageRequest> = ProstCodec::default();
    exists_is_done(grpc.unary(request(ImageRequest { image: Some(named) }), path, codec).await)
}

/// What happened to a container's main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskChange {
    /// It ended.
    Exit(String),
    /// The kernel killed something in it for lack of memory.
    OutOfMemory(String),
}

/// Publishes an event that says nothing.
async fn publish(channel: Channel) -> Result<(), Status> {
    let mut grpc = ready(channel).await?;
    let path = PathAndQuery::from_static("/containerd.services.events.v1.Events/Publish");
    let codec: ProstCodec<PublishRequest, ()> = ProstCodec::default();
    let event = AnyMessage { type_url: "isopod/Subscribed".into(), value: Vec::new() };
    let publish = PublishRequest { topic: SUBSCRIBED.into(), event: Some(event) };
    grpc.unary(request(publish), path, codec).await.map(|_| ())
}

/// containerd's task events, as they happen.
pub struct TaskEvents(tonic::Streaming<Envelope>);

impl TaskEvents {
    /// Subscribes; fails with `Unimplemented` where the runtime is not containerd. Every change after
    /// the answer is told: containerd answers with its first event, and so that there is one, an event
    /// of our own is published until then.
    pub async fn subscribe(channel: Channel) -> Result<Self, Status> {
        let mut grpc = ready(channel.clone()).await?;
        let path = PathAndQuery::from_static("/containerd.services.events.v1.Events/Subscribe");
        let codec: ProstCodec<SubscribeRequest, Envelope> = ProstCodec::default();
        let filters = ["/tasks/exit", "/tasks/oom", SUBSCRIBED]
            .map(|t| format!("namespace=={NAMESPACE},topic==\"{t}\""))
            .to_vec();
        let stream = grpc.server_streaming(request(SubscribeRequest { filters }), path, codec);
        let mut stream = std::pin::pin!(stream);
        let mut pause = Duration::from_millis(10);
        loop {
            tokio::select! {
                answer = &mut stream => return Ok(Self(answer?.into_inner())),
                () = tokio::time::sleep(pause) => publish(channel.clone()).await?,
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// The next change; `None` when containerd has gone.
    pub async fn next(&mut self) -> Option<TaskChange> {
        loop {
            let envelope = self.0.message().await.ok()??;
            let value = envelope.event.map(|e| e.value).unwrap_or_default();
            let Ok(event) = <TaskEvent as prost::Message>::decode(&value[..]) else { continue };
            match envelope.topic.as_str() {
                // The end of an exec is not the end of the container.
                "/tasks/exit" if event.id == event.container_id => {
                    return Some(TaskChange::Exit(event.container_id));
                }
                "/tasks/oom" => return Some(TaskChange::OutOfMemory(event.container_id)),
                _ => {}
            }
        }
    }
}
