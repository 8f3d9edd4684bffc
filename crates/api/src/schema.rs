//! The table of types: each type's fields with what codecs, patches and documents need of them.
//!
//! Read once, at first use, out of `tables/schema.txt` (made by `xtask gen`); names point into the
//! text itself. Not here: kinds and their resources (`kinds`), the schemas of custom resources.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::LazyLock;

mod order;
mod parse;

static TABLE: LazyLock<Table> =
    LazyLock::new(|| parse::table(include_str!("../tables/schema.txt")));

struct Table {
    types: Vec<Type>,
    by_name: HashMap<&'static str, u16>,
    by_gvk: HashMap<(&'static str, &'static str, &'static str), u16>,
}

/// The type of that full name, as in `io.k8s.api.core.v1.Pod`.
pub fn type_of(type_name: &str) -> Option<&'static Type> {
    let table = &*TABLE;
    table.by_name.get(type_name).map(|at| &table.types[usize::from(*at)])
}

/// The type of the body of a kind: of resources, of their lists, and of what is only sent and
/// answered (`Status`, `DeleteOptions`, reviews).
pub fn by_gvk(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    let table = &*TABLE;
    let at = table.by_gvk.get(&(group, version, kind)).or_else(|| {
        let of_every_group = table.by_gvk.get(&("*", "*", kind))?;
        Some(of_every_group)
    })?;
    Some(&table.types[usize::from(*at)])
}

/// Every type, by package and name.
pub fn all() -> &'static [Type] {
    &TABLE.types
}

/// A reference to a type of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeRef(u16);

impl TypeRef {
    /// The type.
    pub fn get(self) -> &'static Type {
        &TABLE.types[usize::from(self.0)]
    }
}

impl Deref for TypeRef {
    type Target = Type;
    fn deref(&self) -> &Type {
        self.get()
    }
}

/// A message with its fields.
#[derive(Debug)]
pub struct Type {
    /// Full, as in `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// Sorted by name.
    pub fields: Box<[Field]>,
    /// Whether server-side apply owns it whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// The kinds it is the body of; `GVK_ALL` stands for one of each group.
    pub gvk: Gvk,
    /// `x-kubernetes-unions`, as JSON.
    pub unions: Option<&'static str>,
    /// The heads of the fields' names, so that finding one compares numbers.
    pub(crate) heads: Box<[u64]>,
    /// Fields that are written even when they are empty, by index.
    pub(crate) always: Box<[u16]>,
    /// The protobuf form: by number, ascending.
    pub(crate) proto: Box<[ProtoItem]>,
}

/// The first eight bytes of a name as a number that sorts as the name does.
pub(crate) fn head(name: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = name.len().min(8);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    u64::from_be_bytes(bytes)
}

/// The kinds whose body a type is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gvk {
    /// None: a part of others.
    None,
    /// These: group, version, kind.
    Of(Box<[(&'static str, &'static str, &'static str)]>),
    /// One of its name in every group and version (`DeleteOptions`, `WatchEvent`).
    All,
}

/// One entry of a protobuf message.
#[derive(Debug)]
pub(crate) struct ProtoItem {
    pub number: u32,
    pub what: ProtoWhat,
}

/// What a protobuf field holds.
#[derive(Debug)]
pub(crate) enum ProtoWhat {
    /// A field, by index.
    Field(u16),
    /// A message whose fields JSON has inline.
    Inline(Vec<ProtoItem>),
}

impl Type {
    /// The field of that JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.find(name).map(|at| &self.fields[at])
    }

    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let head = head(name);
        let start = self.heads.partition_point(|h| *h < head);
        let same = self.heads[start..].iter().take_while(|h| **h == head).count();
        (start..start + same).find(|at| self.fields[*at].name == name)
    }

    /// Its place in the table: [`all`] has it there.
    pub(crate) fn place(&'static self) -> usize {
        (std::ptr::from_ref(self).addr() - all().as_ptr().addr()) / size_of::<Self>()
    }

    /// The last part of the name: `Pod`.
    pub fn short(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The package's last part with the short name, as type errors print it: `v1.Pod`.
    pub fn go_name(&self) -> &'static str {
        let package_end = self.name.len() - self.short().len() - 1;
        let start = self.name[..package_end].rfind('.').map_or(0, |at| at + 1);
        &self.name[start..]
    }

    /// Whether it carries `apiVersion` and `kind` of its own (and not as data).
    pub fn has_type_meta(&self) -> bool {
        self.field("apiVersion").is_some_and(|f| f.proto.is_empty())
    }
}

