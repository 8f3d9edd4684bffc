//! The hash of a pod template that names its replica set.
//!
//! Of upstream's form (a 32-bit FNV-1a number in decimal, its digits spelt in consonants), but not its
//! value: upstream hashes a print-out of its structs. Sets are recognised by their templates, not by
//! their hash, so either controller goes on with what the other has made.

use api::Value;

/// The hash of a template, for a number of earlier collisions.
pub fn of(template: &Value, collisions: Option<i64>) -> String {
    let mut text = template.to_string();
    if let Some(count) = collisions {
        text.push_str(&count.to_string());
    }
    let hash = text
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let spell = |digit: u8| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]);
    hash.to_string().bytes().map(spell).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn collisions_change_it() {
        let template = json!({"spec": {"containers": []}});
        assert_eq!(of(&template, None), of(&template.clone(), None));
        assert_ne!(of(&template, None), of(&template, Some(1)));
        let hash = of(&template, None);
        assert!((1..=10).contains(&hash.len()), "{hash}");
    }
}
