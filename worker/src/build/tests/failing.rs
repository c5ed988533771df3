//! Builds that end with a reason.

use super::*;

#[tokio::test]
async fn a_step_that_fails_says_which_and_why() {
    for builder in both() {
        let bench = Bench::with("RUN echo first\nRUN echo the reason >&2; exit 3").await;
        let result = bench.build(&bench.request(builder)).await;
        assert_eq!(code(&result), Some(Code::BuildFailed), "{builder:?} {result:?}");
        let sentence = sentence(result);
        for part in ["exit code 3", "exit 3", "the reason"] {
            assert!(sentence.contains(part), "{builder:?}: {sentence}");
        }
    }
}

#[tokio::test]
async fn a_base_image_that_is_not_there_is_named() {
    for builder in both() {
        for image in ["127.0.0.1:1/team/nothing:1", "deploymind-nowhere.invalid/x:2"] {
            let bench = Bench::new().await;
            bench.write("Dockerfile", format!("FROM {image}\n"));
            let result = bench.build(&bench.request(builder)).await;
            assert_eq!(code(&result), Some(Code::BaseImageMissing), "{builder:?} {result:?}");
            let sentence = sentence(result);
            assert!(sentence.contains(image), "{builder:?}: {sentence}");
        }
    }
}

#[tokio::test]
async fn a_dockerfile_that_is_none_is_refused() {
    for builder in both() {
        for (text, part) in
            [("RUNN x", "RUNN"), ("", ""), ("# only words", ""), ("COPY a", "COPY"), ("ENV a", "ENV")]
        {
            let bench = Bench::new().await;
            bench.write(
                "Dockerfile",
                if part.is_empty() { text.to_owned() } else { format!("FROM {BASE}\n{text}\n") },
            );
            let result = bench.build(&bench.request(builder)).await;
            assert_eq!(code(&result), Some(Code::DockerfileInvalid), "{builder:?} {text:?} {result:?}");
            let sentence = sentence(result);
            assert!(sentence.contains(part), "{builder:?}: {sentence}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_not_in_the_context_fails_the_build() {
    for builder in both() {
        let bench = Bench::with("COPY nowhere /").await;
        let result = bench.build(&bench.request(builder)).await;
        assert_eq!(code(&result), Some(Code::BuildFailed), "{builder:?} {result:?}");
        assert!(sentence(result).contains("nowhere"));
    }
}

#[tokio::test]
async fn the_classic_builder_says_what_it_cannot_do() {
    let bench = Bench::with("RUN --mount=type=cache,target=/x true").await;
    let sentence = sentence(bench.build(&bench.request(Builder::Classic)).await);
    assert!(sentence.contains("BuildKit"), "{sentence}");
}

#[tokio::test]
async fn a_step_that_takes_too_much_memory_is_killed() {
    // Directly, and below a shell that goes on to its own end.
    for step in ["RUN exec tail /dev/zero", "RUN tail /dev/zero; exit 1"] {
        let bench = Bench::with(step).await;
        let mut request = bench.request(Builder::Classic);
        request.limits.memory_bytes = 64 << 20;
        let result = bench.build(&request).await;
        assert_eq!(code(&result), Some(Code::BuildMemory), "{result:?}");
        assert!(sentence(result).contains("64.0 MiB"));
    }
}

#[tokio::test]
async fn a_disk_without_room_is_said_before_the_build() {
    let mut bench = Bench::with("RUN true").await;
    let mut request = bench.request(Builder::Auto);
    request.limits.min_free_disk = 1 << 60;
    let result = bench.build(&request).await;
    assert!(matches!(result, Err(Stop::Retryable { .. })));
    assert_eq!(code(&result), Some(Code::DiskFull));
    let sentence = sentence(result);
    assert!(sentence.contains("free") && sentence.contains("collected"), "{sentence}");
    assert!(bench.said().iter().all(|line| !line.contains("sending")));
}

#[tokio::test]
async fn a_context_of_20_gb_is_refused_by_its_names() {
    let bench = Bench::with("COPY . /").await;
    let file = std::fs::File::create(bench.tree.path().join("huge.bin")).expect("file");
    file.set_len(20 << 30).expect("sparse");
    let begun = Instant::now();
    let result = bench.build(&bench.request(Builder::Auto)).await;
    assert_eq!(code(&result), Some(Code::ContextTooLarge), "{result:?}");
    assert!(sentence(result).contains("huge.bin (20.0 GiB)"));
    assert!(begun.elapsed() < Duration::from_secs(2));

    bench.write(".dockerignore", "*.bin");
    bench.build(&bench.request(Builder::Auto)).await.expect("built without it");
    bench.clean().await;
}

#[tokio::test]
async fn an_engine_that_is_not_there_may_come_back() {
    let config = EngineConfig {
        address: Address::Unix(PathBuf::from("/nonexistent/docker.sock")),
        connect: Duration::from_secs(1),
        answer: Duration::from_secs(1),
    };
    let Err(Stop::Retryable { error, .. }) = Engine::connect(&config).await else { panic!("connected") };
    assert_eq!(error.code(), Code::EngineUnavailable);
    let tcp = EngineConfig { address: Address::Tcp("127.0.0.1:1".into()), ..config };
    let Err(Stop::Retryable { error, .. }) = Engine::connect(&tcp).await else { panic!("connected") };
    assert_eq!(error.code(), Code::EngineUnavailable);
}

#[tokio::test]
async fn an_engine_that_goes_in_the_middle_may_come_back() {
    for builder in both() {
        let mark = format!("{}", 2_000_000_000 + uuid::Uuid::new_v4().as_u128() % 1_000_000_000);
        let bench = Bench::with(&format!("RUN exec sleep {mark}")).await;
        let folder = TempDir::new().expect("folder");
        let path = folder.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).expect("bind");
        let relay = async {
            let mut relayed = tokio::task::JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                relayed.spawn(async move {
                    let mut there =
                        tokio::net::UnixStream::connect("/var/run/docker.sock").await.expect("engine");
                    // Ends with either side.
                    let _closed = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                });
            }
        };
        let relayed_until_it_runs = async {
            tokio::select! {
                () = relay => {}
                _begun = wait_until("the step runs", Duration::from_secs(60), || running(&mark)) => {}
            }
            std::fs::remove_file(&path).expect("gone");
        };
        let work = async {
            let config = EngineConfig { address: Address::Unix(path.clone()), ..bench.engine.config.clone() };
            let engine = Engine::connect(&config).await.expect("connect");
            build(&engine, &bench.request(builder), &bench.lines, &bench.cancel).await
        };
        let (result, ()) = tokio::join!(work, relayed_until_it_runs);
        assert!(matches!(result, Err(Stop::Retryable { .. })), "{builder:?} {result:?}");
        assert_eq!(code(&result), Some(Code::EngineUnavailable), "{builder:?} {result:?}");
        wait_until("the step is gone", GONE, || !running(&mark)).await;
    }
}
