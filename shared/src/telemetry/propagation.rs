//! Carries a trace from the process that enqueues a job to the one that runs it, as a W3C `traceparent`
//! (<https://www.w3.org/TR/trace-context/#traceparent-header>). Must not trust what it parses: it comes from a queue or
//! from a client.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A valid `traceparent` of version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct InvalidTraceContext;

/// Length of version 00, to which every later version may only append.
const LENGTH: usize = 55;

impl TraceContext {
    /// The context of the current span, or `None` when traces are not collected.
    pub fn current() -> Option<Self> {
        let context = Span::current().context();
        let span = context.span().span_context().clone();
        span.is_valid().then(|| Self::from_parts(span.trace_id(), span.span_id(), span.trace_flags()))
    }

    /// Accepts version 00 exactly, and of later versions the part that 00 defines, as the specification asks.
    pub fn parse(text: &str) -> Result<Self, InvalidTraceContext> {
        let head = text.get(..LENGTH).ok_or(InvalidTraceContext)?;
        let tail = text.get(LENGTH..).ok_or(InvalidTraceContext)?;
        let mut fields = head.split('-');
        let (Some(version), Some(trace), Some(span), Some(flags), None) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(InvalidTraceContext);
        };
        let version = hex(version, 2).filter(|version| *version != 0xff).ok_or(InvalidTraceContext)?;
        if !(tail.is_empty() || version > 0 && tail.starts_with('-')) {
            return Err(InvalidTraceContext);
        }
        let trace = hex(trace, 32).filter(|id| *id != 0).ok_or(InvalidTraceContext)?;
        let span = hex(span, 16).and_then(|id| u64::try_from(id).ok()).filter(|id| *id != 0);
        let flags = hex(flags, 2).and_then(|flags| u8::try_from(flags).ok());
        match (span, flags) {
            (Some(span), Some(flags)) => {
                Ok(Self::from_parts(TraceId::from(trace), SpanId::from(span), TraceFlags::new(flags)))
            }
            _ => Err(InvalidTraceContext),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_parts(trace: TraceId, span: SpanId, flags: TraceFlags) -> Self {
        // Only "sampled" is defined in version 00; the other bits must be sent as zero.
        let sampled = u8::from(flags.is_sampled());
        Self(format!("00-{trace}-{span}-{sampled:02x}"))
    }

    fn span_context(&self) -> Option<SpanContext> {
        let mut fields = self.0.split('-').skip(1);
        let trace = TraceId::from_hex(fields.next()?).ok()?;
        let span = SpanId::from_hex(fields.next()?).ok()?;
        let sampled = fields.next()? == "01";
        let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        Some(SpanContext::new(trace, span, flags, true, TraceState::default()))
    }
}

/// Makes `span` a child of the remote span. Before the span is entered for the first time: a span that has started keeps
/// its parent. Does nothing when traces are not collected.
pub fn adopt(span: &Span, remote: &TraceContext) {
    let Some(remote) = remote.span_context() else {
        return;
    };
    // The errors say that no trace is collected, that this span is filtered out, or that it was entered too early; none
    // is worth stopping work for.
    if let Err(error) = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote)) {
        tracing::trace!(%error, "trace context not adopted");
    }
}

/// Lower-case hexadecimal of exactly `length` digits; `from_str_radix` alone would take a sign and capitals.
fn hex(text: &str, length: usize) -> Option<u128> {
    let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if text.len() != length || !text.bytes().all(digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TraceContext {
    type Error = InvalidTraceContext;

    fn try_from(text: String) -> Result<Self, InvalidTraceContext> {
        Self::parse(&text)
    }
}

impl From<TraceContext> for String {
    fn from(context: TraceContext) -> Self {
        context.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn valid_text_is_taken_and_normalised() {
        for (text, expected) in [
            (format!("00-{TRACE}-{SPAN}-01"), "01"),
            (format!("00-{TRACE}-{SPAN}-00"), "00"),
            (format!("00-{TRACE}-{SPAN}-ff"), "01"),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes-later"), "01"),
        ] {
            let context = TraceContext::parse(&text).expect(&text);
            assert_eq!(context.as_str(), format!("00-{TRACE}-{SPAN}-{expected}"));
            assert_eq!(TraceContext::parse(context.as_str()).as_ref(), Ok(&context));
            assert!(context.span_context().is_some_and(|span| span.is_remote() && span.is_valid()));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            String::new(),
            "00".into(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-+1"),
            format!("00-{TRACE}_{SPAN}-01"),
            "é".repeat(40),
            format!("00-{TRACE}-{SPAN}-01").repeat(1000),
        ] {
            assert_eq!(TraceContext::parse(&text), Err(InvalidTraceContext), "{text}");
        }
    }

    #[test]
    fn serde_refuses_what_parse_refuses() {
        assert!(serde_json::from_str::<TraceContext>("\"00-x\"").is_err());
        let context = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-01")).expect("valid");
        let json = serde_json::to_string(&context).expect("text");
        assert_eq!(serde_json::from_str::<TraceContext>(&json).expect("valid"), context);
    }

    #[test]
    fn without_a_collector_there_is_nothing_to_carry() {
        assert_eq!(TraceContext::current(), None);
        let context = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-01")).expect("valid");
        adopt(&tracing::info_span!("job"), &context);
    }
}
