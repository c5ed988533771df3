//! Rules of the house that a reader of the code would have to check by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::record::sources;

/// What the product is made of; tests may do as they like.
const PRODUCT: &[&str] = &["shared/src", "gateway/src", "worker/src", "scheduler/src", "cli/src"];
const LONGEST: usize = 600;

fn product() -> Vec<(String, String)> {
    PRODUCT.iter().flat_map(|directory| sources(directory, "rs")).collect()
}

/// Lines of code that hold one of `words`, outside files whose path holds one of `allowed`.
fn holding(files: &[(String, String)], words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        if allowed.iter().any(|part| path.contains(part)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn shared_depends_on_no_web_server_no_container_engine_no_cloud() {
    // Without a platform cargo wants the packages of all of them, which nobody has.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("run cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let data: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata");
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> = list(&data["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    // What is compiled into it; what its own tests use is not.
    let needs: BTreeMap<String, Vec<String>> = list(&data["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let deps = list(&node["deps"])
                .into_iter()
                .filter(|dep| list(&dep["dep_kinds"]).iter().any(|kind| text(&kind["kind"]) != "dev"));
            (text(&node["id"]), deps.map(|dep| text(&dep["pkg"])).collect())
        })
        .collect();
    let (root, _) =
        names.iter().find(|(_, name)| *name == "deploymind-shared").expect("it is in the workspace");
    let mut seen = BTreeSet::from([root.clone()]);
    let mut next = vec![root.clone()];
    while let Some(package) = next.pop() {
        for dependency in &needs[&package] {
            if seen.insert(dependency.clone()) {
                next.push(dependency.clone());
            }
        }
    }
    let heavy = |name: &str| {
        ["axum", "bollard"].contains(&name)
            || name.starts_with("aws-")
            || name == "kube"
            || name.starts_with("kube-")
    };
    let found: Vec<&str> = seen.iter().map(|id| names[id].as_str()).filter(|name| heavy(name)).collect();
    println!("shared depends on {} packages, transitively", seen.len() - 1);
    assert!(
        seen.len() > 50 && names.values().any(|name| name == "axum"),
        "the walk found too little to mean anything"
    );
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn sql_is_written_in_the_record_only() {
    let files = product();
    let found = holding(
        &files,
        &["sqlx::query", "sqlx::raw_sql", "query!(", "query_as!(", "query_scalar!("],
        &["/shared/src/db/"],
    );
    assert!(found.is_empty(), "{found:#?}");
    let control = holding(&files, &["sqlx::query"], &[]);
    println!("{} statements, all in shared/src/db", control.len());
    assert!(control.len() > 40);
}

#[test]
fn redis_is_spoken_to_in_the_queue_and_the_events_only() {
    let files = product();
    let words = [
        "redis::cmd",
        "redis::pipe",
        "redis::Cmd",
        "Script::new",
        "query_async",
        "invoke_async",
        "AsyncCommands",
    ];
    let allowed = ["/shared/src/queue/", "/shared/src/events/"];
    let found = holding(&files, &words, &allowed);
    assert!(found.is_empty(), "{found:#?}");
    assert!(!holding(&files, &words, &[]).is_empty(), "the control found nothing either");
    // Nor are keys put together elsewhere.
    let keys = ["queue:{", "processing:{", "lock:instance", "parked:{"];
    let found = holding(&files, &keys, &allowed);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_domain_does_nothing_but_decide() {
    let files = sources("shared/src/domain", "rs");
    let words = [
        "tokio",
        "sqlx",
        "redis",
        "hyper",
        "std::fs",
        "std::net",
        "std::process",
        "std::env",
        "std::thread",
        "async fn",
        "Instant::now",
        "SystemTime::now",
        "Utc::now",
        "rand::",
        "crate::db",
        "crate::queue",
        "crate::config",
    ];
    let found = holding(&files, &words, &[]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_fail_point_is_in_the_crash_suite() {
    let mut points = BTreeSet::new();
    for (_, text) in product() {
        for part in text.split("fail_point!(\"").skip(1) {
            points.insert(part.split('"').next().unwrap_or_default().to_owned());
        }
    }
    let mut suite = include_str!("crash.rs").to_owned();
    for folder in ["tests/suites/crash", "tests/suites/rollout"] {
        sources(folder, "rs").iter().for_each(|(_, text)| suite.push_str(text));
    }
    let missing: Vec<&String> =
        points.iter().filter(|point| !suite.contains(&format!("\"{point}\""))).collect();
    println!("{} fail points", points.len());
    assert!(points.len() >= 10, "the scan found {points:?} only");
    assert!(missing.is_empty(), "nobody dies at these lines: {missing:?}");
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let mut longest = (0, String::new());
    for directory in PRODUCT.iter().chain(&["tests/src", "tests/suites", "worker/ec2/src"]) {
        for (path, text) in sources(directory, "rs") {
            longest = longest.max((text.lines().count(), path));
        }
    }
    println!("longest: {} lines, {}", longest.0, longest.1);
    assert!(longest.0 <= LONGEST, "{} has {} lines, more than {LONGEST}", longest.1, longest.0);
}
