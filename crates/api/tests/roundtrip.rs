//! Each kind's fully populated object, as JSON and as protobuf: both ways, byte for byte.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed

use isopod_api::codec::{json, proto};
use isopod_api::schema;
use serde_json::Value;

mod shared;

#[test]
fn json_and_protobuf_say_the_same() {
    let Some(dir) = shared::dir() else { return };
    let (mut done, mut skipped, mut failed) = (0, Vec::new(), Vec::new());
    let mut files: Vec<_> =
        std::fs::read_dir(dir.join("roundtrip")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|p| p.extension().is_some_and(|e| e == "json")) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let mut parts = stem.rsplitn(3, '.');
        let (kind, version, group) =
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let group = if group == "core" { "" } else { group };
        let Some(ty) = schema::by_gvk(group, version, kind) else {
            skipped.push(stem);
            continue;
        };
        let text = std::fs::read(path).unwrap();
        let wire = std::fs::read(path.with_extension("pb")).unwrap();
        let expected: Value = serde_json::from_slice(&text).unwrap();

        let from_json = json::decode(&text, Some(ty)).unwrap();
        assert!(from_json.strict.is_empty(), "{stem}: {:?}", from_json.strict);
        let from_json = from_json.object;
        let from_wire = proto::decode_as(&wire, ty).unwrap_or_else(|e| panic!("{stem}: {e}"));
        done += 1;
        for (what, same) in [
            ("JSON to JSON", Value::from(from_json.clone()) == expected),
            ("protobuf to JSON", Value::from(from_wire.clone()) == expected),
            ("JSON to protobuf", proto::encode(&from_json, ty).unwrap() == wire),
            ("protobuf to protobuf", proto::encode(&from_wire, ty).unwrap() == wire),
        ] {
            if !same {
                failed.push(format!("{stem}: {what}"));
            }
        }
    }
    println!("{done} kinds; not in the table: {skipped:?}");
    assert!(done > 90, "only {done}");
    assert!(failed.is_empty(), "{failed:#?}");
}
