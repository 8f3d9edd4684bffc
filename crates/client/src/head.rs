//! Answers to HEAD: the head of what GET would answer, and nothing behind it.
//!
//! Over HTTP/2 nobody else takes the body away, and clients take one for a broken stream. Not here:
//! which requests are HEAD.

use http::{HeaderValue, Response, header};
use http_body::Body;

/// The response with `empty` in place of its body, whose length it still tells.
pub fn without_body<B: Body>(response: Response<B>, empty: B) -> Response<B> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        parts.headers.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    Response::from_parts(parts, empty)
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[test]
    fn the_length_stays() {
        let answer = |text: &'static str| Response::new(Full::new(text.as_bytes()));
        let head = without_body(answer("four"), Full::default());
        assert_eq!(head.headers()[header::CONTENT_LENGTH], "4");
        assert_eq!(head.body().size_hint().exact(), Some(0));
        assert!(without_body(answer(""), Full::default()).headers().is_empty());
    }
}
