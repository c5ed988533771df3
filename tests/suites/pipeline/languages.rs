//! A real application for each language: detected, given a Dockerfile, built with its dependencies, started, and asked.
//!
//! Out of reach without an image registry: .NET, Gradle and Bun. Their generated files are held to the parser and the lint.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use deploymind_shared::db::builds::{Build, build_get};
use deploymind_shared::db::deployments::Created;
use deploymind_shared::db::releases::release_get;
use deploymind_shared::domain::app::AppSettings;
use deploymind_shared::domain::release::ReleaseSpec;
use deploymind_shared::ids::AppId;
use deploymind_tests::delivery::{Delivery, Ended, docker, entries};
use deploymind_tests::{http, wait_for};
use deploymind_worker::detect::{DetectSettings, detect};
use deploymind_worker::dockerfile::{GenerateOptions, Severity, base_images, generate, lint};
use serde_json::{Value, json};

use crate::common::SOON;

/// A compiler's first build fetches and compiles everything.
const COMPILED: Duration = Duration::from_secs(500);

struct Sample {
    folder: &'static str,
    root: Option<&'static str>,
    /// Language, version, framework, package manager.
    detected: [Option<&'static str>; 4],
    port: u16,
    user: &'static str,
    /// Of the Dockerfile: where it is built and where it runs.
    bases: &'static [&'static str],
}

const OURS: &str = "10001:10001";
const NODE: &str = "node:22-bookworm-slim";
const PYTHON: &str = "python:3.12-slim-bookworm";
const DEBIAN: &str = "debian:bookworm-slim";
const NGINX: &str = "nginxinc/nginx-unprivileged:1.29-bookworm";

const fn sample(
    folder: &'static str,
    detected: [Option<&'static str>; 4],
    port: u16,
    user: &'static str,
    bases: &'static [&'static str],
) -> Sample {
    Sample { folder, root: None, detected, port, user, bases }
}

/// The slow ones first: there are two places.
const SAMPLES: &[Sample] = &[
    sample(
        "java-spring",
        [Some("java"), Some("17"), Some("spring-boot"), Some("maven")],
        8080,
        OURS,
        &["maven:3.9-eclipse-temurin-17", "eclipse-temurin:17-jre"],
    ),
    sample(
        "rust-axum",
        [Some("rust"), None, Some("axum"), Some("cargo")],
        3000,
        OURS,
        &["rust:1.95-slim-bookworm", DEBIAN],
    ),
    sample(
        "go-chi",
        [Some("go"), Some("1.24"), Some("chi"), Some("go-modules")],
        8080,
        OURS,
        &["golang:1.24-bookworm", DEBIAN],
    ),
    sample(
        "ruby-sinatra",
        [Some("ruby"), None, Some("sinatra"), Some("bundler")],
        4567,
        OURS,
        &["ruby:3.3-slim-bookworm"],
    ),
    sample("node-vite", [Some("node"), None, Some("vite"), Some("npm")], 8080, "101:101", &[NODE, NGINX]),
    sample("python-fastapi", [Some("python"), None, Some("fastapi"), Some("pip")], 8000, OURS, &[PYTHON]),
    sample("node-express", [Some("node"), Some("22"), Some("express"), Some("npm")], 3000, OURS, &[NODE]),
    Sample {
        root: Some("services/api"),
        ..sample("monorepo", [Some("python"), None, Some("flask"), Some("pip")], 5000, OURS, &[PYTHON])
    },
    sample("vulnerable-python", [Some("python"), None, Some("flask"), Some("pip")], 5000, OURS, &[PYTHON]),
    sample("vulnerable-node", [Some("node"), None, None, Some("npm")], 3000, OURS, &[NODE]),
    sample(
        "php",
        [Some("php"), Some("8.2"), None, Some("composer")],
        8000,
        "33:33",
        &["composer:2", "php:8.2-apache-bookworm"],
    ),
    sample("static-site", [Some("static"), None, None, None], 8080, "101:101", &[NGINX]),
];

/// Those with a Dockerfile of their own fail on purpose, and .NET cannot be built here.
const OTHERS: &[&str] = &["broken-build", "never-ends", "dotnet-minimal"];

fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("apps")
}

#[test]
fn every_sample_is_deployed_by_some_test() {
    let mut there: Vec<String> = std::fs::read_dir(apps())
        .expect("the samples")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let mut known: Vec<&str> = SAMPLES.iter().map(|it| it.folder).chain(OTHERS.iter().copied()).collect();
    there.sort();
    known.sort_unstable();
    assert_eq!(there, known);
}

