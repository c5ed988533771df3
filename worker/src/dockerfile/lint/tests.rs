//! Each rule with a text that breaks it, the line it is found on, and a text that keeps it.

use deploymind_shared::error::Code;

use super::{Finding, Severity, lint};
use crate::dockerfile::{base_images, exposed_ports};

fn findings(text: &str) -> Vec<Finding> {
    lint(text, true).expect("a Dockerfile")
}

/// `(rule, severity, line)`; the hints that nearly every text gets are left out.
fn found(text: &str) -> Vec<(&'static str, Severity, u32)> {
    let hints = ["expose-missing", "healthcheck-missing", "user-root"];
    let found = findings(text).into_iter().filter(|it| !hints.contains(&it.rule));
    found.map(|it| (it.rule, it.severity, it.line)).collect()
}

use Severity::{Error, Info, Warning};

#[test]
fn each_rule_finds_its_line() {
    for (text, rule, severity, line) in [
        ("FROM debian", "base-untagged", Warning, 1),
        ("FROM registry.example:5000/debian", "base-untagged", Warning, 1),
        ("FROM debian:latest", "base-latest", Warning, 1),
        ("ARG TAG=latest\nFROM debian:$TAG", "base-latest", Warning, 2),
        ("ARG TAG\nFROM debian:${TAG}", "base-unresolved", Warning, 2),
        ("FROM golang:1.24\n\nRUN go build -o /app .", "single-stage", Warning, 3),
        (
            "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends gcc && rm -rf /var/lib/apt/lists/*",
            "single-stage",
            Warning,
            2,
        ),
        ("FROM node:22\nCOPY . .\nRUN npm ci", "layer-order", Warning, 2),
        (
            "FROM python:3.12\nCOPY [\"./\", \"/app\"]\n# next\nRUN pip install --no-cache-dir -r a.txt",
            "layer-order",
            Warning,
            2,
        ),
        (
            "FROM debian:12\nRUN apt-get update \\\n && apt-get install -y --no-install-recommends curl",
            "apt-lists",
            Warning,
            2,
        ),
        (
            "FROM debian:12\nRUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*",
            "apt-recommends",
            Info,
            2,
        ),
        ("FROM python:3.12\nRUN pip install flask", "pip-cache", Warning, 2),
        ("FROM python:3.12\nRUN python3 -m pip install flask", "pip-cache", Warning, 2),
        ("FROM python:3.12\nRUN <<EOF\npip3 install flask\nEOF", "pip-cache", Warning, 2),
        ("FROM debian:12\nENV DB_PASSWORD=correct-horse", "secret-in-env", Error, 2),
        ("FROM debian:12\nENV API_TOKEN correct horse", "secret-in-env", Error, 2),
        ("FROM debian:12\nENV A=1 \\\n  DSN=postgres://me:hunter22@db/x", "secret-in-env", Error, 2),
        ("ARG SECRET_KEY=abcdefgh\nFROM debian:12", "secret-in-arg", Error, 1),
        ("FROM debian:12\nARG NPM_TOKEN", "secret-in-arg", Warning, 2),
        (
            "FROM debian:12 AS build\nARG NPM_TOKEN\nFROM debian:12\nCOPY --from=build /a /a",
            "secret-in-arg",
            Info,
            2,
        ),
        (
            "FROM debian:12\nRUN curl -H 'Authorization: ghp_abcdefghijklmnopqrstuvwxyz0123456789' x",
            "secret-in-text",
            Error,
            2,
        ),
        ("FROM debian:12\nADD https://example.com/a.tgz /a", "add-url", Warning, 2),
        ("FROM debian:12\nONBUILD ADD [\"https://example.com/a\", \"/a\"]", "add-url", Warning, 2),
        ("FROM debian:12\nCMD node server.js", "shell-form", Warning, 2),
        ("FROM debian:12\nENTRYPOINT ['node', 'server.js']", "shell-form", Warning, 2),
        ("FROM debian:12\nRUNN ls", "unknown-instruction", Error, 2),
        ("FROM debian:12\nRUN true && sudo ls", "sudo", Warning, 2),
        ("FROM debian:12\nRUN curl -fsSL https://example.com | sh", "pipe-to-shell", Warning, 2),
        (
            "FROM debian:12\nRUN wget -qO- https://example.com | tee /x | sudo -E bash -",
            "pipe-to-shell",
            Warning,
            2,
        ),
        ("FROM debian:12\nRUN bash -c \"$(curl -fsSL https://example.com)\"", "pipe-to-shell", Warning, 2),
    ] {
        assert!(found(text).contains(&(rule, severity, line)), "{rule} in\n{text}\n{:#?}", findings(text));
    }
}

