//! YAML that upstream wrote, written again: the text must come out the same.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed

use isopod_api::codec::yaml;
use serde_json::Value;

mod shared;

#[test]
fn recorded_answers_are_written_the_same() {
    let Some(dir) = shared::dir() else { return };
    let mut seen = 0;
    for area in ["negotiation", "rest", "discovery"] {
        for case in shared::cases(&dir, area) {
            for step in case["steps"].as_array().unwrap() {
                let kind = step["response"]["headers"]["content-type"].as_str().unwrap_or("");
                let Some(text) = step["response"]["body"].as_str() else { continue };
                if !kind.contains("yaml") {
                    continue;
                }
                // Placeholders change what needs quotes.
                let text = text
                    .replace("resourceVersion: <rv>", "resourceVersion: \"1\"")
                    .replace("\"<time>\"", "\"2024-01-02T03:04:05Z\"")
                    .replace("${ns}", "nsabcdefghij");
                let value: Value = yaml::value(text.as_bytes()).unwrap();
                assert_eq!(yaml::encode(&value), text, "{}", case["id"]);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "only {seen} answers seen");
}
