//! The image of a release, on the target or not.

use super::*;

/// A tag on the engine, away with it at the end.
struct Tag(String);

impl Drop for Tag {
    fn drop(&mut self) {
        docker_quietly(&["rmi", "-f", &self.0]);
    }
}

fn launch_of(bench: &Bench, id: &str, digest: Option<&str>) -> Launch {
    let mut launch = bench.launch(1, "good");
    launch.spec.image = ImageSpec {
        id: id.to_owned(),
        reference: "127.0.0.1:1/nobody/shop:1".to_owned(),
        digest: digest.map(str::to_owned),
    };
    launch
}

/// An archive as `docker save` writes it, of an image without files.
fn archive(tag: &str, architecture: &str, note: &str) -> Vec<u8> {
    let layer = vec![0u8; 1024];
    let diff = sha256(&layer);
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Labels":{{"note":"{note}"}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{diff}"]}}}}"#
    );
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{tag}"],"Layers":["layer.tar"]}}]"#);
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("config.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
        ("layer.tar", layer.as_slice()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).expect("tar");
    }
    archive.into_inner().expect("tar")
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn load(architecture: &str) -> (Tag, String) {
    let tag = format!("deploymind-test-{}:1", uuid::Uuid::new_v4().simple());
    let mut load = Command::new("docker")
        .arg("load")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("docker load");
    let archive = archive(&tag, architecture, &tag);
    std::io::Write::write_all(&mut load.stdin.take().expect("stdin"), &archive).expect("write");
    assert!(load.wait().expect("wait").success());
    let id = image_id(&tag);
    (Tag(tag), id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_for_another_processor_is_refused_and_says_which() {
    let bench = Bench::new();
    let engine = docker(&["version", "-f", "{{.Server.Arch}}"]);
    let foreign = if engine == "arm64" { "amd64" } else { "arm64" };
    let (_tag, id) = load(foreign);
    let result = bench.runtime.provide(&launch_of(&bench, &id, None)).await;
    assert_eq!(code(&result), Some(Code::ImagePlatform), "{result:?}");
    let sentence = sentence(result);
    assert!(sentence.contains(foreign) && sentence.contains(&engine), "{sentence}");
    let (_tag, id) = load(&engine);
    bench.runtime.provide(&launch_of(&bench, &id, None)).await.expect("its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nobody_has_is_missing() {
    let absent = format!("sha256:{}", "0".repeat(64));
    let bench = Bench::with(|config| config.builder = Some(Address::Unix(SOCKET.into())));
    let launch = launch_of(&bench, &absent, None);
    let result = bench.runtime.provide(&launch).await;
    assert_eq!(code(&result), Some(Code::ImageMissing), "{result:?}");
    let result = bench.runtime.launch(&bench.fence(1), &launch).await;
    assert_eq!(code(&result), Some(Code::ImageMissing), "{result:?}");
    // From a registry that does not answer.
    let result = bench.runtime.provide(&launch_of(&bench, &absent, Some(&absent))).await;
    assert_eq!(code(&result), Some(Code::RegistryUnreachable), "{result:?}");
    assert!(matches!(result, Err(Stop::Retryable { .. })), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_from_the_engine_that_built_it_with_its_name() {
    let bench = Bench::with(|config| config.builder = Some(Address::Unix(SOCKET.into())));
    let (tag, id) = load(&docker(&["version", "-f", "{{.Server.Arch}}"]));
    let (from, to) = (bench.runtime.builder.as_ref().expect("a builder"), &bench.runtime.host);
    // Both are one engine here: what is shown is that the stream is whole, and ends.
    image::copy(from, to, &tag.0).await.expect("copy");
    assert_eq!(image_id(&tag.0), id);
    let absent = image::copy(from, to, "deploymind-test-nowhere:1").await;
    assert!(absent.is_err());
}

/// Debian's registry on loopback, over a folder.
struct Registry(std::process::Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _gone = self.0.kill().is_err();
        let _reaped = self.0.wait().is_ok();
    }
}

/// `tester`, `correct horse`.
const HTPASSWD: &str = "tester:$2b$04$DxUKerAYht..kmRca8H6ROmzU287O8QEmBdzBk43jWBE8ANDEzBR.\n";

impl Registry {
    fn start(folder: &std::path::Path, port: u16, password: bool) -> Self {
        let at = folder.display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {at}/store}}}}\nhttp: {{addr: '127.0.0.1:{port}', secret: test}}\n"
        );
        if password {
            std::fs::write(folder.join("htpasswd"), HTPASSWD).expect("htpasswd");
            config.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {at}/htpasswd}}}}\n"));
        }
        std::fs::write(folder.join("config.yml"), config).expect("config");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("these tests need Debian's docker-registry");
        let end = Instant::now() + SOON;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the registry does not listen");
            std::thread::yield_now();
        }
        Self(child)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_from_a_registry_by_its_digest_with_the_credential() {
    let folder = tempfile::tempdir().expect("folder");
    let port = free_port();
    let open = Registry::start(folder.path(), port, false);
    let (tag, id) = load(&docker(&["version", "-f", "{{.Server.Arch}}"]));
    let repository = format!("127.0.0.1:{port}/team/shop");
    let reference = Tag(format!("{repository}:1"));
    docker(&["tag", &tag.0, &reference.0]);
    docker(&["push", "-q", &reference.0]);
    let digests = docker(&["image", "inspect", "-f", "{{join .RepoDigests \" \"}}", &reference.0]);
    let digest =
        digests.split(' ').find_map(|one| one.strip_prefix(&format!("{repository}@"))).expect("a digest");
    let digest = digest.to_owned();
    drop((tag, open));
    docker_quietly(&["rmi", "-f", &id]);
    let _closed = Registry::start(folder.path(), port, true);

    let bench = Bench::new();
    let mut launch = launch_of(&bench, &id, Some(&digest));
    launch.spec.image.reference = reference.0.clone();
    let result = bench.runtime.provide(&launch).await;
    assert_eq!(code(&result), Some(Code::RegistryDenied), "{result:?}");
    let with = |password: &str| {
        let credential =
            crate::build::RegistryCredential { username: "tester".to_owned(), password: password.into() };
        Bench::with(|config| config.registry = Some(credential))
    };
    let wrong = with(SECRET);
    let result = wrong.runtime.provide(&launch).await;
    assert_eq!(code(&result), Some(Code::RegistryDenied), "{result:?}");
    assert!(!sentence(result).contains(SECRET));
    let right = with("correct horse");
    for _ in 0..2 {
        right.runtime.provide(&launch).await.expect("provide");
    }
    let _pulled = Tag(id.clone());
    let found = image::find(&right.runtime.host, &launch.spec.image).await.expect("find").expect("an image");
    assert_eq!(found.id.as_deref(), Some(id.as_str()));
    let absent =
        launch_of(&bench, &format!("sha256:{}", "1".repeat(64)), Some(&format!("sha256:{}", "2".repeat(64))));
    let mut absent = absent;
    absent.spec.image.reference = reference.0.clone();
    let result = right.runtime.provide(&absent).await;
    assert_eq!(code(&result), Some(Code::RegistryImageMissing), "{result:?}");
}
