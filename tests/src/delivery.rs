//! A fleet that deploys for real: repositories on a git server, workers with the shipped pipeline, the machine's Docker engine.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use deploymind_shared::db::apps::{NewApp, app_create, app_settings_put};
use deploymind_shared::db::deployments::{Created, Deployment, Trigger, deployment_get};
use deploymind_shared::db::logs::{LogLine, log_list};
use deploymind_shared::db::scans::scan_policy_put;
use deploymind_shared::db::targets::target_create;
use deploymind_shared::db::users::user_create;
use deploymind_shared::db::variables::{Variable, variable_put};
use deploymind_shared::domain::app::{AppSettings, VariableScope};
use deploymind_shared::domain::job::Priority;
use deploymind_shared::ids::{AppId, DeploymentId, TargetName, UserId};
use deploymind_shared::secret::{Associated, KeyId, Keyring};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::env;
use crate::git::{Entry, GitServer, Repository};
use crate::rig::{NodeBuilder, Rig, production};
use crate::{free_port, wait_for};

/// The environment's variable that names the database for the scanner.
const NO_SCAN: &str = "off";

pub struct Delivery {
    pub rig: Rig,
    pub git: GitServer,
    pub keyring: Keyring,
    keys: String,
    pub work: TempDir,
    pub owner: UserId,
    /// Where apps are rolled out to; none: they end when they are released.
    pub targets: Vec<TargetName>,
    host: Option<Host>,
}

/// What a fleet needs of this machine's engine to be a Docker host beside those of other tests.
struct Host {
    http_port: u16,
    subnet: String,
}

/// How a deployment ended, with what it left in the record.
#[derive(Debug)]
pub struct Ended {
    pub deployment: Deployment,
    pub log: Vec<LogLine>,
}

impl Ended {
    #[must_use]
    pub fn code(&self) -> &str {
        self.deployment.code.as_deref().unwrap_or("none")
    }

    #[must_use]
    pub fn status(&self) -> &'static str {
        self.deployment.status.as_str()
    }

    /// The whole log as one text.
    #[must_use]
    pub fn text(&self) -> String {
        self.log.iter().map(|line| format!("{}\n", line.line)).collect()
    }

    /// Built, released, and stopped only for want of a roll-out.
    ///
    /// # Panics
    /// When it did not come that far; shows its log.
    pub fn assert_released(&self) {
        assert!(
            self.deployment.release.is_some() && self.code() == "DM-4704",
            "{} {}: {:?}\n{}",
            self.status(),
            self.code(),
            self.deployment.reason,
            self.text()
        );
    }
}

impl Delivery {
    /// Nothing is scanned unless the test says so with [`Delivery::policy`].
    pub async fn start() -> Self {
        let rig = Rig::start().await;
        let id = KeyId::parse("test").expect("a key id");
        let keys = Keyring::generate_line(&id).to_string();
        let keyring = Keyring::parse(&keys).expect("a key");
        let owner = user_create(&rig.fleet.db, "owner", None).await.expect("create user").id;
        let work = tempfile::Builder::new().prefix("work-").tempdir().expect("a temporary directory");
        let git = GitServer::start().await;
        let this = Self { rig, git, keyring, keys, work, owner, targets: Vec::new(), host: None };
        this.policy(&json!({ "mode": NO_SCAN })).await;
        this
    }

    /// The same with this machine's engine as the host that apps are rolled out to.
    pub async fn on_docker() -> Self {
        let mut this = Self::start().await;
        let target = TargetName::parse("docker://local").expect("a target");
        target_create(&this.rig.fleet.db, &target).await.expect("create target");
        this.targets = vec![target];
        let http_port = free_port();
        // Ports of tests that run at the same time differ, and so do the networks that are named after them.
        let [high, low] = http_port.to_be_bytes();
        this.host = Some(Host { http_port, subnet: format!("10.{}.{low}.0/24", high + 22) });
        this
    }

    /// The port that apps with host names share.
    ///
    /// # Panics
    /// Where nothing is rolled out.
    #[must_use]
    pub fn http_port(&self) -> u16 {
        self.host.as_ref().expect("a host").http_port
    }

    pub async fn policy(&self, policy: &Value) {
        scan_policy_put(&self.rig.fleet.db, &production(), policy).await.expect("set policy");
    }

