//! Logs on stderr: stdout belongs to what a command prints.

use std::io::IsTerminal;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::TelemetryError;
use crate::config::{LogFormat, TelemetryConfig};

pub(super) type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Libraries that show the whole of what they carry when asked for detail: values that an image was built with are in it.
const TELLTALES: &[&str] = &["bollard", "h2"];

fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let told_by = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO || !TELLTALES.contains(&told_by)
}

/// The log layer with its own filter, so that quiet logs do not thin out traces.
pub(super) fn layer<S>(config: &TelemetryConfig) -> Result<BoxedLayer<S>, TelemetryError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let filter = EnvFilter::try_new(&config.filter).map_err(TelemetryError::Filter)?;
    let filter = filter.and(filter_fn(is_discreet));
    let layer = fmt::layer().with_writer(std::io::stderr);
    Ok(match config.format {
        // The list of spans holds the fields of all of them; the current one alone would lack its parents'.
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .with_filter(filter)
            .boxed(),
        LogFormat::Pretty => layer.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed(),
    })
}