/// A field of a type.
#[derive(Debug)]
pub struct Field {
    /// In JSON.
    pub name: &'static str,
    /// What it holds.
    pub ty: FieldType,
    /// Protobuf numbers from the message down; more than one where JSON inlines a message; empty
    /// where protobuf does not have the field.
    pub proto: Box<[u32]>,
    /// Whether absent and zero differ (a pointer upstream).
    pub presence: bool,
    /// Whether an empty value is written (upstream's tag has no `omitempty`).
    pub keep_empty: bool,
    /// Whether it is a nested value that is always there (a struct, not a pointer, upstream).
    pub nested: bool,
    /// Whether a nested value is left out when it is wholly zero (`omitzero`).
    pub omit_zero: bool,
    /// Whether the published schema requires it.
    pub required: bool,
    /// How server-side apply merges a list.
    pub list: ListKind,
    /// The keys of a list that is a map.
    pub list_keys: Box<[&'static str]>,
    /// Whether server-side apply owns a map (or nested value) whole.
    pub map_atomic: Option<bool>,
    /// How a strategic merge patch merges it.
    pub patch: PatchStrategy,
    /// The key by which a strategic merge patch merges a list.
    pub merge_key: Option<&'static str>,
    /// The default that the published schema states, as JSON, where it is not just empty.
    pub default: Option<&'static str>,
    /// Whether the published schema gives a zero as the default of what may be left out.
    pub(crate) zero_default: bool,
    /// Whether the published schema is the reference alone.
    pub(crate) bare: bool,
    /// Whether protobuf wraps the list in a message.
    pub(crate) wrapped: bool,
    /// The name of the type in type errors, where it is not the plain one.
    pub(crate) go: Option<&'static str>,
}

impl Field {
    /// Whether it is written even when it is empty.
    pub(crate) fn is_always(&self) -> bool {
        self.keep_empty || (self.nested && !self.omit_zero)
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ListKind {
    /// Not stated (or not a list): atomic.
    #[default]
    Unset,
    /// Owned whole.
    Atomic,
    /// Scalars, each owned.
    Set,
    /// Items by keys.
    Map,
}

/// `x-kubernetes-patch-strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// Lists are merged (by key, or as a set), not replaced.
    pub merge: bool,
    /// Maps are replaced, not merged.
    pub replace: bool,
    /// Keys that a patch does not name are dropped.
    pub retain_keys: bool,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    String,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// Floating point.
    Double,
    /// Boolean.
    Bool,
    /// Base64 in JSON.
    Bytes,
    /// RFC 3339, seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// A resource quantity.
    Quantity,
    /// A 32-bit integer or text.
    IntOrString,
    /// An object of any kind (`runtime.RawExtension`).
    Raw,
    /// A field set of `managedFields`.
    FieldSet,
    /// Any JSON value.
    Json,
    /// A JSON schema or a boolean.
    SchemaOrBool,
    /// A JSON schema or a list of them.
    SchemaOrArray,
    /// A JSON schema or a list of texts.
    SchemaOrStrings,
    /// Another type.
    Ref(TypeRef),
    /// A list.
    List(Box<FieldType>),
    /// A map from text.
    Map(Box<FieldType>),
}

impl FieldType {
    /// The type that a reference, or the items of a list or map, lead to.
    pub fn message(&self) -> Option<&'static Type> {
        match self {
            Self::Ref(to) => Some(to.get()),
            Self::List(item) | Self::Map(item) => item.message(),
            _ => None,
        }
    }

    /// The name that type errors give to it.
    pub(crate) fn go_name(&self) -> String {
        match self {
            Self::String => "string".into(),
            Self::Int32 => "int32".into(),
            Self::Int64 => "int64".into(),
            Self::Double => "float64".into(),
            Self::Bool => "bool".into(),
            Self::Bytes => "[]uint8".into(),
            // Read as texts.
            Self::Time | Self::MicroTime => "string".into(),
            Self::Quantity => "resource.Quantity".into(),
            Self::IntOrString => "int32".into(),
            Self::Raw => "runtime.RawExtension".into(),
            Self::FieldSet => "v1.FieldsV1".into(),
            Self::Json => "v1.JSON".into(),
            Self::SchemaOrBool => "v1.JSONSchemaPropsOrBool".into(),
            Self::SchemaOrArray => "v1.JSONSchemaPropsOrArray".into(),
            Self::SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray".into(),
            Self::Ref(to) => to.go_name().into(),
            Self::List(item) => format!("[]{}", item.go_name()),
            Self::Map(item) if **item == Self::Quantity => "v1.ResourceList".into(),
            Self::Map(item) => format!("map[string]{}", item.go_name()),
        }
    }
}

/// The type of JSON schemas inside custom resource definitions.
pub(crate) fn json_schema() -> Option<&'static Type> {
    static IT: LazyLock<Option<&'static Type>> = LazyLock::new(|| {
        type_of("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
    });
    *IT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_spec_containers() {
        let pod = type_of("io.k8s.api.core.v1.Pod").unwrap();
        let spec = pod.field("spec").unwrap().ty.message().unwrap();
        let containers = spec.field("containers").unwrap();
        assert_eq!(containers.list, ListKind::Map);
        assert_eq!(&*containers.list_keys, ["name"]);
        assert!(containers.patch.merge && containers.keep_empty);
        assert_eq!(containers.ty.message().unwrap().go_name(), "v1.Container");
        assert!(pod.has_type_meta());
    }

    #[test]
    fn inlined_messages_keep_their_path() {
        let probe = type_of("io.k8s.api.core.v1.Probe").unwrap();
        assert_eq!(&*probe.field("httpGet").unwrap().proto, [1, 2]);
        assert!(matches!(probe.proto[0].what, ProtoWhat::Inline(ref items) if items.len() == 4));
    }

    #[test]
    fn fields_are_sorted_and_every_reference_leads_somewhere() {
        assert!(all().len() > 750);
        for ty in all() {
            assert!(ty.fields.windows(2).all(|w| w[0].name < w[1].name), "{}", ty.name);
            assert!(std::ptr::eq(&all()[ty.place()], ty), "{}", ty.name);
        }
    }
}
