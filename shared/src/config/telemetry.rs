//! Settings of logs and traces.

use std::fmt;

use tracing_subscriber::EnvFilter;
use url::Url;

use super::reader::Reader;

#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`: `info`, `warn,deploymind_worker=debug`.
    pub filter: String,
    /// Base URL of an OTLP/HTTP collector; traces go to `<base>/v1/traces`. Without it no trace leaves the process.
    pub otlp_endpoint: Option<Url>,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line, for collectors.
    Json,
    /// One readable line, for people.
    Pretty,
}

impl LogFormat {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Pretty => "pretty",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TelemetryConfig {
    pub fn read(reader: &mut Reader) -> Self {
        Self {
            format: reader.parsed(
                "DEPLOYMIND_LOG_FORMAT",
                LogFormat::Json,
                "How a log line looks: `json` or `pretty`.",
                |text| match text {
                    "json" => Ok(LogFormat::Json),
                    "pretty" => Ok(LogFormat::Pretty),
                    _ => Err("is neither json nor pretty".to_owned()),
                },
            ),
            filter: reader.parsed(
                "DEPLOYMIND_LOG_FILTER",
                "info,sqlx=warn".to_owned(),
                "What is logged, as `tracing` filter directives.",
                |text| match EnvFilter::try_new(text) {
                    Ok(_) => Ok(text.to_owned()),
                    Err(error) => Err(format!("is not a list of filter directives ({error})")),
                },
            ),
            otlp_endpoint: reader.optional_url(
                "DEPLOYMIND_OTLP_ENDPOINT",
                &["http", "https"],
                "http://localhost:4318",
                "Base URL of an OTLP/HTTP collector for traces.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapSource;

    #[test]
    fn defaults_need_nothing() {
        let source = MapSource::new();
        let mut reader = Reader::new(&source);
        let config = TelemetryConfig::read(&mut reader);
        reader.finish().expect("valid");
        assert_eq!((config.format, config.filter.as_str()), (LogFormat::Json, "info,sqlx=warn"));
        assert_eq!(config.otlp_endpoint, None);
    }

    #[test]
    fn all_three_can_be_wrong_at_once() {
        let source = MapSource::from([
            ("DEPLOYMIND_LOG_FORMAT", "xml"),
            ("DEPLOYMIND_LOG_FILTER", "info,=[[["),
            ("DEPLOYMIND_OTLP_ENDPOINT", "localhost:4318"),
        ]);
        let mut reader = Reader::new(&source);
        TelemetryConfig::read(&mut reader);
        assert_eq!(reader.finish().expect_err("wrong").mistakes().len(), 3);
    }
}
