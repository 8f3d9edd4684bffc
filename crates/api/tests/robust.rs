//! What nobody should send: damaged JSON, YAML and protobuf must be refused or read, quickly and
//! without a crash, and what has been read must be writable.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed

use std::time::{Duration, Instant};

use isopod_api::codec::{json, proto, yaml};
use isopod_api::schema::{self, Type};
use serde_json::Value;

mod shared;

/// A small generator of numbers, the same at each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % below.max(1)
    }
}

/// The bytes with one to four of them changed, taken out, doubled or cut off.
fn damaged(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=numbers.next(3) {
        let at = numbers.next(out.len());
        match numbers.next(5) {
            0 => out.truncate(at),
            1 if !out.is_empty() => {
                out.remove(at);
            }
            2 => {
                let piece: Vec<u8> = out[at..].iter().take(numbers.next(40)).copied().collect();
                out.splice(at..at, piece);
            }
            _ if !out.is_empty() => {
                let odd = [0, 0xff, b'{', b'[', b'"', b'\\', b':', b'-', b'&', b'*', b'\n', 0x7f];
                out[at] = match numbers.next(3) {
                    0 => odd[numbers.next(odd.len())],
                    1 => out[at] ^ (1 << numbers.next(8)),
                    _ => numbers.next(256) as u8,
                };
            }
            _ => {}
        }
    }
    out
}

/// Each populated object of the reference data that the table knows.
fn samples() -> Option<Vec<(&'static Type, Vec<u8>, Vec<u8>)>> {
    let dir = shared::dir()?.join("roundtrip");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let parts: Vec<&str> = stem.rsplitn(3, '.').collect();
        let group = if parts[2] == "core" { "" } else { parts[2] };
        let Some(ty) = schema::by_gvk(group, parts[1], parts[0]) else { continue };
        let wire = std::fs::read(path.with_extension("pb")).unwrap();
        found.push((ty, std::fs::read(&path).unwrap(), wire));
    }
    found.sort_by_key(|(ty, ..)| ty.name);
    Some(found)
}

#[test]
fn damaged_objects() {
    let Some(samples) = samples() else { return };
    let mut numbers = Numbers(42);
    let (mut read, mut refused) = (0, 0);
    let mut slowest = Duration::ZERO;
    for (ty, text, wire) in &samples {
        let lines = yaml::encode(&serde_json::from_slice::<Value>(text).unwrap());
        for _ in 0..12 {
            let start = Instant::now();
            let outcomes = [
                json::decode(&damaged(text, &mut numbers), Some(ty)).map(|d| d.object),
                yaml::decode(&damaged(lines.as_bytes(), &mut numbers), Some(ty)).map(|d| d.object),
                proto::decode_as(&damaged(wire, &mut numbers), ty),
            ];
            for outcome in outcomes {
                let Ok(object) = outcome else {
                    refused += 1;
                    continue;
                };
                read += 1;
                json::encode_for_store(&object);
                let wire = proto::encode(&object, ty).expect("what is in form can be written");
                let back = proto::decode_as(&wire, ty).expect("what was written can be read");
                assert_eq!(proto::encode(&back, ty).expect("again"), wire, "{}", ty.name);
            }
            slowest = slowest.max(start.elapsed());
        }
    }
    println!("{read} read, {refused} refused, slowest {slowest:?}");
    assert!(read > 300 && refused > 300);
    assert!(slowest < Duration::from_secs(5));
}

#[test]
fn json_reads_what_serde_json_reads() {
    let Some(samples) = samples() else { return };
    let mut numbers = Numbers(7);
    let mut seen = 0;
    for (_, text, _) in samples.iter().filter(|(_, text, _)| text.len() < 8_000) {
        for _ in 0..40 {
            let damaged = damaged(text, &mut numbers);
            let Ok(damaged) = String::from_utf8(damaged) else { continue };
            let theirs = serde_json::from_str::<Value>(&damaged);
            let ours = json::value(damaged.as_bytes());
            match (theirs, ours) {
                (Ok(theirs), Ok(ours)) => assert_eq!(theirs, ours, "{damaged}"),
                (Err(_), Err(_)) => {}
                // Lone surrogates are replaced here, as upstream does, and refused there.
                (Err(error), Ok(_)) => {
                    assert!(error.to_string().contains("surrogate"), "{error}: {damaged}")
                }
                (Ok(_), Err(error)) => panic!("{error}: {damaged}"),
            }
            seen += 1;
        }
    }
    assert!(seen > 1_000);
}

#[test]
fn yaml_writes_what_it_reads() {
    let texts = [
        "",
        "a",
        "a: b",
        "- a",
        "#",
        "x #y",
        "'",
        "\"",
        "\\",
        "a\nb",
        "a\n",
        "\n",
        "\n\na",
        " a",
        "a ",
        "a\t",
        "~",
        "null",
        "true",
        "0x10",
        "1e3",
        ".5",
        "-",
        "--- a",
        "...",
        "?",
        "? a",
        ":",
        ": a",
        "a:",
        "[a]",
        "{a}",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "|",
        ">",
        "é",
        "\u{1}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{10ffff}",
        "1:30",
        "2024-01-02",
        "<<",
        "=",
        "a,b",
        "long words that go on and on and on until the line is longer than eighty columns wide ok",
    ];
    let mut numbers = Numbers(3);
    for round in 0..600 {
        let text: String =
            (0..=numbers.next(3)).map(|_| texts[numbers.next(texts.len())]).collect();
        let other = texts[round % texts.len()];
        let value = serde_json::json!({
            text.clone(): [text.clone(), {other: text.clone(), "b": [[text.clone()], {}]}],
            "plain": text, "n": round,
        });
        let written = yaml::encode(&value);
        let read = yaml::value(written.as_bytes());
        assert_eq!(read.as_ref(), Ok(&value), "{written}");
    }
}
