//! The other sides of a deployment: git servers, registries and engines that refuse, break or hang.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deploymind_shared::db::builds::build_get;
use deploymind_shared::db::credentials::{Credential, credential_put};
use deploymind_shared::db::deployments::Created;
use deploymind_shared::db::events::event_list;
use deploymind_shared::db::releases::release_get;
use deploymind_shared::domain::app::{AppSettings, CredentialKind};
use deploymind_shared::domain::release::ReleaseSpec;
use deploymind_shared::ids::{AppId, CredentialId};
use deploymind_shared::secret::Associated;
use deploymind_tests::delivery::Delivery;
use deploymind_tests::git::ssh::SshServer;
use deploymind_tests::git::{Fault, GitServer};
use deploymind_tests::registry::Registry;
use deploymind_tests::{free_port, wait_for};
use secrecy::SecretString;

use super::{Case, assert_refused};
use crate::common::{SOON, small};

async fn credential(
    delivery: &Delivery,
    app: AppId,
    kind: CredentialKind,
    host: &str,
    username: Option<&str>,
    value: &str,
) {
    let id = CredentialId::generate();
    let new = Credential {
        id,
        owner: delivery.owner,
        app: Some(app),
        kind,
        host: host.to_owned(),
        username: username.map(str::to_owned),
        sealed: delivery.keyring.seal(&Associated::credential(id.as_uuid()), &SecretString::from(value)),
    };
    credential_put(&delivery.rig.fleet.db, &new).await.expect("put credential");
}

/// `host:port` of a URL.
fn host(url: &str) -> String {
    let url = url::Url::parse(url).expect("a URL");
    format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"))
}