    /// A worker with the shipped pipeline; all of one test share a work folder, as workers of one machine do.
    pub fn worker(&self) -> NodeBuilder {
        self.furnished(self.rig.node("deployer", &self.rig.stores))
    }

    /// The program as it is shipped, without fail points and built without what the tests need.
    pub fn shipped(&self) -> NodeBuilder {
        self.furnished(NodeBuilder::shipped("worker", &self.rig.stores, &self.rig.name))
    }

    fn furnished(&self, node: NodeBuilder) -> NodeBuilder {
        let node = match &self.host {
            Some(host) => node
                .set("DEPLOYMIND_EDGE_HTTP_PORT", &host.http_port.to_string())
                .set("DEPLOYMIND_SLOTS_SUBNET", &host.subnet),
            None => node,
        };
        let cache = env::optional(env::TRIVY_CACHE).unwrap_or_else(|| "/nowhere".to_owned());
        node.set("DEPLOYMIND_ENVIRONMENTS", "production")
            .set("DEPLOYMIND_WORKER_CONCURRENCY", "2")
            .set("DEPLOYMIND_KEYS", &self.keys)
            .set("DEPLOYMIND_WORK_DIR", &self.work.path().display().to_string())
            .set("DEPLOYMIND_BUILD_MIN_FREE_MB", "100")
            .set("DEPLOYMIND_SWEEP", "1s")
            .set(
                "DEPLOYMIND_TRIVY",
                &env::optional(env::TRIVY).unwrap_or_else(|| "/nowhere/trivy".to_owned()),
            )
            .set("DEPLOYMIND_TRIVY_CACHE", &cache)
            .set("DEPLOYMIND_TRIVY_UPDATE", "false")
            // The cleaning up of a stopped build takes an engine a second or two.
            .set("DEPLOYMIND_QUEUE_CANCEL_GRACE", "8s")
    }

    /// A worker and a scheduler, ready.
    pub async fn nodes(&self) -> (crate::rig::Node, crate::rig::Node) {
        (self.worker().ready().await, self.rig.scheduler().ready().await)
    }

    /// A repository with one commit of these files on `main`, and an app that is deployed from it.
    pub async fn app(&self, name: &str, files: &[Entry]) -> (AppId, Repository) {
        let repository = self.git.repository(name);
        if !files.is_empty() {
            repository.commit("main", "first", files);
        }
        (self.app_at(name, &self.git.url(name)).await, repository)
    }

    pub async fn app_at(&self, name: &str, repository: &str) -> AppId {
        let new = NewApp {
            owner: self.owner,
            name: name.to_owned(),
            repository: repository.to_owned(),
            branch: "main".to_owned(),
            environment: production(),
            targets: self.targets.clone(),
        };
        app_create(&self.rig.fleet.db, &new).await.expect("create app")
    }

    pub async fn settings(&self, app: AppId, settings: &AppSettings) {
        assert!(app_settings_put(&self.rig.fleet.db, self.owner, app, settings).await.expect("set settings"));
    }

    pub async fn variable(&self, app: AppId, name: &str, value: &str, scope: VariableScope) {
        let sealed = self.keyring.seal(&Associated::variable(app, name), &SecretString::from(value));
        let variable = Variable { name: name.to_owned(), scope, secret: true, sealed };
        variable_put(&self.rig.fleet.db, app, &[variable]).await.expect("set variable");
    }

    pub async fn deploy(&self, app: AppId) -> Created {
        self.deploy_commit(app, None).await
    }

    pub async fn deploy_commit(&self, app: AppId, commit: Option<String>) -> Created {
        self.rig.fleet.deploy(app, Trigger::Push, None, commit, Priority::Normal).await.expect("deploy")
    }

    pub async fn ended(&self, created: &Created, deadline: Duration) -> Ended {
        let id = created.deployment;
        wait_for("the deployment to end", deadline, async || {
            let now = self.get(id).await;
            if now.status.is_terminal() {
                Ok(())
            } else {
                Err(format!("{}\n{}", now.status, self.tail(id).await))
            }
        })
        .await;
        Ended { deployment: self.get(id).await, log: self.log(id).await }
    }

    pub async fn get(&self, id: DeploymentId) -> Deployment {
        deployment_get(&self.rig.fleet.db, id).await.expect("read deployment").expect("it is there")
    }

