//! The calls of the CRI's two services over one unix socket.
//!
//! Every call has a deadline: a runtime that hangs must not hang a pod worker with it. Not here:
//! retries and back-off, which belong to whoever knows what the call was for.

use std::path::Path;
use std::time::Duration;

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::container::{
    AttachRequest, AttachResponse, CheckpointContainerRequest, Container, ContainerFilter,
    ContainerStatus, ContainerStatusRequest, ContainerStatusResponse, CreateContainerRequest,
    CreateContainerResponse, ExecRequest, ExecResponse, ExecSyncRequest, ExecSyncResponse,
    ListContainersRequest, ListContainersResponse, RemoveContainerRequest,
    ReopenContainerLogRequest, StartContainerRequest, StopContainerRequest,
    UpdateContainerResourcesRequest,
};
use super::image::{
    Image, ImageFsInfoRequest, ImageFsInfoResponse, ImageSpec, ImageStatusRequest,
    ImageStatusResponse, ListImagesRequest, ListImagesResponse, PullImageRequest,
    PullImageResponse, RemoveImageRequest,
};
use super::runtime::{
    ContainerEventResponse, GetEventsRequest, RuntimeConfigRequest, RuntimeConfigResponse,
    StatusRequest, StatusResponse, UpdateRuntimeConfigRequest, VersionRequest, VersionResponse,
};
use super::sandbox::PodSandboxStatusRequest as RemovePodSandboxRequest;
use super::sandbox::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxConfig, PodSandboxFilter,
    PodSandboxStatus, PodSandboxStatusRequest, PodSandboxStatusResponse, PortForwardRequest,
    PortForwardResponse, RunPodSandboxRequest, RunPodSandboxResponse, StopPodSandboxRequest,
    UpdatePodSandboxResourcesRequest,
};
use super::stats::{
    ContainerStats, ListContainerStatsRequest, ListContainerStatsResponse,
    ListMetricDescriptorsRequest, ListMetricDescriptorsResponse, ListPodSandboxMetricsRequest,
    ListPodSandboxMetricsResponse, ListPodSandboxStatsRequest, ListPodSandboxStatsResponse,
    PodSandboxStats,
};

/// The deadline of a call that works (creates, starts, removes).
const WORK: Duration = Duration::from_secs(240);
/// The deadline of a call that only looks.
const LOOK: Duration = Duration::from_secs(60);
/// The deadline of pulling an image: there for a dead runtime, not for a slow registry.
const PULL: Duration = Duration::from_secs(6 * 3600);
/// Lists of very many containers or images exceed gRPC's default of 4 MiB.
const MAX_MESSAGE: usize = 64 << 20;

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CriError {
    /// The runtime cannot be reached.
    #[error("container runtime is not reachable: {0}")]
    Unreachable(String),
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The call is not known to this runtime.
    #[error("the container runtime does not implement {0}")]
    Unimplemented(String),
    /// The call took too long.
    #[error("{0}: deadline exceeded")]
    Deadline(&'static str),
    /// Any other refusal, in the runtime's words.
    #[error("rpc error: code = {code:?} desc = {message}")]
    Failed {
        /// gRPC's code.
        code: Code,
        /// The runtime's message.
        message: String,
    },
}

impl CriError {
    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// The runtime's message without the code, as containers' waiting messages show it.
    pub fn message(&self) -> String {
        match self {
            Self::Failed { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }

    fn from_status(call: &'static str, status: &Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound(message),
            Code::Unimplemented => Self::Unimplemented(call.to_owned()),
            Code::Unavailable => Self::Unreachable(message),
            code => Self::Failed { code, message },
        }
    }
}

/// The empty answer of the calls that answer nothing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

/// A connection to a CRI runtime. Cheap to clone; connects when first used and again after a loss.
#[derive(Clone, Debug)]
pub struct Cri {
    channel: Channel,
}

/// A lazily connected channel to a gRPC server on a unix socket.
pub fn unix_channel(socket: &Path) -> Result<Channel, CriError> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
        .map_err(|e| CriError::Unreachable(format!("{}: {e}", socket.display())))?;
    Ok(endpoint.connect_timeout(Duration::from_secs(5)).connect_lazy())
}

async fn unary<Q, A>(
    channel: &Channel,
    path: &'static str,
    request: Q,
    deadline: Duration,
) -> Result<A, CriError>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE);
    let call = async {
        grpc.ready().await.map_err(|e| CriError::Unreachable(chain(&e)))?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let answer = grpc
            .unary(Request::new(request), PathAndQuery::from_static(path), codec)
            .await
            .map_err(|s| CriError::from_status(path, &s))?;
        Ok(answer.into_inner())
    };
    let begun = tokio::time::Instant::now();
    let result =
        tokio::time::timeout(deadline, call).await.map_err(|_| CriError::Deadline(path)).flatten();
    crate::metrics::runtime_operation(path, begun.elapsed(), result.is_ok());
    result
}

