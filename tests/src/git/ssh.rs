//! A real `sshd` (Debian: `openssh-server`) whose one key may do nothing but fetch from one directory.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Repository;

const READY: Duration = Duration::from_secs(10);
const PROGRAM: &str = "/usr/sbin/sshd";

/// Listens on loopback until dropped.
pub struct SshServer {
    server: Child,
    port: u16,
    user: String,
    directory: TempDir,
}

impl SshServer {
    /// # Panics
    /// When `sshd` is not installed, or does not come up.
    #[must_use]
    pub fn start() -> Self {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: install openssh-server");
        let directory = tempfile::Builder::new().prefix("ssh-").tempdir().expect("a temporary directory");
        let root = directory.path();
        for key in ["host_key", "client_key"] {
            keygen(&root.join(key));
        }
        let port = free_port();
        let public = fs::read_to_string(root.join("client_key.pub")).expect("a public key");
        let shown = root.display();
        write(
            &root.join("authorized_keys"),
            &format!("restrict,command=\"git-shell -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {public}"),
        );
        let separation = Path::new("/run/sshd");
        if !separation.exists() {
            // Debian's service makes it at each start; without the service nobody does.
            fs::create_dir_all(separation).expect("sshd needs /run/sshd");
        }
        write(
            &root.join("config"),
            &format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host_key\nPidFile {shown}/pid\n\
                 AuthorizedKeysFile {shown}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nLogLevel ERROR\n"
            ),
        );
        let server = Command::new(PROGRAM)
            .args(["-D", "-e", "-f"])
            .arg(root.join("config"))
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.join("log")).expect("a log file"))
            .spawn()
            .expect("sshd starts");
        let user = Command::new("id").arg("-un").output().expect("id");
        let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
        let ssh = Self { server, port, user, directory };
        let end = Instant::now() + READY;
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let log = fs::read_to_string(ssh.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "sshd does not listen: {log}");
            std::thread::yield_now();
        }
        ssh
    }

    #[must_use]
    pub fn repository(&self, name: &str) -> Repository {
        Repository::create(&self.directory.path().join(name))
    }

    #[must_use]
    pub fn url(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.port, path.display())
    }

    /// The private key that is let in.
    ///
    /// # Panics
    /// When it has been removed.
    #[must_use]
    pub fn key(&self) -> String {
        fs::read_to_string(self.directory.path().join("client_key")).expect("the key is there until drop")
    }

    /// A well-formed key that nobody knows.
    #[must_use]
    pub fn stranger(&self) -> String {
        let path = self.directory.path().join("stranger");
        if !path.exists() {
            keygen(&path);
        }
        fs::read_to_string(path).expect("a key that was just made")
    }

    /// The line of `known_hosts` that a client needs.
    ///
    /// # Panics
    /// When the host key has been removed.
    #[must_use]
    pub fn known_hosts(&self) -> String {
        let public = fs::read_to_string(self.directory.path().join("host_key.pub")).expect("a public key");
        format!("[127.0.0.1]:{} {public}", self.port)
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _gone = self.server.kill().is_err();
        let _reaped = self.server.wait().is_ok();
    }
}

fn keygen(path: &Path) {
    let mut command = Command::new("ssh-keygen");
    let made = command.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path);
    assert!(made.status().expect("ssh-keygen is installed").success());
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file in the test's own directory");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// The kernel's choice; whoever takes it in between makes `start` fail loudly.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    socket.local_addr().expect("a bound socket has an address").port()
}
