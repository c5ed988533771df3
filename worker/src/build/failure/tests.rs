//! Answers as Docker 20.10.24 gave them, and as later engines word the same.

use super::*;

struct Case {
    status: Option<u16>,
    code: Option<i64>,
    message: &'static str,
    instruction: Option<&'static str>,
    tail: &'static [&'static str],
}

const fn said(message: &'static str, instruction: Option<&'static str>) -> Case {
    Case { status: None, code: None, message, instruction, tail: &[] }
}

fn judged(case: &Case) -> Error {
    Failure {
        status: case.status,
        code: case.code,
        message: case.message.to_owned(),
        instruction: case.instruction.map(str::to_owned),
        tail: case.tail.iter().map(|line| (*line).to_owned()).collect(),
        memory: Some("64.0 MiB".to_owned()),
    }
    .judge()
}

#[test]
fn answers_mean_what_they_meant_when_they_were_recorded() {
    let table = [
        (
            Case {
                code: Some(3),
                tail: &["the reason"],
                ..said("The command '/bin/sh -c exit 3' returned a non-zero code: 3", Some("RUN exit 3"))
            },
            Code::BuildFailed,
            "the step `RUN exit 3` ended with exit code 3",
        ),
        (
            said("executor failed running [/bin/sh -c exit 3]: exit code: 3", Some("[3/3] RUN exit 3")),
            Code::BuildFailed,
            "exit code 3",
        ),
        (
            said(
                "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
                Some("[3/3] RUN exit 3"),
            ),
            Code::BuildFailed,
            "exit code 3",
        ),
        (
            Case {
                code: Some(127),
                ..said("The command '/bin/sh -c x' returned a non-zero code: 127", Some("RUN x"))
            },
            Code::BuildFailed,
            "not found",
        ),
        (
            Case {
                code: Some(137),
                ..said(
                    "The command '/bin/sh -c tail /dev/zero' returned a non-zero code: 137",
                    Some("RUN tail /dev/zero"),
                )
            },
            Code::BuildMemory,
            "64.0 MiB",
        ),
        (
            Case {
                tail: &["Killed"],
                ..said("executor failed running [/bin/sh -c make]: exit code: 2", Some("[2/2] RUN make"))
            },
            Code::BuildMemory,
            "RUN make",
        ),
        (
            Case {
                status: Some(400),
                ..said("dockerfile parse error line 2: unknown instruction: RUNN", None)
            },
            Code::DockerfileInvalid,
            "RUNN",
        ),
        (
            said(
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line 2: unknown instruction: RUNN",
                None,
            ),
            Code::DockerfileInvalid,
            "parsed: dockerfile parse error line 2",
        ),
        (
            said(
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: ENV must have two arguments",
                None,
            ),
            Code::DockerfileInvalid,
            "ENV must",
        ),
        (
            said("failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN", None),
            Code::DockerfileInvalid,
            "line 2",
        ),
        (
            said("invalid reference format: repository name must be lowercase", Some("FROM UPPER")),
            Code::DockerfileInvalid,
            "lowercase",
        ),
        (
            said(
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                Some("FROM 127.0.0.1:1/team/nothing:1"),
            ),
            Code::BaseImageMissing,
            "`127.0.0.1:1/team/nothing:1` cannot be had: its registry cannot be reached",
        ),
        (
            said(
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: failed to do request: Head \"https://nowhere.invalid/v2/x/manifests/2\": dial tcp: lookup nowhere.invalid: no such host",
                Some("[internal] load metadata for nowhere.invalid/x:2"),
            ),
            Code::BaseImageMissing,
            "`nowhere.invalid/x:2`",
        ),
        (
            said(
                "failed to solve with frontend dockerfile.v0: failed to solve with frontend gateway.v0: failed to do request: Head \"http://127.0.0.1:1/v2/docker/dockerfile/manifests/1\": dial tcp 127.0.0.1:1: connect: connection refused",
                Some("resolve image config for 127.0.0.1:1/docker/dockerfile:1"),
            ),
            Code::BaseImageMissing,
            "`127.0.0.1:1/docker/dockerfile:1`",
        ),
        (
            said(
                "invalid from flag value nowhere:x: Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
                Some("COPY --from=nowhere:x / /"),
            ),
            Code::BaseImageMissing,
            "`nowhere:x`",
        ),
        (
            said(
                "pull access denied for private/x, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                Some("FROM private/x"),
            ),
            Code::BaseImageMissing,
            "`private/x`",
        ),
        (
            said(
                "failed to load cache key: Get \"http://127.0.0.1:1/x\": dial tcp 127.0.0.1:1: connect: connection refused",
                Some("http://127.0.0.1:1/x"),
            ),
            Code::BuildFailed,
            "connection refused",
        ),
        (
            said(
                "COPY failed: file not found in build context or excluded by .dockerignore: stat nowhere: file does not exist",
                Some("COPY nowhere /"),
            ),
            Code::BuildFailed,
            "excluded by .dockerignore",
        ),
        (
            said(
                "failed to compute cache key: \"/nowhere\" not found: not found",
                Some("[2/2] COPY nowhere /"),
            ),
            Code::BuildFailed,
            "/nowhere",
        ),
        (
            said(
                "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/",
                Some("RUN --mount=type=cache,target=/x true"),
            ),
            Code::BuildFailed,
            "let the operator allow BuildKit",
        ),
        (
            said(
                "failed to create shim task: OCI runtime create failed: exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown",
                Some("RUN true"),
            ),
            Code::BuildFailed,
            "/bin/sh",
        ),
        (
            said(
                "Error processing tar file(exit status 1): write /big: no space left on device",
                Some("COPY . /"),
            ),
            Code::DiskFull,
            "prune",
        ),
    ];
    for (case, code, part) in &table {
        let error = judged(case);
        assert_eq!(error.code(), *code, "{}", case.message);
        assert!(error.sentence().contains(part), "{:?} lacks {part:?}", error.sentence());
    }
}

#[test]
fn a_step_without_room_is_looked_into() {
    let failure = |tail: &str| Failure { code: Some(1), tail: vec![tail.to_owned()], ..Failure::default() };
    assert!(failure("dd: error writing '/x': No space left on device").step_lacks_room());
    assert!(!failure("fine").step_lacks_room());
}

#[test]
fn registries_are_told_apart() {
    for (message, status, code) in [
        ("no basic auth credentials", None, Code::RegistryDenied),
        ("unauthorized: authentication required", Some(500), Code::RegistryDenied),
        ("denied: requested access to the resource is denied", None, Code::RegistryDenied),
        (
            "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            None,
            Code::RegistryUnreachable,
        ),
        ("dial tcp: lookup nowhere.invalid: no such host", Some(500), Code::RegistryUnreachable),
        (
            "manifest for 127.0.0.1:5000/x:2 not found: manifest unknown: manifest unknown",
            Some(404),
            Code::RegistryImageMissing,
        ),
        ("something new", None, Code::EngineUnexpected),
    ] {
        let error = of_registry("127.0.0.1:5000/x:2", status, message);
        assert_eq!(error.code(), code, "{message}");
        assert!(error.sentence().contains("127.0.0.1:5000"), "{error}");
    }
    assert_eq!(host("debian:12"), "docker.io");
    assert_eq!(host("team/app"), "docker.io");
    assert_eq!(host("localhost/app"), "localhost");
}
