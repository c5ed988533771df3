//! A registry of the v2 protocol, with and without a password.

use std::net::TcpListener;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::*;

/// `tester`, `correct horse`.
const HTPASSWD: &str = "tester:$2b$04$DxUKerAYht..kmRca8H6ROmzU287O8QEmBdzBk43jWBE8ANDEzBR.\n";

struct Registry {
    child: Child,
    host: String,
    _folder: TempDir,
}

impl Registry {
    async fn start(password: bool) -> Self {
        let folder = TempDir::new().expect("folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("port").port();
        let at = folder.path().display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {at}/store}}}}\nhttp: {{addr: '127.0.0.1:{port}', secret: test}}\n"
        );
        if password {
            std::fs::write(folder.path().join("htpasswd"), HTPASSWD).expect("htpasswd");
            config.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {at}/htpasswd}}}}\n"));
        }
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).expect("config");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("these tests need Debian's docker-registry");
        wait_until("the registry answers", Duration::from_secs(10), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        Self { child, host: format!("127.0.0.1:{port}"), _folder: folder }
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Stop>) -> (Code, String) {
    match result {
        Err(Stop::Terminal(error) | Stop::Retryable { error, .. }) => (error.code(), error.chain()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_image_goes_to_a_registry_and_comes_back() {
    let bench = Bench::with(&format!("RUN echo {} > /mark", uuid::Uuid::new_v4())).await;
    let Bench { engine, lines, cancel, .. } = &bench;
    let built = bench.build(&bench.request(Builder::Auto)).await.expect("built");
    let mut registry = Registry::start(false).await;
    let reference = format!("{}/team/app:1", registry.host);

    let digest = push(engine, &built.image_id, &reference, None, lines, cancel).await.expect("pushed");
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
    assert!(image_remove(engine, &built.image_id).await.expect("removed"));
    for by in [reference.clone(), format!("{}/team/app@{digest}", registry.host)] {
        assert_eq!(pull(engine, &by, None, lines, cancel).await.expect("pulled"), digest);
    }
    assert!(image_usable(engine, &reference, &bench.labels()).await.expect("usable"));

    for missing in ["team/app:2", "team/none:1"] {
        let missing = format!("{}/{missing}", registry.host);
        let (code, chain) = refused(pull(engine, &missing, None, lines, cancel).await);
        assert_eq!(code, Code::RegistryImageMissing, "{chain}");
        assert!(chain.contains(&missing), "{chain}");
    }
    let (code, chain) = refused(push(engine, ABSENT, &reference, None, lines, cancel).await);
    assert_eq!(code, Code::ImageMissing, "{chain}");
    let (code, _) = refused(pull(engine, "no-tag", None, lines, cancel).await);
    assert_eq!(code, Code::SettingsInvalid);

    registry.child.kill().await.expect("stopped");
    let image =
        images_labelled(engine).await.expect("list").into_iter().find(|image| image.deployment == bench.name);
    let (code, chain) =
        refused(push(engine, &image.expect("image").id, &reference, None, lines, cancel).await);
    assert_eq!(code, Code::RegistryUnreachable, "{chain}");
    let (code, chain) = refused(pull(engine, &reference, None, lines, cancel).await);
    assert_eq!(code, Code::RegistryUnreachable, "{chain}");
    bench.clean().await;
}

#[tokio::test]
async fn a_registry_that_asks_for_a_password_gets_the_right_one() {
    let mut bench = Bench::with(&format!("RUN echo {} > /mark", uuid::Uuid::new_v4())).await;
    let built = bench.build(&bench.request(Builder::Auto)).await.expect("built");
    let registry = Registry::start(true).await;
    let reference = format!("{}/app:1", registry.host);
    let user = |password: &str| RegistryCredential {
        username: "tester".into(),
        password: SecretString::from(password),
    };
    {
        let Bench { engine, lines, cancel, .. } = &bench;
        for credential in [None, Some(user("wrong-horse"))] {
            let result = push(engine, &built.image_id, &reference, credential.as_ref(), lines, cancel).await;
            let (code, chain) = refused(result);
            assert_eq!(code, Code::RegistryDenied, "{chain}");
            assert!(!chain.contains("wrong-horse"), "{chain}");
        }
        let right = user("correct horse");
        let digest =
            push(engine, &built.image_id, &reference, Some(&right), lines, cancel).await.expect("pushed");
        assert!(image_remove(engine, &built.image_id).await.expect("removed"));
        let (code, chain) = refused(pull(engine, &reference, None, lines, cancel).await);
        assert_eq!(code, Code::RegistryDenied, "{chain}");
        assert_eq!(pull(engine, &reference, Some(&right), lines, cancel).await.expect("pulled"), digest);
    }
    assert!(bench.said().iter().all(|line| !line.contains("horse")));
    bench.clean().await;
}