    /// Every line, in order.
    pub async fn log(&self, id: DeploymentId) -> Vec<LogLine> {
        let mut lines: Vec<LogLine> = Vec::new();
        loop {
            let after = lines.last().map_or(0, |line| line.seq);
            let more = log_list(&self.rig.fleet.db, id, after, 10_000).await.expect("read log");
            if more.is_empty() {
                return lines;
            }
            lines.extend(more);
        }
    }

    async fn tail(&self, id: DeploymentId) -> String {
        let log = self.log(id).await;
        log[log.len().saturating_sub(15)..].iter().map(|line| format!("  {}\n", line.line)).collect()
    }

    /// Images of this fleet, by what the engine says: id and deployment.
    pub fn images(&self) -> Vec<(String, String)> {
        let filter = format!("label=deploymind.fleet={}", self.rig.name);
        // Nameless steps of the classic builder are cache, and carry no deployment.
        let made = "label=deploymind.deployment";
        let ids =
            docker(&["image", "ls", "--all", "--no-trunc", "--quiet", "--filter", &filter, "--filter", made]);
        let label = "{{index .Config.Labels \"deploymind.deployment\"}}";
        let mut found: Vec<(String, String)> = ids
            .lines()
            .filter_map(|id| {
                // One that is being removed may be gone by now.
                let output =
                    Command::new("docker").args(["image", "inspect", "--format", label, id]).output();
                let output = output.expect("the docker client is installed");
                let deployment = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                output.status.success().then_some((id.to_owned(), deployment))
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// Containers of build steps of this fleet, running or not, by a word that their command holds.
    pub fn containers(&self, word: &str) -> Vec<String> {
        docker(&["ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Command}}"])
            .lines()
            .filter(|line| line.contains(word))
            .map(str::to_owned)
            .collect()
    }

    pub fn folders(&self) -> Vec<String> {
        let root = self.work.path().join(&self.rig.name);
        let names = std::fs::read_dir(root).into_iter().flatten().flatten();
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Nothing may be left but images of releases: no folder, no image without one.
    pub async fn assert_clean(&self, deadline: Duration) {
        wait_for("nothing to be left behind", deadline, async || {
            let folders = self.folders();
            if !folders.is_empty() {
                return Err(format!("folders {folders:?}"));
            }
            for (image, deployment) in self.images() {
                let id = deployment.parse().map_err(|_| format!("{image} names no deployment"))?;
                if self.get(id).await.release.is_none() {
                    return Err(format!("{image} of {deployment}, which has no release"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Everything of this fleet on the engine that is not an image, by kind.
    fn on_host(&self, kind: &[&str]) -> Vec<String> {
        let filter = format!("label=deploymind.fleet={}", self.rig.name);
        let listed = docker(&[kind, &["--filter", &filter]].concat());
        listed.lines().map(str::to_owned).collect()
    }

    /// Names of this fleet's containers, the edge among them.
    #[must_use]
    pub fn slots(&self) -> Vec<String> {
        let mut names = self.on_host(&["ps", "--all", "--format", "{{.Names}} {{.State}}"]);
        names.sort();
        names
    }

    /// Ends the test; what it left on the engine goes, too.
    pub async fn finish(self) {
        if self.host.is_some() {
            for container in self.on_host(&["ps", "--all", "--quiet"]) {
                docker(&["rm", "--force", "--volumes", &container]);
            }
            for network in self.on_host(&["network", "ls", "--quiet"]) {
                docker(&["network", "rm", &network]);
            }
            for volume in self.on_host(&["volume", "ls", "--quiet"]) {
                docker(&["volume", "rm", &volume]);
            }
        }
        // One that another was made from goes after that.
        let mut left = self.images();
        while !left.is_empty() {
            for (image, _) in &left {
                let _refused = Command::new("docker").args(["image", "rm", "--force", image]).output();
            }
            let still = self.images();
            if still.len() == left.len() {
                docker(&["image", "rm", "--force", &still[0].0]);
            }
            left = still;
        }
        self.rig.finish().await;
    }
}

/// The files below a folder, as entries of a commit.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn entries(folder: &Path) -> Vec<Entry> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<Entry>) {
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).expect("inside").to_string_lossy().into_owned();
                found.push(Entry::file(name, std::fs::read(&path).expect("a readable file")));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    assert!(!found.is_empty(), "{} is empty", folder.display());
    found
}

/// What the Docker client prints.
///
/// # Panics
/// When it fails: `make test` starts an engine when none answers.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("the docker client is installed");
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
