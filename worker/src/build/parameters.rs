//! What the engine is asked for: the parameters of `/build`, for either builder.

use std::collections::{BTreeSet, HashMap};

use secrecy::ExposeSecret;

use super::context::Context;
use super::output::Output;
use super::request::{Request, UsedBuilder, Variable};

/// The kernel's accounting period that a share of a processor is expressed in.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// Build arguments that every Dockerfile may use without declaring them.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The build's parameters. Only arguments that the Dockerfile declares are passed.
pub(super) async fn query(
    request: &Request<'_>,
    context: &Context,
    builder: UsedBuilder,
    id: &str,
    output: &mut Output<'_>,
) -> String {
    let declared = declared_arguments(&context.dockerfile_text);
    let mut arguments: HashMap<&str, &str> = HashMap::new();
    for Variable { name, value, secret } in &request.variables {
        if declared.contains(name.as_str()) || (!secret && PREDEFINED.contains(&name.as_str())) {
            arguments.insert(name, value.expose_secret());
            if *secret {
                output
                    .warn(format!(
                        "the Dockerfile takes the secret {name} as an ARG, which stays in the image's history; use `RUN --mount=type=secret,id={name}`"
                    ))
                    .await;
            }
        } else if *secret && builder == UsedBuilder::Classic {
            output
                .warn(format!("the secret {name} is not given to the build: the classic builder has no secrets, and the Dockerfile declares no ARG {name}"))
                .await;
        }
    }
    let labels: HashMap<&str, &str> =
        request.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let json = |map: &HashMap<&str, &str>| serde_json::json!(map).to_string();
    let limits = &request.limits;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("t", &request.tag)
        .append_pair("dockerfile", &context.dockerfile)
        .append_pair("rm", "1")
        .append_pair("forcerm", "1")
        .append_pair("labels", &json(&labels))
        .append_pair("buildargs", &json(&arguments));
    if let Some(network) = &request.network {
        query.append_pair("networkmode", network);
    }
    if let Some(parent) = &limits.cgroup_parent {
        query.append_pair("cgroupparent", parent);
    }
    match builder {
        UsedBuilder::Classic => {
            // As much with swap as without: none.
            let quota = (limits.cpus * CPU_PERIOD_MICROS as f64).max(1_000.0) as u64;
            query
                .append_pair("version", "1")
                .append_pair("memory", &limits.memory_bytes.to_string())
                .append_pair("memswap", &limits.memory_bytes.to_string())
                .append_pair("cpuperiod", &CPU_PERIOD_MICROS.to_string())
                .append_pair("cpuquota", &quota.to_string());
        }
        UsedBuilder::BuildKit => {
            query.append_pair("version", "2").append_pair("session", id).append_pair("buildid", id);
        }
    }
    query.finish()
}

/// Names after `ARG`, in any stage.
fn declared_arguments(dockerfile: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("ARG")) {
            names.extend(words.filter_map(|word| word.split('=').next()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_in_every_stage() {
        let dockerfile = "ARG A=1\nFROM x\n arg B C=2\nRUN echo ARG D\n# ARG E\nARGUMENT F\n";
        assert_eq!(declared_arguments(dockerfile).into_iter().collect::<Vec<_>>(), ["A", "B", "C"]);
    }
}