/// Waits until a run of it has ended with this code and it is in line again.
async fn tried_again(delivery: &Delivery, created: &Created, code: &str) {
    wait_for("a second try", SOON, async || {
        let (tries, reason): (i32, Option<String>) =
            sqlx::query_as("SELECT tries, reason FROM jobs WHERE id = $1")
                .bind(created.job.as_uuid())
                .fetch_one(&delivery.rig.pool)
                .await
                .map_err(|error| error.to_string())?;
        let text = format!("{tries} tries: {reason:?}");
        if tries > 0 && reason.is_some_and(|reason| reason.contains(code)) { Ok(()) } else { Err(text) }
    })
    .await;
    assert!(!delivery.get(created.deployment).await.status.is_terminal());
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_open_what_they_should_and_nothing_shows_them() {
    let delivery = Delivery::start().await;
    let token = format!("tok-{}", uuid::Uuid::new_v4().simple());
    let private = GitServer::start().await;
    private.demand_basic("x-access-token", &token);
    // Slow enough that whoever looks at the processes meanwhile sees git.
    private.fault(Some(Fault::Drip(Duration::from_millis(100))));
    let mut apps = Vec::new();
    for name in ["private-right", "private-wrong", "private-none"] {
        private.repository(name).commit("main", "first", &small());
        apps.push(delivery.app_at(name, &private.url(name)).await);
    }
    let at = host(&private.url("any"));
    credential(&delivery, apps[0], CredentialKind::GitToken, &at, None, &token).await;
    credential(&delivery, apps[1], CredentialKind::GitToken, &at, None, "tok-wrong-all-the-way").await;

    let (known, unknown) = (SshServer::start(), SshServer::start());
    let mut ssh = Vec::new();
    for (name, server) in [("ssh-known", &known), ("ssh-unknown", &unknown)] {
        server.repository(name).commit("main", "first", &small());
        let app = delivery.app_at(name, &server.url(name)).await;
        credential(&delivery, app, CredentialKind::DeployKey, &host(&server.url(name)), None, &server.key())
            .await;
        ssh.push(app);
    }
    let stranger = delivery.app_at("ssh-stranger", &known.url("ssh-known")).await;
    let at = host(&known.url("any"));
    credential(&delivery, stranger, CredentialKind::DeployKey, &at, None, &known.stranger()).await;
    let hosts = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(hosts.path(), known.known_hosts()).expect("a file of ours");

    let _scheduler = delivery.rig.scheduler().ready().await;
    let worker = delivery
        .worker()
        .set("DEPLOYMIND_SSH_KNOWN_HOSTS", &hosts.path().display().to_string())
        .ready()
        .await;
    let watch = Watch::start(&token);
    let right = delivery.deploy(apps[0]).await;
    let over_ssh = delivery.deploy(ssh[0]).await;
    let cases = [
        Case {
            name: "a wrong token",
            created: delivery.deploy(apps[1]).await,
            code: "DM-4103",
            says: &["read access"],
        },
        Case {
            name: "no token",
            created: delivery.deploy(apps[2]).await,
            code: "DM-4103",
            says: &["store a token"],
        },
        Case {
            name: "an unknown host key",
            created: delivery.deploy(ssh[1]).await,
            code: "DM-4111",
            says: &["ssh-keyscan"],
        },
        Case {
            name: "a wrong deploy key",
            created: delivery.deploy(stranger).await,
            code: "DM-4103",
            says: &["read access"],
        },
    ];
    let ended = delivery.ended(&right, SOON).await;
    ended.assert_released();
    delivery.ended(&over_ssh, SOON).await.assert_released();
    for case in &cases {
        case.assert(&delivery).await;
    }
    let (seen, shown) = watch.stop();
    assert!(seen.contains("git"), "nobody was seen fetching: {seen:?}");
    assert!(shown.is_empty(), "the token is in the arguments or the environment of {shown:?}");
    assert!(!ended.text().contains(&token));
    let events = event_list(&delivery.rig.fleet.db, right.deployment, 0, 1000).await.expect("read events");
    assert!(!events.is_empty() && events.iter().all(|event| !event.body.to_string().contains(&token)));
    assert!(!worker.process.log().contains(&token));
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

/// Looks at the arguments and environments of all processes until it is stopped.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(BTreeSet<String>, BTreeSet<String>)>,
}

impl Watch {
    fn start(secret: &str) -> Self {
        let (stop, secret) = (Arc::new(AtomicBool::new(false)), secret.to_owned());
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut seen, mut shown) = (BTreeSet::new(), BTreeSet::new());
            while !told.load(Ordering::Relaxed) {
                for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
                    for file in ["cmdline", "environ"] {
                        let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
                        let text = String::from_utf8_lossy(&bytes);
                        let name = text.split('\0').next().unwrap_or_default();
                        if file == "cmdline" && !name.is_empty() {
                            seen.insert(name.rsplit('/').next().unwrap_or_default().to_owned());
                        }
                        if text.contains(&secret) {
                            shown.insert(format!("{file}: {text}"));
                        }
                    }
                }
                std::thread::yield_now();
            }
            (seen, shown)
        });
        Self { stop, thread }
    }

    fn stop(self) -> (BTreeSet<String>, BTreeSet<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only reads")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_is_tried_again_until_it_is_back() {
    let delivery = Delivery::start().await;
    let (broken, hanging) = (GitServer::start().await, GitServer::start().await);
    broken.fault(Some(Fault::Status(500)));
    hanging.fault(Some(Fault::Hang));
    let mut created = Vec::new();
    for (name, server) in [("broken", &broken), ("hanging", &hanging)] {
        server.repository(name).commit("main", "first", &small());
        let app = delivery.app_at(name, &server.url(name)).await;
        created.push(delivery.deploy(app).await);
    }
    let _scheduler = delivery.rig.scheduler().ready().await;
    let _worker = delivery.worker().set("DEPLOYMIND_CHECKOUT_DEADLINE", "4s").ready().await;
    for (created, server) in created.iter().zip([&broken, &hanging]) {
        tried_again(&delivery, created, "DM-4104").await;
        server.fault(None);
    }
    for created in &created {
        let ended = delivery.ended(created, SOON).await;
        ended.assert_released();
        assert!(ended.text().contains("DM-4104") && ended.text().contains("tried again"), "{}", ended.text());
    }
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_stays_away_uses_up_the_tries() {
    let delivery = Delivery::start().await;
    let (app, _) = delivery.app("engineless", &small()).await;
    let _scheduler = delivery.rig.scheduler().ready().await;
    let engine = format!("tcp://127.0.0.1:{}", free_port());
    let _worker = delivery.worker().set("DEPLOYMIND_DOCKER_HOST", &engine).ready().await;
    let created = delivery.deploy(app).await;
    tried_again(&delivery, &created, "DM-4306").await;
    let ended = delivery.ended(&created, SOON).await;
    assert_eq!((ended.status(), ended.code()), ("FAILED", "DM-3005"), "{}", ended.text());
    let reason = ended.deployment.reason.as_deref().unwrap_or_default();
    assert!(reason.contains("DM-4306") && reason.contains(&engine), "{reason}");
    assert!(ended.text().contains("going on where the last one stopped"), "{}", ended.text());
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_takes_the_image_of_who_knows_its_password() {
    let delivery = Delivery::start().await;
    let registry = Registry::start().await;
    let mut created = Vec::new();
    for (name, password) in [("push-right", registry.password()), ("push-wrong", "wrong-battery-staple")] {
        let (app, _) = delivery.app(name, &small()).await;
        let wanted = AppSettings {
            registry: Some(format!("{}/team/{name}", registry.host())),
            ..AppSettings::default()
        };
        delivery.settings(app, &wanted).await;
        let user = Some(registry.user());
        credential(&delivery, app, CredentialKind::Registry, registry.host(), user, password).await;
        created.push(delivery.deploy(app).await);
    }
    let (worker, _scheduler) = delivery.nodes().await;
    let ended = delivery.ended(&created[0], SOON).await;
    ended.assert_released();
    let release = ended.deployment.release.expect("released");
    let release = release_get(&delivery.rig.fleet.db, release).await.expect("read").expect("a release");
    let spec: ReleaseSpec = serde_json::from_value(release.spec).expect("a spec");
    let reference = format!("{}/team/push-right:{}", registry.host(), created[0].deployment);
    assert_eq!(spec.image.reference, reference);
    let digest = spec.image.digest.expect("a digest");
    assert!(digest.starts_with("sha256:") && digest != spec.image.id, "{digest}");
    assert_eq!(release.image_digest, digest);
    let build = build_get(&delivery.rig.fleet.db, ended.deployment.id).await.expect("read").expect("a build");
    assert_eq!(build.digest, Some(digest));

    let wrong = delivery.ended(&created[1], SOON).await;
    assert_refused("a wrong password", &wrong, "DM-4402", &["password", registry.host()]);
    for text in [ended.text(), wrong.text(), worker.process.log()] {
        assert!(!text.contains(registry.password()) && !text.contains("battery-staple"), "{text}");
    }
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}