/// What the deployments below show as well, but at once.
#[test]
fn every_sample_is_detected_for_a_reason() {
    for sample in SAMPLES {
        let settings = DetectSettings { root: sample.root.map(str::to_owned), ..DetectSettings::default() };
        let found = detect(&apps().join(sample.folder), &settings).expect(sample.folder);
        check_detection(sample, &json!(found));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_language_becomes_an_image_that_answers() {
    let delivery = Delivery::start().await;
    let _nodes = delivery.nodes().await;
    let all: Vec<&Sample> = SAMPLES.iter().collect();
    deploy_and_ask(&delivery, &all, "classic").await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_buildkit_the_caches_of_package_managers_are_mounted() {
    let delivery = Delivery::start().await;
    let _worker = delivery
        .worker()
        .set("DEPLOYMIND_BUILDER", "buildkit")
        // This engine's BuildKit has no cgroup of its own to keep the caps in.
        .set("DEPLOYMIND_BUILD_REQUIRE_CAPS", "false")
        .ready()
        .await;
    let _scheduler = delivery.rig.scheduler().ready().await;
    let wanted = ["node-express", "python-fastapi"];
    let some: Vec<&Sample> = SAMPLES.iter().filter(|it| wanted.contains(&it.folder)).collect();
    let builds = deploy_and_ask(&delivery, &some, "buildkit").await;
    assert_eq!(builds.len(), wanted.len());
    for (app, build) in builds {
        let mount = format!("--mount=type=cache,id=deploymind-{app}-");
        assert!(build.dockerfile.contains(&mount), "{}", build.dockerfile);
    }
    delivery.finish().await;
}

/// Deploys all at once, asks each, and prints what it cost.
async fn deploy_and_ask(delivery: &Delivery, samples: &[&Sample], builder: &str) -> Vec<(AppId, Build)> {
    let started = Instant::now();
    let mut created: Vec<(&Sample, AppId, Created)> = Vec::new();
    for sample in samples {
        let (app, _) = delivery.app(sample.folder, &entries(&apps().join(sample.folder))).await;
        if let Some(root) = sample.root {
            delivery
                .settings(app, &AppSettings { root: Some(root.to_owned()), ..AppSettings::default() })
                .await;
        }
        created.push((sample, app, delivery.deploy(app).await));
    }
    let mut builds = Vec::new();
    println!("{:20} {:>8} {:>7} {:>6}", builder, "build s", "MB", "layers");
    for (sample, app, created) in &created {
        let ended = delivery.ended(created, COMPILED).await;
        ended.assert_released();
        let build =
            build_get(&delivery.rig.fleet.db, created.deployment).await.expect("read").expect("a build");
        assert_eq!(build.builder, builder, "{}", sample.folder);
        println!(
            "{:20} {:8.1} {:7.1} {:6}",
            sample.folder,
            Duration::from_millis(build.duration_ms.unsigned_abs()).as_secs_f64(),
            build.size_bytes as f64 / 1e6,
            build.layers
        );
        check_detection(sample, &build.detection);
        check_told(sample, &build, &ended);
        let release = release_get(&delivery.rig.fleet.db, ended.deployment.release.expect("released")).await;
        let spec: ReleaseSpec =
            serde_json::from_value(release.expect("read").expect("a release").spec).expect("a spec");
        assert_eq!((spec.port, &spec.image.id), (Some(sample.port), &build.image_id), "{}", sample.folder);
        ask(sample, &spec.image.reference).await;
        builds.push((*app, build));
    }
    println!("{} deployments in {:.1} s", samples.len(), started.elapsed().as_secs_f64());
    delivery.assert_clean(SOON).await;
    builds
}

fn check_detection(sample: &Sample, found: &Value) {
    let name = sample.folder;
    let words = ["language", "version", "framework", "package_manager"].map(|field| found[field].as_str());
    assert_eq!(words, sample.detected, "{name}: {found:#}");
    assert_eq!(found["port"], json!(sample.port), "{name}: {found:#}");
    assert_eq!(found["dockerfile"], Value::Null, "{name}");
    let reasons = found["reasons"].as_array().expect("reasons");
    assert!(
        reasons.iter().any(|it| !it["file"].as_str().unwrap_or_default().is_empty()),
        "{name}: {reasons:?}"
    );
}

/// The person who deploys sees what was detected, and the generated file is a good one.
fn check_told(sample: &Sample, build: &Build, ended: &Ended) {
    let name = sample.folder;
    let language = sample.detected[0].expect("every sample has one");
    assert!(ended.text().contains(&format!("detected: {language}")), "{name}: {}", ended.text());
    assert_eq!(base_images(&build.dockerfile), sample.bases, "{name}");
    let findings = build.lint.as_array().expect("findings");
    let bad: Vec<&Value> = findings.iter().filter(|it| it["severity"] != "info").collect();
    assert!(bad.is_empty(), "{name}: {bad:?}");
}

/// Removed when the test is over, however it ends.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.0]);
    }
}

/// Starts it as a careful host would: no privileges, a port on loopback.
async fn ask(sample: &Sample, image: &str) {
    let name = sample.folder;
    assert_eq!(
        docker(&["image", "inspect", "--format", "{{.Config.User}}", image]).trim(),
        sample.user,
        "{name}"
    );
    let publish = format!("127.0.0.1::{}", sample.port);
    let options =
        ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "1g", "--publish", &publish];
    let id = docker(&[&["run", "--detach"], &options[..], &[image]].concat());
    let container = Container(id.trim().to_owned());
    let address = docker(&["port", &container.0, &format!("{}/tcp", sample.port)]);
    let address = address.lines().next().expect("a published port").trim();
    let page = wait_for("the program to answer", SOON, async || {
        let state = docker(&["inspect", "--format", "{{.State.Status}}", &container.0]);
        // Not `docker()`: what it printed is on both channels.
        let said = || {
            let output =
                std::process::Command::new("docker").args(["logs", &container.0]).output().expect("docker");
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        };
        assert_eq!(state.trim(), "running", "{name} ended: {}", said());
        match http::get(&format!("http://{address}/")).await {
            Ok(answer) if answer.status == 200 => Ok(answer.body),
            Ok(answer) => Err(format!("{name}: {} {}\n{}", answer.status, answer.body, said())),
            Err(error) => Err(format!("{name}: {error}\n{}", said())),
        }
    })
    .await;
    let word = if name == "monorepo" { "monorepo-api" } else { name };
    assert!(page.contains(word), "{name}: {page}");
    let health = http::get(&format!("http://{address}/health")).await.expect("it answers");
    assert_eq!((health.status, health.body.as_str()), (200, "ok"), "{name}");
    assert_ne!(docker(&["exec", &container.0, "id", "-u"]).trim(), "0", "{name} runs as root");
}