/// An error with its causes: transport errors say little by themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $service:literal $method:literal ($request:ty) -> $answer:ty, $deadline:expr;)*) => {
        impl Cri {
            $($(#[$doc])*
            pub async fn $name(&self, request: $request) -> Result<$answer, CriError> {
                unary(&self.channel, concat!("/runtime.v1.", $service, "/", $method), request, $deadline).await
            })*
        }
    };
}

calls! {
    /// The runtime's name and version.
    version = "RuntimeService" "Version" (VersionRequest) -> VersionResponse, LOOK;
    /// Readiness of the runtime and its network.
    status = "RuntimeService" "Status" (StatusRequest) -> StatusResponse, LOOK;
    /// What the runtime is configured to (cgroup driver).
    runtime_config = "RuntimeService" "RuntimeConfig" (RuntimeConfigRequest) -> RuntimeConfigResponse, LOOK;
    /// Tells the runtime the node's pod range.
    update_runtime_config = "RuntimeService" "UpdateRuntimeConfig" (UpdateRuntimeConfigRequest) -> Empty, LOOK;
    /// Creates and starts a sandbox, its network included.
    run_pod_sandbox = "RuntimeService" "RunPodSandbox" (RunPodSandboxRequest) -> RunPodSandboxResponse, WORK;
    /// Stops what runs in a sandbox and takes its network down; repeating it is no error.
    stop_pod_sandbox = "RuntimeService" "StopPodSandbox" (StopPodSandboxRequest) -> Empty, WORK;
    /// Removes a sandbox and its containers.
    remove_pod_sandbox = "RuntimeService" "RemovePodSandbox" (RemovePodSandboxRequest) -> Empty, WORK;
    /// A sandbox in full.
    pod_sandbox_status = "RuntimeService" "PodSandboxStatus" (PodSandboxStatusRequest) -> PodSandboxStatusResponse, LOOK;
    /// Changes a sandbox's resources.
    update_pod_sandbox_resources = "RuntimeService" "UpdatePodSandboxResources" (UpdatePodSandboxResourcesRequest) -> Empty, LOOK;
    /// Creates a container in a sandbox.
    create_container = "RuntimeService" "CreateContainer" (CreateContainerRequest) -> CreateContainerResponse, WORK;
    /// Starts a created container.
    start_container = "RuntimeService" "StartContainer" (StartContainerRequest) -> Empty, WORK;
    /// Removes a container, killing it if need be.
    remove_container = "RuntimeService" "RemoveContainer" (RemoveContainerRequest) -> Empty, WORK;
    /// A container in full.
    container_status = "RuntimeService" "ContainerStatus" (ContainerStatusRequest) -> ContainerStatusResponse, LOOK;
    /// Changes a running container's resources.
    update_container_resources = "RuntimeService" "UpdateContainerResources" (UpdateContainerResourcesRequest) -> Empty, LOOK;
    /// Makes the runtime open a container's log file again.
    reopen_container_log = "RuntimeService" "ReopenContainerLog" (ReopenContainerLogRequest) -> Empty, LOOK;
    /// Prepares a streaming exec and answers its URL.
    exec = "RuntimeService" "Exec" (ExecRequest) -> ExecResponse, LOOK;
    /// Prepares a streaming attach and answers its URL.
    attach = "RuntimeService" "Attach" (AttachRequest) -> AttachResponse, LOOK;
    /// Prepares a port-forward and answers its URL.
    port_forward = "RuntimeService" "PortForward" (PortForwardRequest) -> PortForwardResponse, LOOK;
    /// Writes a container to disk.
    checkpoint_container = "RuntimeService" "CheckpointContainer" (CheckpointContainerRequest) -> Empty, WORK;
    /// The metrics that the runtime can give.
    list_metric_descriptors = "RuntimeService" "ListMetricDescriptors" (ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse, LOOK;
    /// Metrics of every sandbox.
    list_pod_sandbox_metrics = "RuntimeService" "ListPodSandboxMetrics" (ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse, LOOK;
    /// Fetches an image.
    pull_image = "ImageService" "PullImage" (PullImageRequest) -> PullImageResponse, PULL;
    /// Removes an image.
    remove_image = "ImageService" "RemoveImage" (RemoveImageRequest) -> Empty, WORK;
    /// How much the images' filesystem holds.
    image_fs_info = "ImageService" "ImageFsInfo" (ImageFsInfoRequest) -> ImageFsInfoResponse, LOOK;
}

const LIST_SANDBOXES: &str = "/runtime.v1.RuntimeService/ListPodSandbox";
const LIST_CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
const STOP_CONTAINER: &str = "/runtime.v1.RuntimeService/StopContainer";
const EXEC_SYNC: &str = "/runtime.v1.RuntimeService/ExecSync";
const EVENTS: &str = "/runtime.v1.RuntimeService/GetContainerEvents";
const CONTAINER_STATS: &str = "/runtime.v1.RuntimeService/ListContainerStats";
const SANDBOX_STATS: &str = "/runtime.v1.RuntimeService/ListPodSandboxStats";
const IMAGE_STATUS: &str = "/runtime.v1.ImageService/ImageStatus";
const LIST_IMAGES: &str = "/runtime.v1.ImageService/ListImages";

/// The stream of [`Cri::container_events`].
pub type ContainerEvents = tonic::Streaming<ContainerEventResponse>;

impl Cri {
    /// A client of the runtime behind a unix socket.
    pub fn new(socket: &Path) -> Result<Self, CriError> {
        Ok(Self { channel: unix_channel(socket)? })
    }

    /// The channel itself, for the runtime's own further services on the same socket.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Every sandbox that the filter lets through.
    pub async fn list_pod_sandboxes(
        &self,
        filter: Option<PodSandboxFilter>,
    ) -> Result<Vec<PodSandbox>, CriError> {
        let request = ListPodSandboxRequest { filter };
        unary::<_, ListPodSandboxResponse>(&self.channel, LIST_SANDBOXES, request, LOOK)
            .await
            .map(|a| a.items)
    }

    /// Every container that the filter lets through.
    pub async fn list_containers(
        &self,
        filter: Option<ContainerFilter>,
    ) -> Result<Vec<Container>, CriError> {
        let request = ListContainersRequest { filter };
        unary::<_, ListContainersResponse>(&self.channel, LIST_CONTAINERS, request, LOOK)
            .await
            .map(|a| a.containers)
    }

    /// A sandbox's status.
    pub async fn sandbox(&self, id: &str) -> Result<PodSandboxStatus, CriError> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = self.pod_sandbox_status(request).await?;
        answer.status.ok_or_else(|| CriError::NotFound(format!("sandbox {id} has no status")))
    }

    /// A container's status.
    pub async fn container(&self, id: &str) -> Result<ContainerStatus, CriError> {
        let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.container_status(request).await?;
        answer.status.ok_or_else(|| CriError::NotFound(format!("container {id} has no status")))
    }

    /// Starts a sandbox and answers its id.
    pub async fn run_sandbox(
        &self,
        config: PodSandboxConfig,
        handler: &str,
    ) -> Result<String, CriError> {
        let request =
            RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        self.run_pod_sandbox(request).await.map(|a| a.pod_sandbox_id)
    }

    /// Stops a sandbox; one that is gone counts as stopped.
    pub async fn stop_sandbox(&self, id: &str) -> Result<(), CriError> {
        gone_is_done(
            self.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await,
        )
    }

    /// Removes a sandbox; one that is gone counts as removed.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        gone_is_done(self.remove_pod_sandbox(request).await)
    }

    /// Stops a container: the stop signal, then after `grace` SIGKILL.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = StopContainerRequest { container_id: id.to_owned(), timeout };
        gone_is_done(unary::<_, Empty>(&self.channel, STOP_CONTAINER, request, grace + WORK).await)
    }

    /// Removes a container; one that is gone counts as removed.
    pub async fn delete_container(&self, id: &str) -> Result<(), CriError> {
        let request = RemoveContainerRequest { container_id: id.to_owned() };
        gone_is_done(self.remove_container(request).await)
    }

    /// Runs a command in a container and waits for its end. A timeout is reported as
    /// [`CriError::Deadline`] whoever noticed it.
    pub async fn exec_sync(
        &self,
        id: &str,
        cmd: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecSyncResponse, CriError> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: seconds };
        let deadline = if timeout.is_zero() { PULL } else { timeout + Duration::from_secs(10) };
        match unary(&self.channel, EXEC_SYNC, request, deadline).await {
            Err(CriError::Failed { code: Code::DeadlineExceeded, .. }) => {
                Err(CriError::Deadline("ExecSync"))
            }
            other => other,
        }
    }

    /// The runtime's events, where it has them.
    pub async fn container_events(&self) -> Result<ContainerEvents, CriError> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        grpc.ready().await.map_err(|e| CriError::Unreachable(chain(&e)))?;
        let codec: ProstCodec<GetEventsRequest, ContainerEventResponse> = ProstCodec::default();
        let request = Request::new(GetEventsRequest {});
        grpc.server_streaming(request, PathAndQuery::from_static(EVENTS), codec)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|s| CriError::from_status(EVENTS, &s))
    }

    /// Usage of every container.
    pub async fn container_stats(&self) -> Result<Vec<ContainerStats>, CriError> {
        let request = ListContainerStatsRequest { filter: None };
        unary::<_, ListContainerStatsResponse>(&self.channel, CONTAINER_STATS, request, LOOK)
            .await
            .map(|a| a.stats)
    }

    /// Usage of every sandbox.
    pub async fn sandbox_stats(&self) -> Result<Vec<PodSandboxStats>, CriError> {
        let request = ListPodSandboxStatsRequest { filter: None };
        unary::<_, ListPodSandboxStatsResponse>(&self.channel, SANDBOX_STATS, request, LOOK)
            .await
            .map(|a| a.stats)
    }

    /// An image if it is present.
    pub async fn image(&self, image: &str) -> Result<Option<Image>, CriError> {
        let spec = ImageSpec { image: image.to_owned(), ..Default::default() };
        let request = ImageStatusRequest { image: Some(spec), verbose: false };
        unary::<_, ImageStatusResponse>(&self.channel, IMAGE_STATUS, request, LOOK)
            .await
            .map(|a| a.image)
    }

    /// Every image present.
    pub async fn images(&self) -> Result<Vec<Image>, CriError> {
        let request = ListImagesRequest { filter: None };
        unary::<_, ListImagesResponse>(&self.channel, LIST_IMAGES, request, LOOK)
            .await
            .map(|a| a.images)
    }
}

fn gone_is_done(result: Result<Empty, CriError>) -> Result<(), CriError> {
    match result {
        Ok(Empty {}) => Ok(()),
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) => Err(e),
    }
}
