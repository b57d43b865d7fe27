//! The trace of a request from the header `traceparent` (W3C Trace Context). It appears in the log and in the answer, and with the feature
//! `otel` the spans of `operation/otel/` are parts of it.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The name of the header.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A valid value of the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceParent(HeaderValue);

impl TraceParent {
    /// The trace of a request with exactly one valid header. Any other header is ignored.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        is_valid(value.to_str().ok()?).then(|| Self(value.clone()))
    }

    /// The id of the trace: 32 hexadecimal digits.
    pub(crate) fn trace_id(&self) -> &str {
        self.0.to_str().ok().and_then(|text| text.get(3..35)).unwrap_or_default()
    }

    /// The value of the header.
    pub(crate) fn value(&self) -> &HeaderValue {
        &self.0
    }
}

/// Whether a value is `version-trace-parent-flags`. Later versions may append further fields.
fn is_valid(text: &str) -> bool {
    let mut parts = text.splitn(5, '-');
    let mut next = |digits: usize| {
        let part = parts.next()?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (part.len() == digits && part.bytes().all(is_hex)).then_some(part)
    };
    let (Some(version), Some(trace), Some(parent), Some(_)) =
        (next(2), next(32), next(16), next(2))
    else {
        return false;
    };
    let is_set = |part: &str| part.bytes().any(|byte| byte != b'0');
    let has_more = parts.next().is_some();
    version != "ff" && is_set(trace) && is_set(parent) && !(version == "00" && has_more)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_has_a_trace() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceParent::of(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(VALUE));
        let trace = TraceParent::of(&headers).unwrap();
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.value(), VALUE);
        headers.append(TRACEPARENT, HeaderValue::from_static(VALUE));
        assert_eq!(TraceParent::of(&headers), None, "there must be one");
    }

    #[test]
    fn what_is_no_trace_is_passed_over() {
        let later = format!("cc{}", &VALUE[2..]);
        assert!(is_valid(&later) && is_valid(&format!("{later}-more")));
        for wrong in [
            "",
            "00",
            &VALUE[..54],
            &VALUE.to_uppercase(),
            &format!("{VALUE}-more"),
            &format!("{VALUE}0"),
            &format!("ff{}", &VALUE[2..]),
            &VALUE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &VALUE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &VALUE.replace("4bf9", "4bg9"),
            &VALUE.replace('-', "_"),
        ] {
            assert!(!is_valid(wrong), "{wrong}");
        }
    }
}
