//! The private directory of one call: git's whole configuration, the credential's files and the object stores.
//!
//! The token lies in a file that `git credential-store` reads, bound to the origin's scheme, host and port. So it is in no
//! argument, URL or environment, it is sent only after the server asks, and git itself holds it back from every other
//! host. (An `http.extraHeader` would be sent unasked, and again to wherever a redirect leads.)

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use deploymind_shared::error::{Code, Error};
use secrecy::ExposeSecret as _;

use super::address::{Address, Scheme};
use super::{Credential, Limits, Request, workspace};

const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// GitHub's name for whoever holds a token; other servers take any.
const TOKEN_USER: &str = "x-access-token";

/// Old tools left these flaws in the history of honest repositories. Nothing here reads what they concern.
const HARMLESS: [&str; 19] = [
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badFilemode",
    "badName",
    "badTimezone",
    // `.gitmodules` is read and judged here, never by `git submodule`.
    "gitmodulesName",
    "gitmodulesParse",
    "gitmodulesPath",
    "gitmodulesUpdate",
    "gitmodulesUrl",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "missingTaggerEntry",
    "nullSha1",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
];
/// Only warnings by default.
const HARMFUL: [&str; 5] = ["emptyName", "fullPathname", "hasDot", "hasDotdot", "hasDotgit"];

pub(super) struct Private {
    root: PathBuf,
    ssh: Option<String>,
}

impl Private {
    pub async fn create(request: &Request, origin: &Address) -> Result<Self, Error> {
        refuse_unfit(
            request.credential.as_ref(),
            request.known_hosts.as_deref(),
            origin,
            request.allow_local,
        )?;
        if request.private.exists() {
            tokio::fs::remove_dir_all(&request.private)
                .await
                .map_err(workspace("empty private directory"))?;
        }
        let mut private = Self { root: request.private.clone(), ssh: None };
        private.fill(request, origin).map_err(workspace("write private directory"))?;
        Ok(private)
    }

    fn fill(&mut self, request: &Request, origin: &Address) -> io::Result<()> {
        let directory = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        directory(&self.root)?;
        directory(&self.root.join("home"))?;
        self.root = self.root.canonicalize()?;
        let mut config = configuration(request.limits, request.allow_local);
        match &request.credential {
            Some(Credential::Token { username, token }) => {
                let user = username.as_deref().filter(|name| !name.is_empty()).unwrap_or(TOKEN_USER);
                let (scheme, rest) = origin_parts(origin);
                let line = format!("{scheme}{}:{}@{rest}\n", encoded(user), encoded(token.expose_secret()));
                let file = self.write("credentials", line.as_bytes())?;
                let helper = format!("store --file={}", for_shell(&file));
                config.push_str(&format!(
                    "[credential {}]\n\thelper = {}\n",
                    for_config(&origin.origin()),
                    for_config(&helper)
                ));
                // A server that moved must be named anew: libcurl keeps the password on a handle that git reuses.
                config.push_str("[http]\n\tfollowRedirects = false\n");
            }
            Some(Credential::DeployKey(key)) => {
                let mut text = key.expose_secret().replace("\r\n", "\n").trim().to_owned();
                text.push('\n');
                self.write("key", text.as_bytes())?;
            }
            None => {}
        }
        self.write("known_hosts", request.known_hosts.as_deref().unwrap_or_default().as_bytes())?;
        self.write("config", config.as_bytes())?;
        self.ssh = (origin.scheme == Scheme::Ssh).then(|| self.ssh_command());
        Ok(())
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(content)?;
        Ok(path)
    }

    fn ssh_command(&self) -> String {
        let hosts = format!("UserKnownHostsFile=\"{}\"", self.root.join("known_hosts").display());
        let options = [
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "BatchMode=yes",
            "PreferredAuthentications=publickey",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "ConnectTimeout=15",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=2",
            "LogLevel=ERROR",
        ];
        let options: String = options.iter().map(|option| format!(" -o {option}")).collect();
        format!(
            "ssh -F /dev/null{options} -o {} -i {}",
            for_shell(Path::new(&hosts)),
            for_shell(&self.root.join("key"))
        )
    }

    /// The whole environment of a git process.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let at = |name: &str| self.root.join(name).display().to_string();
        let mut all = vec![
            ("PATH", PROGRAMS.to_owned()),
            ("HOME", at("home")),
            ("XDG_CONFIG_HOME", at("home")),
            ("TMPDIR", at("home")),
            ("LC_ALL", "C".to_owned()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("GIT_CONFIG_GLOBAL", at("config")),
            ("GIT_ATTR_NOSYSTEM", "1".to_owned()),
            ("GIT_TERMINAL_PROMPT", "0".to_owned()),
            ("GIT_ASKPASS", String::new()),
            ("SSH_ASKPASS", String::new()),
            ("GIT_OPTIONAL_LOCKS", "0".to_owned()),
            ("GIT_NO_REPLACE_OBJECTS", "1".to_owned()),
            ("GIT_CEILING_DIRECTORIES", at("")),
        ];
        if let Some(ssh) = &self.ssh {
            all.push(("GIT_SSH_COMMAND", ssh.clone()));
            all.push(("GIT_SSH_VARIANT", "ssh".to_owned()));
        }
        all
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The git directory of the repository (0) or of a submodule. Not yet made.
    pub fn store(&self, number: usize) -> PathBuf {
        self.root.join(format!("store-{number}"))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // A process that was killed a moment ago may still be making a file.
        for _ in 0..20 {
            match fs::remove_dir_all(&self.root) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::yield_now(),
                _ => return,
            }
        }
        tracing::warn!("the private directory of a checkout could not be removed");
    }
}

