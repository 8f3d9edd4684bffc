//! The targets. The first byte or two choose a kind where one is needed; the rest is the input.

use std::sync::LazyLock;

use api::codec::{json as json_codec, proto as proto_codec, yaml as yaml_codec};
use api::kinds::Kind;
use api::quantity::{Quantity, normalize};
use api::selector::{FieldSelector, LabelSelector};
use api::{Object, Value, apply, default, patch as patches, strategy, validate};

/// Inputs above this size say nothing that smaller ones do not.
const MOST: usize = 64 * 1024;

/// Kinds that are stored and have a schema.
static KINDS: LazyLock<Vec<&'static Kind>> = LazyLock::new(|| {
    api::kinds::all().iter().filter(|k| k.is_stored() && k.schema().is_some()).collect()
});

fn kind(data: &[u8]) -> Option<(&'static Kind, &[u8])> {
    let (choice, rest) = data.split_at_checked(1)?;
    let kind = KINDS.get(usize::from(choice[0]) % KINDS.len())?;
    (rest.len() <= MOST).then_some((*kind, rest))
}

/// JSON objects: decoding, defaults, strategies, validation, encoding.
pub fn json(data: &[u8]) {
    let Some((kind, text)) = kind(data) else { return };
    let Ok(decoded) = json_codec::decode(text, kind.schema()) else { return };
    written(kind, decoded.object);
}

/// YAML objects.
pub fn yaml(data: &[u8]) {
    let Some((kind, text)) = kind(data) else { return };
    let _ = yaml_codec::value(text);
    let Ok(decoded) = yaml_codec::decode(text, kind.schema()) else { return };
    written(kind, decoded.object);
}

/// Protobuf objects, in their envelope.
pub fn proto(data: &[u8]) {
    if data.len() > MOST {
        return;
    }
    let mut enveloped = b"k8s\0".to_vec();
    enveloped.extend_from_slice(data);
    let Ok(object) = proto_codec::decode(&enveloped) else { return };
    let Some(kind) = api::kinds::of_object(object.api_version(), object.kind()) else { return };
    let Some(ty) = kind.schema() else { return };
    let bytes = proto_codec::encode(&object, ty).expect("what was read can be written");
    let again = proto_codec::decode(&bytes).expect("what was written can be read");
    assert_eq!(again, object, "protobuf says the same twice");
}

/// What happens to an object on its way to the store, as far as it is alone.
fn written(kind: &'static Kind, object: Object) {
    let text = json_codec::encode(&object);
    let again = json_codec::decode(&text, kind.schema()).expect("what was written can be read");
    assert!(again.strict.is_empty(), "what was written is in form: {:?}", again.strict);
    assert_eq!(again.object, object, "JSON says the same twice");
    if let Some(ty) = kind.schema() {
        let bytes = proto_codec::encode(&object, ty).expect("JSON objects have a protobuf form");
        assert!(proto_codec::decode_as(&bytes, ty).is_ok(), "its protobuf form can be read");
    }
    let mut object = object;
    default::apply(kind, &mut object);
    strategy::prepare_create(kind, &mut object);
    let causes = validate::create(kind, &mut object);
    if causes.is_empty() {
        let mut changed = object.clone();
        strategy::prepare_update(kind, &mut changed, &object, None);
        let _ = validate::update(kind, &mut changed, &mut object);
        let _ = validate::status_update(kind, &mut changed, &mut object);
    }
}

/// Patches: two documents with a zero byte between them, the object and the patch.
pub fn patch(data: &[u8]) {
    let Some((kind, rest)) = kind(data) else { return };
    let Some(at) = rest.iter().position(|b| *b == 0) else { return };
    let (text, patch) = (&rest[..at], &rest[at + 1..]);
    let Ok(decoded) = json_codec::decode(text, kind.schema()) else { return };
    let Ok(document) = json_codec::value(patch) else { return };
    let live = decoded.object;
    let _ = patches::json_patch(&live, &document);
    let _ = patches::merge_patch(&live, &document);
    if let Some(ty) = kind.schema() {
        let patched = patches::strategic(&live, &document, ty);
        if let Ok(patched) = patched {
            let _ = patches::misfit(&Value::Object(patched.0.clone()), ty);
            let _ = api::codec::conform::decode(patched, ty);
        }
        let Some(config) = Object::from_value(document) else { return };
        let reset = strategy::reset_fields(kind, "");
        let version = kind.api_version();
        let writer = apply::Writer {
            manager: "fuzz",
            subresource: "",
            api_version: &version,
            schema: apply::Schema::Type(ty),
            reset: &reset,
            versions: None,
            now: "2026-01-01T00:00:00Z",
        };
        for force in [false, true] {
            if let Ok(applied) = apply::apply(Some(&live), &config, force, &writer) {
                let _ = apply::apply(Some(&applied), &config, force, &writer);
            }
        }
    }
}

/// Label and field selectors.
pub fn selector(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > MOST {
        return;
    }
    if let Ok(selector) = LabelSelector::parse(text) {
        let labels = |key: &str| key.len().is_multiple_of(2).then_some("a");
        let _ = selector.matches_with(labels);
        let shown = selector.to_string();
        let again = LabelSelector::parse(&shown).expect("what was printed can be read");
        assert_eq!(again.to_string(), shown, "a selector prints the same twice");
    }
    let _ = FieldSelector::parse(text);
}

/// Quantities.
pub fn quantity(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let canonical = normalize(text).map(|text| text.into_owned());
    let Ok(quantity) = Quantity::parse(text) else {
        return;
    };
    let printed = quantity.to_string();
    let again = Quantity::parse(&printed).expect("what was printed can be read");
    assert_eq!(again.to_string(), printed, "a quantity prints the same twice");
    if let Ok(canonical) = canonical {
        let again = normalize(&canonical).expect("what is canonical can be read").into_owned();
        assert_eq!(again, canonical, "canonical stays canonical");
    }
    let _ = (quantity.value(), quantity.milli_value(), quantity.as_f64(), quantity.signum());
    let _ = (quantity.round_up_to_milli(), quantity.is_zero());
}

/// CEL expressions: compiling, estimating, evaluating within a budget.
pub fn cel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.len() > 4096 {
        return;
    }
    static ENV: LazyLock<cel::Env> =
        LazyLock::new(|| cel::Env::builder().variable("self", cel::Type::Dyn).build());
    static OBJECT: LazyLock<Value> = LazyLock::new(|| {
        serde_json::json!({
            "name": "web", "replicas": 3, "on": true, "list": [1, 2, 3, 4, 5, 6, 7, 8],
            "map": {"a": "1", "b": "2"}, "text": "x".repeat(1000), "time": "2026-01-01T00:00:00Z",
        })
    });
    let Ok(program) = ENV.compile(text) else { return };
    let _ = program.cost_estimate();
    let mut vars = cel::Activation::new();
    vars.bind("self", cel::Value::json(&OBJECT));
    let _ = program.eval(&vars, &mut cel::Budget::per_object());
}