/// What cannot be built here: the samples, what they are built from, and what must be in the file.
#[test]
fn what_has_no_base_image_here_gets_a_file_that_parses_and_passes_the_lint() {
    let gradle: &[(&str, &str)] = &[
        (
            "build.gradle",
            "plugins { id 'org.springframework.boot' version '3.4.1' }\njava { toolchain { languageVersion = JavaLanguageVersion.of(17) } }\n",
        ),
        ("settings.gradle", "rootProject.name = 'shop'\n"),
        ("src/main/java/Shop.java", "class Shop {}\n"),
    ];
    let bun: &[(&str, &str)] = &[
        (
            "package.json",
            r#"{"name":"shop","scripts":{"start":"bun server.ts"},"dependencies":{"hono":"4.6.0"}}"#,
        ),
        ("bun.lock", "{\n  \"lockfileVersion\": 1,\n}\n"),
        ("server.ts", "export default { port: 3000, fetch: () => new Response('hello') };\n"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str, files: &[(&str, &str)]| {
        let root = folder.path().join(name);
        for (file, text) in files {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        root
    };
    for (root, manager, bases) in [
        (
            apps().join("dotnet-minimal"),
            "nuget",
            &["mcr.microsoft.com/dotnet/sdk:8.0", "mcr.microsoft.com/dotnet/aspnet:8.0"][..],
        ),
        (written("gradle", gradle), "gradle", &["gradle:8-jdk17", "eclipse-temurin:17-jre"]),
        (written("bun", bun), "bun", &["oven/bun:1-debian"]),
    ] {
        let found = detect(&root, &DetectSettings::default()).expect(manager);
        assert_eq!(found.package_manager.map(|it| it.as_str()), Some(manager));
        assert!(!found.reasons.is_empty());
        for buildkit in [false, true] {
            let options = GenerateOptions { buildkit, ..GenerateOptions::default() };
            let made = generate(&found, &options).expect(manager);
            assert_eq!(base_images(&made.dockerfile), bases, "{manager}");
            let findings = lint(&made.dockerfile, true).expect("it parses");
            assert!(
                findings.iter().all(|it| it.severity == Severity::Info),
                "{manager}: {findings:?}\n{}",
                made.dockerfile
            );
            assert_eq!(made.dockerfile.contains("--mount=type=cache"), buildkit, "{manager}");
        }
    }
}
