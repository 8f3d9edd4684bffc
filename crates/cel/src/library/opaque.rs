//! Values of the libraries' own types.

use std::net::IpAddr;
use std::rc::Rc;

use api::quantity::Quantity;

use super::AuthzDecision;
use super::authz::{Authz, GroupCheck, PathCheck, ResourceCheck};
use super::cidr::Cidr;
use super::format::Format;
use super::semver::Semver;
use super::url::Url;

/// The types' names in signatures, and as expressions know them.
pub(crate) const NAMES: [(&str, &str); 11] = [
    ("quantity", "kubernetes.Quantity"),
    ("ip", "net.IP"),
    ("cidr", "net.CIDR"),
    ("url", "kubernetes.URL"),
    ("semver", "kubernetes.Semver"),
    ("format", "kubernetes.NamedFormat"),
    ("authorizer", "kubernetes.authorization.Authorizer"),
    ("path_check", "kubernetes.authorization.PathCheck"),
    ("group_check", "kubernetes.authorization.GroupCheck"),
    ("resource_check", "kubernetes.authorization.ResourceCheck"),
    ("decision", "kubernetes.authorization.Decision"),
];

/// A value of a library's type.
#[derive(Clone, Debug)]
pub enum Opaque<'a> {
    /// A resource quantity.
    Quantity(Quantity),
    /// An address.
    Ip(IpAddr),
    /// A range of addresses.
    Cidr(Cidr),
    /// An absolute URL.
    Url(Rc<Url>),
    /// A semantic version.
    Semver(Rc<Semver>),
    /// A named format.
    Format(&'static Format),
    /// Who answers what a user may do.
    Authorizer(Authz<'a>),
    /// A check of a path.
    Path(Rc<PathCheck<'a>>),
    /// A check in an API group.
    Group(Rc<GroupCheck<'a>>),
    /// A check of a resource.
    Resource(Rc<ResourceCheck<'a>>),
    /// What an authorizer says.
    Decision(Rc<AuthzDecision>),
}

impl Opaque<'_> {
    /// As expressions know it.
    pub fn type_name(&self) -> &'static str {
        let at = match self {
            Self::Quantity(_) => 0,
            Self::Ip(_) => 1,
            Self::Cidr(_) => 2,
            Self::Url(_) => 3,
            Self::Semver(_) => 4,
            Self::Format(_) => 5,
            Self::Authorizer(_) => 6,
            Self::Path(_) => 7,
            Self::Group(_) => 8,
            Self::Resource(_) => 9,
            Self::Decision(_) => 10,
        };
        NAMES[at].1
    }

    /// Whether two are equal.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.cmp(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            _ => false,
        }
    }

    /// The measure of costs: addresses are as big as their bytes.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Self::Ip(IpAddr::V4(_)) => 4,
            Self::Ip(IpAddr::V6(_)) => 16,
            Self::Cidr(cidr) => match cidr.address {
                IpAddr::V4(_) => u64::from(cidr.bits).div_ceil(8),
                IpAddr::V6(_) => u64::from(cidr.bits).div_ceil(8),
            },
            _ => 1,
        }
    }
}
