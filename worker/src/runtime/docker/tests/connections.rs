//! Every way to an engine, and what is said where there is none.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;

use super::*;

/// Passes what comes on to the engine's socket, until it is dropped.
struct Relay {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

async fn relay(tls: Option<rustls::ServerConfig>) -> Relay {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("address");
    let acceptor = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut each = JoinSet::new();
        loop {
            let (mut client, _) = listener.accept().await.expect("accept");
            let acceptor = acceptor.clone();
            each.spawn(async move {
                let mut engine = UnixStream::connect(SOCKET).await.expect("engine");
                // Either side may go away.
                let _ended = match acceptor {
                    None => tokio::io::copy_bidirectional(&mut client, &mut engine).await.is_err(),
                    Some(acceptor) => match acceptor.accept(client).await {
                        Ok(mut client) => {
                            tokio::io::copy_bidirectional(&mut client, &mut engine).await.is_err()
                        }
                        Err(_) => true,
                    },
                };
            });
        }
    });
    Relay { address, _tasks: tasks }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tcp_and_an_engine_that_goes_away_in_the_middle() {
    let relay = relay(None).await;
    let address = relay.address.to_string();
    let bench = Bench::with(|config| config.address = Address::Tcp(address.clone()));
    let launch = bench.launch(1, "good");
    bench.start(&launch).await;
    bench.healthy(&launch.slot).await;
    let mut lines = bench.runtime.logs(&launch.slot, 10).await.expect("logs");
    let first = futures::StreamExt::next(&mut lines).await.expect("a line").expect("a line");
    assert_eq!(first.line, "mode good");
    drop(relay);
    let broken = tokio::time::timeout(SOON, futures::StreamExt::next(&mut lines)).await.expect("in time");
    assert_eq!(broken.map(|line| code(&line)), Some(Some(Code::EngineUnavailable)));
    let fence = bench.fence(1);
    let mut results = vec![bench.runtime.launch(&fence, &launch).await];
    results.push(bench.runtime.stop(&fence, &launch.slot).await);
    results.push(bench.runtime.provide(&launch).await);
    results.push(bench.runtime.inspect(&bench.app).await.map(drop));
    results.push(bench.runtime.probe(&launch.slot, 3000, &check("/")).await.map(drop));
    results.push(bench.runtime.obstacles(&bench.app, &launch.spec.run).await.map(drop));
    results.push(bench.runtime.remains(&launch.slot).await.map(drop));
    results.push(bench.runtime.drained(SOON).await.map(drop));
    for result in results {
        assert!(matches!(result, Err(Stop::Retryable { .. })), "{result:?}");
        assert_eq!(code(&result), Some(Code::EngineUnavailable));
        assert!(sentence(result).contains(&address));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_accepts_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("address").to_string();
    let bench = Bench::with(|config| {
        config.address = Address::Tcp(address);
        config.connect = Duration::from_millis(300);
    });
    let begun = Instant::now();
    let result = bench.runtime.inspect(&bench.app).await;
    assert_eq!(code(&result), Some(Code::EngineUnavailable), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    let nowhere = Bench::with(|config| config.address = Address::Unix("/nowhere/docker.sock".into()));
    let result = nowhere.runtime.inspect(&nowhere.app).await;
    assert!(matches!(result, Err(Stop::Retryable { .. })), "{result:?}");
}

/// An authority, and what it signed for an engine on 127.0.0.1 and for a client.
fn certificates(folder: &Path) {
    let openssl = |args: &[&str]| {
        let run = Command::new("openssl").args(args).current_dir(folder).output().expect("openssl");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl(
        &[
            &["req", "-x509"],
            &curve[..],
            &["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test", "-days", "2"],
        ]
        .concat(),
    );
    std::fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\n").expect("write");
    for name in ["server", "client"] {
        let (key, request, signed) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        openssl(
            &[&["req", "-new"], &curve[..], &["-keyout", &key, "-out", &request, "-subj", "/CN=test"]]
                .concat(),
        );
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            &signed,
        ]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_certificate_of_its_own() {
    let folder = tempfile::tempdir().expect("folder");
    certificates(folder.path());
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("pem");
    let certificate =
        |name: &str| rustls::pki_types::CertificateDer::from_pem_slice(text(name).as_bytes()).expect("pem");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.pem")).expect("ca");
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .expect("verifier");
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate("server.pem")],
            rustls::pki_types::PrivateKeyDer::from_pem_slice(text("server.key").as_bytes()).expect("key"),
        )
        .expect("server");
    let relay = relay(Some(server)).await;
    let tls = Tls {
        address: relay.address.to_string(),
        ca: text("ca.pem"),
        certificate: text("client.pem"),
        key: text("client.key").into(),
    };
    let bench = Bench::with(|config| config.address = Address::Tls(tls.clone()));
    let launch = bench.launch(1, "good");
    bench.start(&launch).await;
    bench.healthy(&launch.slot).await;

    let other = tempfile::tempdir().expect("folder");
    certificates(other.path());
    let theirs = |name: &str| std::fs::read_to_string(other.path().join(name)).expect("pem");
    for (wrong, expected) in [
        (Tls { ca: theirs("ca.pem"), ..tls.clone() }, Code::EngineUnavailable),
        (
            Tls { certificate: theirs("client.pem"), key: theirs("client.key").into(), ..tls.clone() },
            Code::EngineUnavailable,
        ),
        (Tls { key: theirs("client.key").into(), ..tls.clone() }, Code::TargetConnection),
        (Tls { key: SecretString::from("not a key"), ..tls.clone() }, Code::TargetConnection),
    ] {
        let bench = Bench::with(|config| config.address = Address::Tls(wrong));
        let result = bench.runtime.ping().await;
        assert_eq!(code(&result), Some(expected), "{result:?}");
    }
}

/// `sshd` on loopback, that lets one key in.
struct Sshd {
    child: std::process::Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _gone = self.child.kill().is_err();
        let _reaped = self.child.wait().is_ok();
    }
}

impl Sshd {
    fn start() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let at = folder.path().display().to_string();
        for key in ["host_key", "client_key", "stranger"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &format!("{at}/{key}")])
                .status();
            assert!(made.expect("ssh-keygen").success());
        }
        std::fs::rename(folder.path().join("client_key.pub"), folder.path().join("authorized_keys"))
            .expect("rename");
        std::fs::create_dir_all("/run/sshd").expect("sshd needs /run/sshd");
        let port = free_port();
        let public = std::fs::read_to_string(folder.path().join("host_key.pub")).expect("key");
        std::fs::write(folder.path().join("known_hosts"), format!("[127.0.0.1]:{port} {public}"))
            .expect("write");
        let stranger = std::fs::read_to_string(folder.path().join("stranger.pub")).expect("key");
        std::fs::write(folder.path().join("other_hosts"), format!("[127.0.0.1]:{port} {stranger}"))
            .expect("write");
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host_key\nPidFile {at}/pid\nAuthorizedKeysFile {at}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nLogLevel ERROR\n"
        );
        std::fs::write(folder.path().join("config"), config).expect("write");
        for name in ["host_key", "client_key", "stranger"] {
            std::fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(0o600))
                .expect("mode");
        }
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &format!("{at}/config")])
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("sshd");
        let end = Instant::now() + SOON;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "sshd does not listen");
            std::thread::yield_now();
        }
        Self { child, folder, port }
    }

    fn ssh(&self) -> Ssh {
        let user = Command::new("id").arg("-un").output().expect("id");
        Ssh {
            user: String::from_utf8_lossy(&user.stdout).trim().to_owned(),
            host: "127.0.0.1".to_owned(),
            port: self.port,
            key: self.text("client_key"),
            known_hosts: self.folder.path().join("known_hosts"),
            socket: SOCKET.into(),
        }
    }

    fn text(&self, name: &str) -> SecretString {
        std::fs::read_to_string(self.folder.path().join(name)).expect("a key").into()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ssh_with_the_hosts_key_and_ours() {
    let sshd = Sshd::start();
    let bench = Bench::with(|config| config.address = Address::Ssh(sshd.ssh()));
    let launch = bench.launch(1, "good");
    bench.start(&launch).await;
    bench.healthy(&launch.slot).await;
    let link = bench.runtime.host.link().await.expect("link");
    let tunnel = link.tunnel().expect("a tunnel");
    let pid = tunnel.pid().expect("a process");
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).expect("cmdline");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("environ");
    let socket = tunnel.socket();
    for text in [line, environment] {
        assert!(!String::from_utf8_lossy(&text).contains("PRIVATE KEY"));
    }
    let folder = socket.parent().expect("folder").to_owned();
    assert!(!folder.join("key").exists(), "the key is gone once the connection stands");
    // A tunnel that died is dug anew.
    drop(link);
    let raw = i32::try_from(pid).expect("small");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(raw), nix::sys::signal::Signal::SIGKILL).expect("kill");
    let end = Instant::now() + SOON;
    while bench.runtime.inspect(&bench.app).await.is_err() {
        assert!(Instant::now() < end);
    }
    let pid =
        bench.runtime.host.link().await.expect("link").tunnel().and_then(|tunnel| tunnel.pid()).expect("pid");
    bench.runtime.retire(&bench.fence(1), &launch.slot).await.expect("retire");
    drop(bench);
    let end = Instant::now() + SOON;
    while Path::new(&format!("/proc/{pid}/environ")).exists() || folder.exists() {
        assert!(Instant::now() < end, "ssh outlives its user");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_that_is_refused_says_why() {
    let sshd = Sshd::start();
    let right = sshd.ssh();
    for (wrong, expected, part) in [
        (Ssh { key: sshd.text("stranger"), ..right.clone() }, Code::TargetConnection, "authorized keys"),
        (Ssh { key: SecretString::from("not a key"), ..right.clone() }, Code::TargetConnection, "ssh-keygen"),
        (
            Ssh { known_hosts: sshd.folder.path().join("other_hosts"), ..right.clone() },
            Code::TargetConnection,
            "ssh-keyscan",
        ),
        (Ssh { known_hosts: "/dev/null".into(), ..right.clone() }, Code::TargetConnection, "ssh-keyscan"),
        (Ssh { port: 1, ..right.clone() }, Code::EngineUnavailable, "over SSH"),
        (
            Ssh { socket: "/nowhere.sock".into(), ..right.clone() },
            Code::EngineUnavailable,
            "cannot be reached",
        ),
    ] {
        let bench = Bench::with(|config| config.address = Address::Ssh(wrong));
        let result = bench.runtime.ping().await;
        assert_eq!(code(&result), Some(expected), "{part} {result:?}");
        let sentence = sentence(result);
        assert!(sentence.contains(part), "{part}: {sentence}");
    }
}
