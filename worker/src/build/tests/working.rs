//! Builds that end well.

use super::*;

#[tokio::test]
async fn an_image_is_built_labelled_and_cached() {
    for builder in both() {
        let mut bench = Bench::with("COPY a /a\nRUN cat /a; printf 'bad \\377 byte\\n'").await;
        bench.write("a", uuid::Uuid::new_v4().to_string());
        let built = bench.build(&bench.request(builder)).await.expect("built");
        assert!(built.image_id.starts_with("sha256:"), "{built:?}");
        assert!(built.size_bytes > 0 && built.layers.len() >= 3, "{built:?}");
        let said = bench.said();
        assert!(said.iter().any(|line| line.contains("bad \u{fffd} byte")), "{said:#?}");
        assert!(image_usable(&bench.engine, &built.image_id, &bench.labels()).await.expect("usable"));
        assert!(
            !image_usable(&bench.engine, &built.image_id, &[(LABEL_APP.into(), "x".into())])
                .await
                .expect("usable")
        );

        let again = bench.build(&bench.request(builder)).await.expect("built again");
        assert_eq!(again.image_id, built.image_id, "{builder:?}: {:#?}", bench.said());
        assert!(again.cached_steps >= 2, "{builder:?}: {again:?} {:#?}", bench.said());

        assert!(image_remove(&bench.engine, &built.image_id).await.expect("removed"));
        assert!(!image_remove(&bench.engine, &built.image_id).await.expect("removed twice"));
        assert!(!image_usable(&bench.engine, &built.image_id, &[]).await.expect("usable"));
    }
}

#[tokio::test]
async fn the_context_arrives_as_the_ignore_file_wants_it() {
    use std::os::unix::ffi::OsStrExt;
    for builder in both() {
        let bench = Bench::with("COPY . /c").await;
        bench.write(".dockerignore", "skip*\n!skip.keep\n**/deep\nDockerfile\n");
        for path in ["kept", "skip.txt", "skip.keep", "a/deep/x", "a/shallow"] {
            bench.write(path, path);
        }
        let root = bench.tree.path();
        std::os::unix::fs::symlink("/etc/passwd", root.join("out")).expect("link");
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("socket");
        std::fs::write(root.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "bytes").expect("name");
        let long = "long/".repeat(60) + &"n".repeat(120);
        bench.write(&long, "deep");

        let built = bench.build(&bench.request(builder)).await.expect("built");
        assert!(built.warnings.iter().any(|warning| warning.contains("socket")), "{:?}", built.warnings);
        let list = "cd /c; find . -not -type d | grep -v long | LC_ALL=C sort; readlink out; cat caf*; find . -name 'nnn*' | wc -c; stat -c %Y kept";
        let found = bench.output(&built.image_id, &["sh", "-c", list]).await;
        let expected = [
            "./.dockerignore",
            "./a/shallow",
            "./caf\u{fffd}",
            "./kept",
            "./out",
            "./skip.keep",
            "/etc/passwd",
            "bytes423",
            "315619200",
        ];
        let found: Vec<&str> = found.lines().filter(|line| *line != "./Dockerfile").collect();
        assert_eq!(found, expected, "{builder:?}");
        bench.clean().await;
    }
}

#[tokio::test]
async fn a_generated_dockerfile_never_touches_the_tree() {
    for builder in both() {
        let bench = Bench::new().await;
        bench.write("Dockerfile", "this is not ours");
        bench.write(".dockerignore", "app");
        bench.write("app", "x");
        bench.write("junk", "x");
        let dockerfile = format!("FROM {BASE}\nCOPY . /c\nRUN ls -A /c > /list\n");
        let mut request = bench.request(builder);
        request.dockerfile = Dockerfile::Generated {
            dockerfile: &dockerfile,
            dockerignore: "junk\nDockerfile\n.dockerignore\n",
        };
        let built = bench.build(&request).await.expect("built");
        let list = bench.output(&built.image_id, &["cat", "/list"]).await;
        let list: Vec<&str> = list.lines().filter(|name| *name != ".deploymind.Dockerfile").collect();
        assert_eq!(list, ["app"], "{builder:?}");
        let mut left: Vec<_> = std::fs::read_dir(bench.tree.path())
            .expect("tree")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".dockerignore", "Dockerfile", "app", "junk"]);
        bench.clean().await;
    }
}