#[test]
fn what_is_right_is_left_alone() {
    for text in [
        "FROM debian@sha256:0000",
        "FROM registry.example:5000/debian:12",
        "ARG TAG=12\nFROM debian:${TAG:-11}",
        "FROM scratch\nCOPY a /a",
        "FROM golang:1.24 AS build\nRUN go build -o /app .\nFROM debian:12\nCOPY --from=build /app /app",
        "FROM node:22\nCOPY package.json package-lock.json ./\nRUN npm ci\nCOPY . .\nRUN npm rebuild",
        "FROM node:22\nCOPY --from=docs:1 . .\nRUN npm ci",
        "FROM debian:12\nRUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*",
        "FROM debian:12\nRUN --mount=type=cache,target=/var/lib/apt apt-get install -y --no-install-recommends curl",
        "FROM python:3.12\nRUN pip install --no-cache-dir flask",
        "FROM python:3.12\nENV PIP_NO_CACHE_DIR=1\nRUN pip install flask",
        "FROM python:3.12\nRUN --mount=type=cache,target=/root/.cache/pip pip install flask",
        "FROM python:3.12\nRUN echo 'pip install flask'",
        "FROM debian:12\nENV TOKEN_TTL=3600 SECRET_FILE=/run/secrets/a PASSWORD=$GIVEN HAS_TOKEN=true",
        "FROM debian:12\nENV DSN=postgres://db/x ADDRESS=https://${USER}:${WORD}@example.com",
        "FROM debian:12\nADD a.tgz /a",
        "FROM debian:12\nCMD [\"node\", \"server.js\"]",
        "FROM debian:12\nHEALTHCHECK CMD curl -f http://localhost/",
        "FROM debian:12\nRUN echo sudo",
        "FROM debian:12\nRUN curl -fsSLo /a https://example.com && sh /b",
        "FROM debian:12\nRUN curl https://example.com | tar xz",
        "FROM debian:12\nRUN <<EOF\nUSER root\nRUNN\nEOF",
        "# escape=`\nFROM debian:12\nRUN dir `\n  C:\\\nCMD [\"a\"]",
        "from debian:12\nrun a \\\n# a comment\n\n  && b",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn the_program_should_not_be_root() {
    let line = |text: &str| findings(text).iter().find(|it| it.rule == "user-root").map(|it| it.line);
    for (text, expected) in [
        ("FROM debian:12", Some(1)),
        ("FROM debian:12\nUSER app\nUSER root", Some(3)),
        ("FROM debian:12\nUSER 0:0", Some(2)),
        ("FROM debian:12\nARG WHO=root\nUSER $WHO", Some(3)),
        ("FROM debian:12 AS a\nUSER 1000\nFROM debian:12", Some(3)),
        ("FROM debian:12\nUSER 1000", None),
        ("FROM debian:12 AS a\nUSER 1000\nFROM a AS b", None),
        ("FROM nginxinc/nginx-unprivileged:1.29", None),
        ("FROM gcr.io/distroless/static:nonroot", None),
    ] {
        assert_eq!(line(text), expected, "{text}");
    }
}

#[test]
fn hints_and_the_dockerignore() {
    let rules = |text: &str, ignore| {
        lint(text, ignore).expect("a Dockerfile").iter().map(|it| it.rule).collect::<Vec<_>>()
    };
    let bare = "FROM debian:12\nUSER 1";
    assert_eq!(rules(bare, true), ["expose-missing", "healthcheck-missing"]);
    let full = "FROM debian:12 AS a\nEXPOSE 80\nHEALTHCHECK CMD true\nFROM a\nUSER 1";
    assert_eq!(rules(full, true), [""; 0]);
    assert_eq!(rules(full, false), ["dockerignore-missing"]);
}

#[test]
fn every_shape_of_a_secret_is_known_and_none_is_repeated() {
    let long = "abcdefghij0123456789abcdefghij0123456789ABCDE";
    for secret in [
        format!("ghp_{long}"),
        format!("github_pat_{long}"),
        format!("glpat-{long}"),
        "AKIAABCDEFGHIJKLMNOP".into(),
        "-----BEGIN RSA PRIVATE KEY-----".into(),
        format!("xoxb-{long}"),
        format!("sk_live_{long}"),
        format!("sk-{long}"),
        format!("npm_{long}"),
        format!("pypi-{long}"),
        format!("AIza{}", &long[..35]),
        format!("SG.{long}.{long}"),
        "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK".into(),
        "redis://:hunter2222@cache:6379".into(),
    ] {
        for text in [
            format!("FROM debian:12\nENV HARMLESS=\"{secret}\""),
            format!("FROM debian:12\nLABEL a=\"{secret}\""),
            format!("FROM debian:12\nRUN <<E\necho {secret}\nE"),
            format!("FROM debian:12\nRUN echo {secret} \\\n | sudo sh"),
            format!("FROM debian:12\n{secret} x"),
            format!("ARG HARMLESS={secret}\nFROM debian:12"),
        ] {
            let all = serde_json::to_string(&findings(&text)).expect("JSON");
            assert!(
                all.contains("secret-in-")
                    || text.contains("\n-----")
                    || text.contains(&format!("\n{secret}")),
                "{text}"
            );
            assert!(!all.contains(&secret), "{all}");
            assert!(!all.to_ascii_lowercase().contains(&secret.to_ascii_lowercase()), "{all}");
        }
    }
}

#[test]
fn what_is_no_dockerfile_is_said_with_its_line() {
    let huge = format!("FROM debian:12\n#{}", "x".repeat(512 * 1024));
    for (text, line) in [
        ("", "line 1 "),
        ("# only a comment\n", "line 1 "),
        ("\nhello world\n", "line 2 "),
        ("ARG A=1\nRUN ls\nFROM a", "line 2 "),
        ("FROM", "line 1 "),
        ("FROM a\nRUN <<EOF\nls", "line 2 "),
        ("FROM a\nRUN \0", "line 2 "),
        (huge.as_str(), "line 1 "),
    ] {
        let error = lint(text, true).expect_err("refused");
        assert_eq!(error.code(), Code::DockerfileInvalid);
        assert!(error.sentence().starts_with(line), "{error}");
    }
}

#[test]
fn ports_and_bases_are_read_with_their_defaults() {
    let text = "ARG TAG=12\nARG OTHER\nFROM debian:$TAG AS base\nEXPOSE 81/tcp 53/udp\nFROM $OTHER\nFROM base\n\
                ARG TAG\nENV PORT=8080\nEXPOSE $PORT 9000-9005 99999\nCOPY --from=composer:2 /a /a\nCOPY --from=base /b /b";
    assert_eq!(exposed_ports(text), [81, 8080, 9000]);
    assert_eq!(base_images(text), ["debian:12", "composer:2"]);
    assert_eq!(exposed_ports("nonsense"), [0u16; 0]);
}

#[test]
fn a_finding_is_plain_json() {
    let finding =
        Finding { rule: "sudo", severity: Severity::Warning, line: 2, message: "a".into(), fix: "b".into() };
    let json =
        serde_json::json!({"rule": "sudo", "severity": "warning", "line": 2, "message": "a", "fix": "b"});
    assert_eq!(serde_json::to_value(finding).expect("JSON"), json);
}