/// What can be known to fail before anybody is asked.
fn refuse_unfit(
    credential: Option<&Credential>,
    known_hosts: Option<&str>,
    origin: &Address,
    allow_local: bool,
) -> Result<(), Error> {
    let denied = |sentence: &str| Err(Error::new(Code::RepositoryDenied, sentence));
    match (credential, origin.scheme) {
        (Some(Credential::DeployKey(_)), Scheme::Https | Scheme::Http) => denied(
            "the app has a deploy key but its repository's address is HTTP; use the SSH address, or store a token",
        ),
        (Some(Credential::Token { .. }), Scheme::Ssh) => denied(
            "the app has a token but its repository's address is SSH; use the HTTPS address, or store a deploy key",
        ),
        (None, Scheme::Ssh) => denied(
            "a repository over SSH needs a deploy key; store one for the app, or use the HTTPS address",
        ),
        (Some(Credential::Token { .. }), Scheme::Http) if !allow_local && !origin.is_loopback() => {
            Err(Error::new(
                Code::RepositoryAddress,
                "the app has a token but its repository's address is http, which would send it in clear; use https",
            ))
        }
        (Some(Credential::Token { username, token }), _) => {
            let texts = [username.as_deref().unwrap_or_default(), token.expose_secret()];
            if token.expose_secret().is_empty() || texts.iter().any(|text| text.contains(char::is_control)) {
                return denied("the stored token is empty or has a line break in it; store it again");
            }
            Ok(())
        }
        (_, Scheme::Ssh) if known_hosts.is_none_or(|text| text.trim().is_empty()) => {
            Err(host_key_missing(origin))
        }
        _ => Ok(()),
    }
}

pub(super) fn host_key_missing(origin: &Address) -> Error {
    let port = origin.port.map(|port| format!(" -p {port}")).unwrap_or_default();
    let host = origin.host.trim_start_matches('[').trim_end_matches(']');
    Error::new(
        Code::HostKeyRefused,
        format!(
            "the SSH host key of {host} is not among the known ones; print it with `ssh-keyscan{port} {host}`, compare it with what the server's owner publishes, and store those lines as the file that DEPLOYMIND_SSH_KNOWN_HOSTS names"
        ),
    )
}

fn configuration(limits: Limits, allow_local: bool) -> String {
    let mut text = String::from(
        "[core]\n\thooksPath = /dev/null\n\tattributesFile = /dev/null\n\texcludesFile = /dev/null\n\tfsmonitor = false\n\
         \tsymlinks = true\n\tfileMode = true\n\tautocrlf = false\n\tprotectHFS = true\n\tprotectNTFS = false\n\
         \tfsync = none\n\tquotePath = true\n\taskPass =\n\tbigFileThreshold = 16m\n\
         [credential]\n\thelper =\n\
         [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n\
         [advice]\n\tdetachedHead = false\n\
         [submodule]\n\trecurse = false\n\
         [fetch]\n\tunpackLimit = 1\n\trecurseSubmodules = false\n\tfsckObjects = true\n\
         [transfer]\n\tfsckObjects = true\n\tbundleURI = false\n\
         [pack]\n\tthreads = 2\n\
         [protocol]\n\tallow = never\n\
         [protocol \"https\"]\n\tallow = always\n[protocol \"http\"]\n\tallow = always\n[protocol \"ssh\"]\n\tallow = always\n",
    );
    if allow_local {
        text.push_str("[protocol \"file\"]\n\tallow = always\n[safe]\n\tdirectory = *\n");
    }
    text.push_str(&format!(
        "[http]\n\tfollowRedirects = initial\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = {}\n[fetch \"fsck\"]\n",
        limits.stall.as_secs().max(1)
    ));
    for flaw in HARMLESS {
        text.push_str(&format!("\t{flaw} = ignore\n"));
    }
    for flaw in HARMFUL {
        text.push_str(&format!("\t{flaw} = error\n"));
    }
    text
}

fn origin_parts(origin: &Address) -> (String, String) {
    let text = origin.origin();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    (format!("{scheme}://"), rest.to_owned())
}

/// Percent-encoded but for the unreserved characters of RFC 3986.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn for_shell(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn for_config(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
