//! The typed client: verbs on resources, over a transport.
//!
//! Not here: connections and credentials (`https`), caches (`informer`).

use std::sync::Arc;

use api::{ApiError, Resource, percent};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::options::{DeleteOptions, ListOptions, Patch, Query};
use crate::transport::{Body, Transport, Upgraded};
use crate::watch::WatchStream;
use crate::{Result, metrics};

/// A client of an API server. Cheap to clone.
///
/// Answers are read as any `T: DeserializeOwned`: [`api::Object`], a k8s-openapi type, a struct of the
/// few fields needed, or [`IgnoredAny`] where nobody looks. An empty namespace stands for "none": a
/// cluster-scoped object, or all namespaces.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// A page of objects.
#[derive(Clone, Debug)]
pub struct List<T> {
    /// The objects.
    pub items: Vec<T>,
    /// The revision of the list, to watch from.
    pub resource_version: String,
    /// Token of the next page, empty on the last.
    pub continue_token: String,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct RawList<T> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default = "Option::default")]
    items: Option<Vec<T>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: String,
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The content that goes out, already serialised.
struct Content {
    bytes: Bytes,
    media: HeaderValue,
}

fn json_content(body: &(impl Serialize + ?Sized)) -> Result<Content> {
    let bytes = serde_json::to_vec(body).map_err(|e| Error::decode("request body", e))?;
    Ok(Content { bytes: bytes.into(), media: JSON })
}

impl Client {
    /// A client over a transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// The transport underneath.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Sends a request as it is; error statuses are returned as responses.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>> {
        let method = request.method().clone();
        let answer = self.transport.send(request).await;
        metrics::request(&method, answer.as_ref().map(|r| r.status().as_u16()).ok());
        answer
    }

    /// Sends a request as it is; error statuses become errors.
    pub async fn request(&self, request: Request<Bytes>) -> Result<Response<Body>> {
        let response = self.send(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let body = response.into_body().bytes().await.unwrap_or_default();
        let mut error = ApiError::from_response(status.as_u16(), &body);
        if let (Some(seconds), None) = (retry_after, error.details.get("retryAfterSeconds")) {
            error.details.insert("retryAfterSeconds".into(), seconds.into());
        }
        Err(error.into())
    }

    /// A request by method, path with query, and body (JSON unless empty).
    pub async fn raw(
        &self,
        method: Method,
        path_and_query: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response<Body>> {
        let bytes: Bytes = body.into();
        self.request(build(method, path_and_query, Some(Content { bytes, media: JSON }))?).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Option<Content>,
    ) -> Result<T> {
        let response = self.request(build(method, path, content)?).await?;
        let bytes = response.into_body().bytes().await?;
        api::lean::from_slice(&bytes).map_err(|e| Error::decode(path, e))
    }

    /// Reads an object.
    pub async fn get<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<T> {
        self.call(Method::GET, &path(resource, namespace, name, None), None).await
    }

    /// Reads a subresource.
    pub async fn get_sub<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        sub: &str,
    ) -> Result<T> {
        self.call(Method::GET, &path(resource, namespace, name, Some(sub)), None).await
    }

    /// Reads one page of a collection.
    pub async fn list<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<List<T>> {
        let path = collection(resource, namespace, options, false);
        let raw: RawList<T> = self.call(Method::GET, &path, None).await?;
        Ok(List {
            items: raw.items.unwrap_or_default(),
            resource_version: raw.metadata.resource_version,
            continue_token: raw.metadata.continue_token,
        })
    }

    /// Creates an object.
    pub async fn create<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T> {
        let path = resource.path(Some(namespace), None, None);
        self.call(Method::POST, &path, Some(json_content(body)?)).await
    }

    /// Posts to a subresource (`binding`, `eviction`, `token`).
    pub async fn create_sub<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        sub: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T> {
        let path = path(resource, namespace, name, Some(sub));
        self.call(Method::POST, &path, Some(json_content(body)?)).await
    }

    /// Replaces an object or subresource. Only for whole objects: what a typed view dropped is lost.
    pub async fn replace<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        sub: Option<&str>,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T> {
        let path = path(resource, namespace, name, sub);
        self.call(Method::PUT, &path, Some(json_content(body)?)).await
    }

    /// Patches an object or subresource.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        sub: Option<&str>,
        patch: Patch<'_>,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T> {
        let path = patch.query().onto(&path(resource, namespace, name, sub));
        let mut content = json_content(body)?;
        content.media = HeaderValue::from_static(patch.content_type());
        self.call(Method::PATCH, &path, Some(content)).await
    }

    /// Deletes an object. The answer (a status, or the object while it terminates) is dropped.
    pub async fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<()> {
        self.delete_as::<IgnoredAny>(resource, namespace, name, options).await.map(drop)
    }

    /// Deletes an object and reads the answer: the object where it still terminates, else a status.
    pub async fn delete_as<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<T> {
        let path = path(resource, namespace, name, None);
        self.call(Method::DELETE, &path, Some(json_content(&options.body())?)).await
    }

    /// Deletes all selected objects of a collection.
    pub async fn delete_collection(
        &self,
        resource: &Resource,
        namespace: &str,
        options: &DeleteOptions,
        select: &ListOptions,
    ) -> Result<()> {
        let path = collection(resource, namespace, select, false);
        let content = json_content(&options.body())?;
        self.call::<IgnoredAny>(Method::DELETE, &path, Some(content)).await.map(drop)
    }

    /// Watches a collection from `options.resource_version`.
    pub async fn watch(
        &self,
        resource: &Resource,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<WatchStream> {
        let path = collection(resource, namespace, options, true);
        let response = self.request(build(Method::GET, &path, None)?).await?;
        Ok(WatchStream::new(response.into_body()))
    }

    /// Opens an upgraded connection (exec, attach, port-forward).
    pub async fn upgrade(&self, request: Request<Bytes>) -> Result<Upgraded> {
        self.transport.upgrade(request).await
    }
}

/// The path of an object, its name percent-encoded (names of roles hold almost anything).
fn path(resource: &Resource, namespace: &str, name: &str, sub: Option<&str>) -> String {
    let encoded = percent::encode(name, percent::SEGMENT);
    resource.path(Some(namespace), Some(&encoded), sub)
}

/// The path of a collection with its query.
pub(crate) fn collection(
    resource: &Resource,
    namespace: &str,
    options: &ListOptions,
    watch: bool,
) -> String {
    let namespace = if namespace.is_empty() { options.namespace.as_str() } else { namespace };
    Query(options.query(watch)).onto(&resource.path(Some(namespace), None, None))
}

/// A request; JSON is what comes back.
fn build(method: Method, path: &str, content: Option<Content>) -> Result<Request<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, JSON);
    let bytes = match content {
        Some(Content { bytes, media }) if !bytes.is_empty() => {
            request = request.header(header::CONTENT_TYPE, media);
            bytes
        }
        _ => Bytes::new(),
    };
    request.body(bytes).map_err(|e| Error::Config(format!("cannot request {path:?}: {e}")))
}
