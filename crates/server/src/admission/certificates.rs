//! Certificate signing requests: who approves or signs for a signer needs its leave, and nobody gets
//! a client certificate of the superusers' group this way.

use std::borrow::Cow;
use std::sync::Arc;

use api::{ApiError, Object, Resource, Value, resource};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::lookup::{done, forbidden, is};
use crate::authz::Authz;
use crate::authz::rbac::MASTERS;
use crate::gate::{Admission, Attributes, Authorizer, Operation, Write};

/// The plugin for approvals.
pub struct CertificateApproval(pub Arc<Authz>);
/// The plugin for signatures.
pub struct CertificateSigning(pub Arc<Authz>);
/// The plugin for requests.
pub struct CertificateSubjectRestriction;

fn signer(request: Option<&Object>) -> String {
    request.and_then(|r| r.text("spec.signerName")).unwrap_or("").to_owned()
}

/// Whether the user may do something for a signer, by its name or its whole domain.
fn may(authz: &Authz, write: &Write<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*"));
    [Some(signer.to_owned()), domain].into_iter().flatten().any(|name| {
        let attributes = Attributes {
            user: Cow::Borrowed(write.user),
            verb,
            resource_request: true,
            group: "certificates.k8s.io",
            version: "*",
            resource: "signers",
            name: &name,
            ..Attributes::default()
        };
        authz.authorize(&attributes).allowed()
    })
}

impl Admission for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Update
            && subresource == "approval"
            && is(resource, &resource::CERTIFICATE_SIGNING_REQUESTS)
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let signer = signer(write.object.as_ref());
        done(if may(&self.0, write, "approve", &signer) {
            Ok(())
        } else {
            let why = format!("user not permitted to approve requests with signerName {signer:?}");
            Err(forbidden(write, &why))
        })
    }
}

impl Admission for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Update
            && subresource == "status"
            && is(resource, &resource::CERTIFICATE_SIGNING_REQUESTS)
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let part = |o: Option<&Object>, path: &str| o.and_then(|o| o.at(path).cloned());
        let unchanged = ["status.certificate", "status.conditions"]
            .iter()
            .all(|path| part(write.object.as_ref(), path) == part(write.old, path));
        let signer = signer(write.old);
        done(if unchanged || may(&self.0, write, "sign", &signer) {
            Ok(())
        } else {
            let why = format!("user not permitted to sign requests with signerName {signer:?}");
            Err(forbidden(write, &why))
        })
    }
}

/// Whether a PEM request (in base64) asks for a group.
fn asks_for(request: &str, group: &str) -> bool {
    let read = || {
        let text = String::from_utf8(STANDARD.decode(request).ok()?).ok()?;
        let body: String = text.lines().filter(|l| !l.starts_with("-----")).collect();
        let der = STANDARD.decode(body.trim()).ok()?;
        let (_, request) = X509CertificationRequest::from_der(&der).ok()?;
        let subject = &request.certification_request_info.subject;
        Some(subject.iter_organization().any(|o| o.as_str() == Ok(group)))
    };
    read().unwrap_or(false)
}

impl Admission for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create
            && subresource.is_empty()
            && is(resource, &resource::CERTIFICATE_SIGNING_REQUESTS)
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
        let request =
            write.object.as_ref().and_then(|o| o.at("spec.request")).and_then(Value::as_str);
        let signer = signer(write.object.as_ref());
        done(if signer == CLIENT && request.is_some_and(|r| asks_for(r, MASTERS)) {
            let why = format!("use of {CLIENT} signer with {MASTERS} group is not allowed");
            Err(forbidden(write, &why))
        } else {
            Ok(())
        })
    }
}
