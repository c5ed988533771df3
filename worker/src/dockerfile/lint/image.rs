//! What the image is made of and what it says of itself: bases, stages, user, ports.

use super::{Findings, Severity};
use crate::dockerfile::commands::commands;
use crate::dockerfile::stages::{Base, Stage, Stages, expand};

pub(super) fn look(stages: &Stages, dockerignore_present: bool, findings: &mut Findings) {
    for stage in &stages.stages {
        base(stage, findings);
    }
    single_stage(stages, findings);
    user(stages, findings);
    let last = stages.stages.last().map_or(1, |it| it.from.line);
    let shipped = stages.shipped();
    let says = |keyword: &str| {
        shipped.iter().any(|place| stages.stages[*place].instructions.iter().any(|it| it.keyword == keyword))
    };
    if !says("EXPOSE") {
        findings.add(
            "expose-missing",
            Severity::Info,
            last,
            "the image does not say which port it listens on",
            "add EXPOSE with the port",
        );
    }
    if !says("HEALTHCHECK") {
        findings.add(
            "healthcheck-missing",
            Severity::Info,
            last,
            "the image does not say how to ask whether it is healthy; the app's health path is asked instead",
            "set a health path in the app's settings, or add HEALTHCHECK",
        );
    }
    if !dockerignore_present {
        findings.add(
            "dockerignore-missing",
            Severity::Warning,
            1,
            "there is no .dockerignore, so the history and whatever else lies around are sent to the builder",
            "add a .dockerignore that names .git, .env and the folders that a build makes",
        );
    }
}

fn base(stage: &Stage, findings: &mut Findings) {
    let line = stage.from.line;
    let image = match &stage.base {
        Base::Image(image) => image,
        Base::Unresolved => {
            return findings.add(
                "base-unresolved",
                Severity::Warning,
                line,
                "the base image depends on a variable without a default",
                "give the ARG before FROM a default: ARG VERSION=1.2",
            );
        }
        Base::Stage(_) | Base::Scratch => return,
    };
    if image.contains('@') {
        return;
    }
    // A colon before the last slash is the port of a registry.
    let tag = image.rsplit('/').next().and_then(|it| it.split_once(':')).map(|it| it.1).unwrap_or_default();
    if tag.is_empty() {
        findings.add(
            "base-untagged",
            Severity::Warning,
            line,
            "the base image has no tag, so it is another one tomorrow",
            "name a version: FROM image:1.2",
        );
    } else if tag == "latest" {
        findings.add(
            "base-latest",
            Severity::Warning,
            line,
            "the base image is whatever is latest on the day of the build",
            "name a version: FROM image:1.2",
        );
    }
}

/// Tools that the running program has no use for.
const COMPILERS: &[&str] =
    &["build-essential", "gcc", "g++", "make", "cmake", "build-base", "default-jdk", "cargo", "rustc"];

fn single_stage(stages: &Stages, findings: &mut Findings) {
    let [stage] = stages.stages.as_slice() else { return };
    let builds = stage.instructions.iter().filter(|it| it.keyword == "RUN").find(|run| {
        commands(run).iter().any(|command| {
            let installs = matches!(command.program(), "apt-get" | "apt" | "apk" | "yum" | "dnf");
            let verb = command.verb();
            (installs && COMPILERS.iter().any(|it| command.has(it)))
                || match command.program() {
                    "npm" | "yarn" | "pnpm" | "bun" => command.has("build"),
                    "go" | "cargo" => matches!(verb, "build" | "install"),
                    "mvn" | "mvnw" | "gradle" | "gradlew" => true,
                    "dotnet" => matches!(verb, "build" | "publish"),
                    _ => false,
                }
        })
    });
    if let Some(run) = builds {
        findings.add(
            "single-stage",
            Severity::Warning,
            run.line,
            "the program is built in the image that runs it, so its tools are shipped too",
            "build in a stage of its own (FROM … AS build) and COPY --from=build what runs",
        );
    }
}

fn user(stages: &Stages, findings: &mut Findings) {
    let shipped = stages.shipped();
    let last = shipped.iter().rev().find_map(|place| {
        let stage = &stages.stages[*place];
        let found = stage.instructions.iter().rev().find(|it| it.keyword == "USER")?;
        Some((found.line, expand(&found.args, &stage.variables, '\\')))
    });
    let fix = "create a user and end with USER 10001:10001, or name one that the base image has";
    match last {
        Some((line, Some(user))) if is_root(&user) => {
            findings.add("user-root", Severity::Warning, line, "the program runs as root", fix);
        }
        Some(_) => {}
        None => {
            let base = shipped.first().map(|place| &stages.stages[*place]);
            let own = base.is_some_and(|it| {
                matches!(&it.base, Base::Image(image) if image.contains("nonroot") || image.contains("unprivileged"))
            });
            if !own {
                let line = stages.stages.last().map_or(1, |it| it.from.line);
                findings.add(
                    "user-root",
                    Severity::Warning,
                    line,
                    "there is no USER, so the program runs as root",
                    fix,
                );
            }
        }
    }
}

fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default().trim();
    name == "root" || name.parse::<u64>() == Ok(0)
}
