//! What a container needs to be an edge.

/// Where the script is in the edge's container.
pub(super) const SCRIPT: &str = "/opt/deploymind-edge/dm-edge";
/// Where the volume is mounted that keeps the routes when the container is made anew.
pub const STATE_FOLDER: &str = "/var/lib/deploymind-edge";

/// Where the script and nginx keep what a new start makes anew.
pub(super) const RUN_FOLDER: &str = "/run/deploymind-edge";
pub(super) const LOG_FOLDER: &str = "/var/lib/deploymind-edge/log";

/// A file of the edge's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    pub path: &'static str,
    pub mode: u32,
    pub content: &'static str,
}

/// An edge's container. It runs as root in the host's network namespace, with a read-write root file system, and is
/// started again whenever it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// To be in the container before it starts.
    pub files: Vec<File>,
    /// Instead of the image's entry point.
    pub command: Vec<&'static str>,
    /// Where the volume for its state is mounted.
    pub state: &'static str,
    /// All others are dropped.
    pub capabilities: Vec<&'static str>,
    /// Folders in memory, with their options.
    pub tmpfs: Vec<(&'static str, &'static str)>,
    /// Ends it in order: no new request, and those under way get [`Install::stop_grace_s`].
    pub stop_signal: &'static str,
    pub stop_grace_s: u32,
}

pub fn install() -> Install {
    Install {
        files: vec![
            File { path: SCRIPT, mode: 0o755, content: include_str!("dm-edge") },
            File {
                path: "/opt/deploymind-edge/nginx.conf",
                mode: 0o644,
                content: include_str!("nginx.conf"),
            },
            File {
                path: "/opt/deploymind-edge/traffic.awk",
                mode: 0o644,
                content: include_str!("traffic.awk"),
            },
        ],
        command: vec![SCRIPT, "run"],
        state: STATE_FOLDER,
        capabilities: vec!["CHOWN", "DAC_OVERRIDE", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"],
        tmpfs: vec![("/run", "rw,nosuid,nodev,mode=755,size=64m")],
        stop_signal: "SIGTERM",
        stop_grace_s: 30,
    }
}