#[tokio::test]
async fn variables_reach_the_build_and_no_line_of_ours() {
    let value = format!("hunter2-{}", uuid::Uuid::new_v4());
    let variable = |name: &str, value: &str, secret| Variable {
        name: name.into(),
        value: SecretString::from(value),
        secret,
    };

    let mut bench = Bench::with(&format!(
        // A secret is no part of a cache's key: the step is one that no other run has done.
        "ARG PLAIN\nRUN --mount=type=secret,id=TOKEN : {}; sha256sum < /run/secrets/TOKEN > /sum; echo $PLAIN >> /sum",
        uuid::Uuid::new_v4()
    ))
    .await;
    let mut request = bench.request(Builder::BuildKit);
    request.variables = vec![
        variable("TOKEN", &value, true),
        variable("PLAIN", "shown", false),
        variable("UNUSED", "x", false),
    ];
    let built = bench.build(&request).await.expect("built");
    let sum = bench.output(&built.image_id, &["cat", "/sum"]).await;
    let expected =
        std::process::Command::new("sh").args(["-c", &format!("printf %s '{value}' | sha256sum")]).output();
    let expected = String::from_utf8(expected.expect("sum").stdout).expect("text");
    assert_eq!(sum, format!("{expected}shown\n"));
    assert!(built.layers.iter().all(|layer| !layer.created_by.contains(&value)));
    assert!(bench.said().iter().all(|line| !line.contains(&value)));
    bench.clean().await;

    let mut bench = Bench::with("ARG TOKEN\nRUN echo $TOKEN; echo got ${#TOKEN}; exit 4").await;
    let mut request = bench.request(Builder::Classic);
    request.redactor = Arc::new(Redactor::new([("TOKEN", &value)]).expect("redactor"));
    request.variables = vec![variable("TOKEN", &value, true), variable("OTHER", &value, true)];
    let failed = sentence(bench.build(&request).await);
    assert!(!failed.contains(&value) && failed.contains("exit code 4"), "{failed}");
    let said = bench.said();
    assert!(said.iter().any(|line| line.contains("stays in the image's history")), "{said:#?}");
    assert!(said.iter().any(|line| line.contains("OTHER is not given")), "{said:#?}");
    assert!(said.iter().any(|line| line == &format!("got {}", value.len())), "{said:#?}");
}

#[tokio::test]
async fn no_line_is_lost() {
    let bench = Bench::with(&format!("RUN : {}; seq 1 100000", uuid::Uuid::new_v4())).await;
    // Little room: the build waits for the log.
    let (lines, mut heard) = Lines::channel(16);
    let request = bench.request(Builder::Classic);
    let read = async {
        let mut next = 1;
        while let Some(line) = heard.recv().await {
            if line.text == next.to_string() {
                next += 1;
            }
        }
        next - 1
    };
    let work = async {
        let built = build(&bench.engine, &request, &lines, &bench.cancel).await;
        drop(lines);
        built
    };
    let begun = Instant::now();
    let (built, read) = tokio::join!(work, read);
    built.expect("built");
    assert_eq!(read, 100_000);
    println!("100,000 lines of one step in {:?}", begun.elapsed());
    bench.clean().await;
}

#[tokio::test]
async fn required_caps_choose_the_classic_builder() {
    let mut bench = Bench::with(&format!(
        "RUN : {}; cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null || true",
        uuid::Uuid::new_v4()
    ))
    .await;
    let mut request = bench.request(Builder::Auto);
    request.limits.caps = Caps::Require;
    let built = bench.build(&request).await.expect("built");
    assert_eq!(built.builder, UsedBuilder::Classic);
    let said = bench.said();
    assert!(said.iter().any(|line| line == &(256 << 20).to_string()), "{said:#?}");

    let mut request = bench.request(Builder::BuildKit);
    request.limits.caps = Caps::Require;
    assert_eq!(code(&bench.build(&request).await), Some(Code::SettingsInvalid));

    let built = bench.build(&bench.request(Builder::Auto)).await.expect("built");
    assert_eq!(built.builder, UsedBuilder::BuildKit);
    let said = bench.said();
    assert!(said.iter().any(|line| line.contains("without the caps")), "{said:#?}");
    bench.clean().await;
}

#[tokio::test]
async fn an_image_is_exported_for_the_scanner() {
    let bench = Bench::with("RUN true").await;
    let built = bench.build(&bench.request(Builder::Classic)).await.expect("built");
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("image.tar");
    let length = export(&bench.engine, &built.image_id, &file, 4 << 30, &bench.cancel).await.expect("export");
    assert_eq!(std::fs::metadata(&file).expect("file").len(), length);
    let mut archive = tar::Archive::new(std::fs::File::open(&file).expect("open"));
    let names: Vec<_> = archive
        .entries()
        .expect("tar")
        .map(|entry| entry.expect("entry").path().expect("path").into_owned())
        .collect();
    assert!(names.iter().any(|name| name.as_os_str() == "manifest.json"), "{names:?}");

    let capped = export(&bench.engine, &built.image_id, &file, 1000, &bench.cancel).await;
    assert!(matches!(capped, Err(Stop::Terminal(_))) && !file.exists());
    let gone = export(&bench.engine, ABSENT, &file, 1000, &bench.cancel).await;
    assert!(matches!(gone, Err(Stop::Retryable { .. } | Stop::Terminal(_))) && !file.exists());
    bench.clean().await;
}

#[tokio::test]
async fn an_image_that_is_not_ours_is_never_removed() {
    let engine = engine().await;
    assert!(!image_remove(&engine, BASE).await.expect("asked"));
    assert!(engine.docker.inspect_image(BASE).await.is_ok());
    images_prune(&engine, Duration::from_secs(3600)).await.expect("prune");
    assert!(engine.docker.inspect_image(BASE).await.is_ok());
}
