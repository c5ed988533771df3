//! What a RUN does that it should not, and what comes in the wrong order.

use super::{Findings, Severity};
use crate::dockerfile::commands::{Command, commands, is_shell};
use crate::dockerfile::parse::Instruction;
use crate::dockerfile::stages::Stage;

pub(super) fn look(run: &Instruction, quiet_pip: bool, findings: &mut Findings) {
    if run.keyword != "RUN" {
        return;
    }
    let commands = commands(run);
    let mounts = |folder: &str| {
        run.flags
            .iter()
            .any(|it| it.starts_with("--mount=") && it.contains("type=cache") && it.contains(folder))
    };
    apt(run, &commands, mounts("/var/lib/apt"), findings);
    // Whatever is mounted as a cache is not kept in the layer.
    if !quiet_pip && !mounts("pip") && commands.iter().any(pip_keeps_cache) {
        findings.add(
            "pip-cache",
            Severity::Warning,
            run.line,
            "pip keeps what it downloaded in the layer",
            "add --no-cache-dir to pip install",
        );
    }
    if commands.iter().any(|it| it.program() == "sudo") {
        findings.add(
            "sudo",
            Severity::Warning,
            run.line,
            "sudo has no place in a build: the user before it is root, or is kept from being root for nothing",
            "put USER root before this RUN and the program's user after it",
        );
    }
    if pipes_download(run, &commands) {
        findings.add(
            "pipe-to-shell",
            Severity::Warning,
            run.line,
            "a download is run as it comes: nobody checks it, and half of it runs when the connection breaks",
            "download to a file, compare its checksum, then run it",
        );
    }
}

fn apt(run: &Instruction, commands: &[Command], mounted: bool, findings: &mut Findings) {
    let apt = |verb: &'static str| {
        commands
            .iter()
            .filter(move |it| matches!(unprivileged(it).program(), "apt-get" | "apt") && it.has(verb))
    };
    let removes =
        |it: &Command| it.program() == "rm" && it.words.iter().any(|it| it.starts_with("/var/lib/apt/lists"));
    let fetches = apt("update").next().is_some() || apt("install").next().is_some();
    if fetches && !mounted && !commands.iter().any(|it| removes(&unprivileged(it))) {
        findings.add(
            "apt-lists",
            Severity::Warning,
            run.line,
            "the package lists stay in the layer",
            "end the same RUN with && rm -rf /var/lib/apt/lists/*",
        );
    }
    let recommends = |it: &Command| {
        !it.has("--no-install-recommends")
            && !it.words.iter().any(|it| it.starts_with("APT::Install-Recommends="))
    };
    if apt("install").any(recommends) {
        findings.add(
            "apt-recommends",
            Severity::Info,
            run.line,
            "apt-get also installs what it only recommends",
            "add --no-install-recommends",
        );
    }
}

/// The command behind `sudo`.
fn unprivileged(command: &Command) -> Command {
    if command.program() != "sudo" {
        return command.clone();
    }
    let words = command.words[1..].iter().skip_while(|it| it.starts_with('-')).cloned().collect();
    Command { words, piped: command.piped }
}

/// The arguments after `pip install`, whichever way pip is called.
fn pip_install(command: &Command) -> Option<Vec<String>> {
    let command = unprivileged(command);
    let pip = |word: &str| {
        let name = word.rsplit('/').next().unwrap_or_default();
        name.strip_prefix("pip").is_some_and(|it| it.bytes().all(|it| it.is_ascii_digit() || it == b'.'))
    };
    let mut rest = command.words.as_slice();
    if command.program().starts_with("python") {
        let at = rest.windows(2).position(|it| it[0] == "-m" && pip(&it[1]))?;
        rest = &rest[at + 1..];
    }
    let (first, rest) = rest.split_first()?;
    (pip(first) && rest.iter().any(|it| it == "install")).then(|| rest.to_vec())
}

fn pip_keeps_cache(command: &Command) -> bool {
    pip_install(command)
        .is_some_and(|rest| !rest.iter().any(|it| it == "--no-cache-dir" || it == "--no-cache"))
}

fn pipes_download(run: &Instruction, commands: &[Command]) -> bool {
    let loads = |it: &Command| matches!(unprivileged(it).program(), "curl" | "wget");
    let runs = |it: &Command| {
        let it = unprivileged(it);
        is_shell(it.program())
            || matches!(it.program(), "python" | "python3" | "perl" | "ruby" | "node" | "php")
    };
    let mut loaded = false;
    for command in commands {
        loaded = loads(command) || (loaded && command.piped);
        if loaded && command.piped && runs(command) {
            return true;
        }
    }
    let texts = || std::iter::once(&run.args).chain(&run.heredocs);
    commands.iter().any(runs)
        && texts().any(|text| {
            ["$(curl", "$(wget", "<(curl", "<(wget", "`curl", "`wget"].iter().any(|it| text.contains(it))
        })
}

/// Whether the command installs what a manifest of the repository lists.
fn installs_dependencies(command: &Command) -> bool {
    let verb = command.verb();
    match command.program() {
        "npm" => matches!(verb, "ci" | "install" | "i") && !command.has("-g") && !command.has("--global"),
        "yarn" => matches!(verb, "" | "install"),
        "pnpm" | "bun" => matches!(verb, "install" | "i" | "fetch"),
        "poetry" | "bundle" | "composer" => verb == "install",
        "uv" => matches!(verb, "sync" | "pip"),
        "pipenv" => matches!(verb, "install" | "sync"),
        "go" => verb == "mod" && command.has("download"),
        "cargo" => verb == "fetch",
        "dotnet" => verb == "restore",
        "mvn" | "mvnw" => command.words.iter().any(|it| it.starts_with("dependency:")),
        // The project itself is not a list.
        _ => pip_install(command).is_some_and(|rest| {
            rest.iter().any(|it| it.starts_with("-r") || it.starts_with("--requirement"))
        }),
    }
}

/// The source comes before what is installed, although it changes more often.
pub(super) fn order(stage: &Stage, findings: &mut Findings) {
    let mut source = None;
    for found in &stage.instructions {
        match found.keyword.as_str() {
            "COPY" | "ADD" if found.flag("from").is_none() && copies_everything(found) => {
                source.get_or_insert(found.line);
            }
            "RUN" if commands(found).iter().any(installs_dependencies) => {
                if let Some(line) = source {
                    findings.add(
                        "layer-order",
                        Severity::Warning,
                        line,
                        format!("the whole source is copied before line {} installs what it depends on, so every change installs all again", found.line),
                        "copy only the manifest and lock file first, install, then copy the rest",
                    );
                }
                return;
            }
            _ => {}
        }
    }
}

fn copies_everything(copy: &Instruction) -> bool {
    let words = copy.json().unwrap_or_else(|| copy.args.split_whitespace().map(str::to_owned).collect());
    let sources = words.len().saturating_sub(1);
    words[..sources].iter().any(|it| matches!(it.as_str(), "." | "./" | "*" | "./*" | "/"))
}
