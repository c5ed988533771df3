//! Logs on stderr: stdout belongs to what a command prints.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::TelemetryError;
use crate::config::{LogFormat, TelemetryConfig};

pub(super) type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Libraries that show the whole of what they carry when asked for detail: values that an image was built with are in it.
/// Last, so that they hold whatever the setting says.
const TELLTALES: &str = "bollard=info,h2=info";

/// The log layer with its own filter, so that quiet logs do not thin out traces.
pub(super) fn layer<S>(config: &TelemetryConfig) -> Result<BoxedLayer<S>, TelemetryError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let filter = format!("{},{TELLTALES}", config.filter);
    let filter = EnvFilter::try_new(filter).map_err(TelemetryError::Filter)?;
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
