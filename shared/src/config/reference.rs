//! `docs/CONFIG.md`, generated from what the structs read, so that it names every key and none that is gone.

use std::net::SocketAddr;

use super::reader::Reader;
use super::source::MapSource;
use super::{
    AdminConfig, DatabaseConfig, GatewayConfig, HostsConfig, PipelineConfig, QueueConfig, RedisConfig,
    SchedulerConfig, SecretsConfig, TelemetryConfig, WorkerConfig,
};

const HEAD: &str = "\
# Settings

<!-- Generated; to change it: cargo test -p deploymind-shared write_config_reference -- --ignored -->

Every process reads its settings from the environment; some have a command-line flag, which wins. All mistakes are
reported together, and the process exits with code 64. `--print-config` shows what is in effect, secrets redacted.
Durations are a whole number and a unit: `500ms`, `5s`, `2m`, `1h`, `30d`. An empty value counts as not set.
What happens when a timeout is too high or too low is said at its field in `shared/src/config/`.
";

/// Reads one struct for its keys; the values do not matter here.
type Read = fn(&mut Reader);

const SECTIONS: [(&str, Read); 11] = [
    ("Postgres", |reader| {
        DatabaseConfig::read(reader);
    }),
    ("Redis", |reader| {
        RedisConfig::read(reader);
    }),
    ("Queue", |reader| {
        QueueConfig::read(reader);
    }),
    ("Logs and traces", |reader| {
        TelemetryConfig::read(reader);
    }),
    ("Admin server", |reader| {
        AdminConfig::read(reader, SocketAddr::from(([127, 0, 0, 1], 0)));
    }),
    ("Gateway", |reader| {
        GatewayConfig::read(reader);
    }),
    ("Worker", |reader| {
        WorkerConfig::read(reader);
    }),
    ("Keys for secrets (worker)", |reader| {
        SecretsConfig::read(reader);
    }),
    ("Fetch, scan and build (worker)", |reader| {
        PipelineConfig::read(reader);
    }),
    ("Hosts, slots and housekeeping (worker)", |reader| {
        HostsConfig::read(reader);
    }),
    ("Scheduler", |reader| {
        SchedulerConfig::read(reader);
    }),
];

/// The whole page as Markdown.
pub fn reference() -> String {
    let nothing_set = MapSource::new();
    let mut page = HEAD.to_owned();
    for (title, read) in SECTIONS {
        let mut reader = Reader::new(&nothing_set);
        read(&mut reader);
        page.push_str(&format!("\n## {title}\n\n| key | default | meaning |\n|---|---|---|\n"));
        for setting in reader.settings() {
            let default = match setting.default.as_deref() {
                None => "required".to_owned(),
                Some(words) if words.contains(' ') => words.to_owned(),
                Some(value) => format!("`{value}`"),
            };
            page.push_str(&format!("| `{}` | {default} | {} |\n", setting.key, setting.meaning));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIG.md");

    #[test]
    fn the_page_says_what_the_code_reads() {
        let page = std::fs::read_to_string(PAGE).expect("docs/CONFIG.md");
        assert!(
            page == reference(),
            "docs/CONFIG.md is old; run: cargo test -p deploymind-shared write_config_reference -- --ignored"
        );
    }

    #[test]
    #[ignore = "writes docs/CONFIG.md"]
    fn write_config_reference() {
        std::fs::write(PAGE, reference()).expect("write docs/CONFIG.md");
    }

    #[test]
    fn every_key_has_the_prefix_and_belongs_to_one_struct() {
        let page = reference();
        let mut keys: Vec<_> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert!(keys.iter().all(|key| key.starts_with("DEPLOYMIND_")));
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
