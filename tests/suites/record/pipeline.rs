//! What the pipeline writes down and reads: plans, secrets, builds, scans, and the policy over them.

use deploymind_shared::clock::Clock;
use deploymind_shared::db::apps::{app_plan, app_settings_put};
use deploymind_shared::db::builds::{Build, build_get, build_write};
use deploymind_shared::db::credentials::{Credential, credential_delete, credential_find, credential_put};
use deploymind_shared::db::deployments::{
    Described, Fate, deployment_describe, deployment_fates, deployment_get,
};
use deploymind_shared::db::logs::{LogLine, log_append, log_last};
use deploymind_shared::db::releases::{NewRelease, release_create, release_variables};
use deploymind_shared::db::rotation::{SealedTable, sealed_list, sealed_replace};
use deploymind_shared::db::scans::{
    Allowance, Scan, ScanKind, ScanOutcome, allowance_delete, allowance_list, allowance_put, scan_list,
    scan_policy_get, scan_policy_put, scan_write,
};
use deploymind_shared::db::targets::{target_connection, target_connection_put};
use deploymind_shared::db::variables::{Variable, variable_delete, variable_list, variable_put};
use deploymind_shared::domain::app::{AppSettings, CredentialKind, CredentialUse, VariableScope};
use deploymind_shared::error::Code;
use deploymind_shared::fleet::rotate;
use deploymind_shared::ids::{AllowanceId, AppId, CredentialId, DeploymentId, EnvironmentName, UserId};
use deploymind_shared::secret::{Associated, KeyId, Keyring, Sealed};
use deploymind_tests::rig::{Rig, production};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::deployments::{Claimed, lost};
use super::{app, refused_by, user};

fn key(id: &str) -> String {
    Keyring::generate_line(&KeyId::parse(id).expect("key id")).to_string()
}

fn variable(ring: &Keyring, app: AppId, name: &str, value: &str, scope: VariableScope) -> Variable {
    let sealed = ring.seal(&Associated::variable(app, name), &SecretString::from(value));
    Variable { name: name.to_owned(), scope, secret: true, sealed }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_holds_the_settings_and_the_commit_that_was_asked_for() {
    let rig = Rig::start().await;
    let claimed = Claimed::start(&rig).await;
    let db = &rig.fleet.db;
    let plan = app_plan(db, claimed.deployment).await.expect("read").expect("a plan");
    assert_eq!((plan.app.id, plan.app.targets.len()), (claimed.app, 2));
    assert_eq!(plan.settings, AppSettings::default());
    assert_eq!(plan.commit, Some("a".repeat(40)));
    let settings = AppSettings { port: Some(8080), ..AppSettings::default() };
    assert!(app_settings_put(db, plan.app.owner, claimed.app, &settings).await.expect("put"));
    let stranger = user(&rig, "stranger").await;
    assert!(!app_settings_put(db, stranger, claimed.app, &AppSettings::default()).await.expect("put"));
    let bad = AppSettings { port: Some(0), ..AppSettings::default() };
    let refused = app_settings_put(db, plan.app.owner, claimed.app, &bad).await.expect_err("port 0");
    assert_eq!(refused.code(), Code::SettingsInvalid);
    let plan = app_plan(db, claimed.deployment).await.expect("read").expect("a plan");
    assert_eq!(plan.settings, settings);
    assert!(app_plan(db, DeploymentId::generate()).await.expect("read").is_none());
    sqlx::query("UPDATE apps SET settings = '{\"prot\": 1}'").execute(&rig.pool).await.expect("spoil");
    let unreadable = app_plan(db, claimed.deployment).await.expect_err("an unknown setting");
    assert_eq!(unreadable.code(), Code::SettingsInvalid);
    claimed.end(&rig).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_checked_out_is_written_by_the_holder_of_the_claim_only() {
    let rig = Rig::start().await;
    let claimed = Claimed::start(&rig).await;
    let db = &rig.fleet.db;
    let what = Described {
        commit: "b".repeat(40),
        branch: Some("main".to_owned()),
        message: "a\0b".to_owned() + &"é".repeat(2000),
        author: "n".repeat(300),
    };
    for attempt in claimed.others() {
        lost(deployment_describe(db, claimed.job, attempt, &what).await);
    }
    deployment_describe(db, claimed.job, claimed.attempt, &what).await.expect("describe");
    let row = deployment_get(db, claimed.deployment).await.expect("read").expect("there");
    assert_eq!((row.commit, row.branch.as_deref()), (Some("b".repeat(40)), Some("main")));
    assert_eq!(row.commit_message.map(|text| text.chars().count()), Some(1000));
    assert_eq!(row.commit_author.map(|text| text.len()), Some(255));
    let unknown = DeploymentId::generate();
    let fates = deployment_fates(db, &[claimed.deployment, unknown]).await.expect("fates");
    assert_eq!(fates, [Fate { deployment: claimed.deployment, ended: false, released: false, image: None }]);
    claimed.end(&rig).await;
    let fates = deployment_fates(db, &[claimed.deployment]).await.expect("fates");
    assert_eq!(fates, [Fate { deployment: claimed.deployment, ended: true, released: false, image: None }]);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_set_together_and_a_release_keeps_those_of_its_time() {
    let rig = Rig::start().await;
    let claimed = Claimed::start(&rig).await;
    let (db, app) = (&rig.fleet.db, claimed.app);
    let ring = Keyring::parse(&key("main")).expect("ring");
    let set = [
        variable(&ring, app, "AT_RUN", "one", VariableScope::Run),
        variable(&ring, app, "AT_BUILD", "two", VariableScope::Build),
        variable(&ring, app, "ALWAYS", "three", VariableScope::Both),
    ];
    variable_put(db, app, &set).await.expect("put");
    let mut bad = set.to_vec();
    bad[0].sealed.bytes = vec![0; 80_000];
    bad[1].name = "NEW".to_owned();
    assert_eq!(variable_put(db, app, &bad).await.expect_err("too large").code(), Code::VariableInvalid);
    bad = vec![variable(&ring, app, "not-a-name", "x", VariableScope::Run)];
    assert_eq!(variable_put(db, app, &bad).await.expect_err("name").code(), Code::VariableInvalid);
    let nowhere = variable_put(db, AppId::generate(), &set).await.expect_err("no such app");
    assert_eq!(nowhere.code(), Code::AppUnknown);
    let names: Vec<String> =
        variable_list(db, app).await.expect("list").into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["ALWAYS", "AT_BUILD", "AT_RUN"]);

    let new = NewRelease {
        app,
        deployment: claimed.deployment,
        image_digest: format!("sha256:{}", "0".repeat(64)),
        spec: json!({}),
    };
    let release = release_create(db, claimed.job, claimed.attempt, &new).await.expect("release");
    let later = [variable(&ring, app, "AT_RUN", "changed", VariableScope::Run)];
    variable_put(db, app, &later).await.expect("change");
    assert!(variable_delete(db, app, "ALWAYS").await.expect("delete"));
    assert!(!variable_delete(db, app, "ALWAYS").await.expect("delete"));
    let kept = release_variables(db, release).await.expect("list");
    let values: Vec<(String, String)> = kept
        .iter()
        .map(|one| {
            let value = ring.open(&Associated::variable(app, &one.name), &one.sealed).expect("opens");
            (one.name.clone(), value.expose_secret().to_owned())
        })
        .collect();
    assert_eq!(values, [("ALWAYS".into(), "three".into()), ("AT_RUN".into(), "one".into())]);
    // Their seal may change, what they are may not.
    let renamed = sqlx::query("UPDATE release_variables SET name = 'OTHER'").execute(&rig.pool).await;
    assert_eq!(refused_by(renamed), "release_variables_immutable");
    let fates = deployment_fates(db, &[claimed.deployment]).await.expect("fates");
    assert!(fates[0].released);
    claimed.end(&rig).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_gets_its_own_credential_before_its_owners_and_nobody_elses() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let (owner, stranger) = (user(&rig, "owner").await, user(&rig, "stranger").await);
    let (shop, blog) = (app(&rig, owner, "shop", &[]).await, app(&rig, owner, "blog", &[]).await);
    let ring = Keyring::parse(&key("main")).expect("ring");
    let new = |owner: UserId, app: Option<AppId>, kind, host: &str| {
        let id = CredentialId::generate();
        let sealed = ring.seal(&Associated::credential(id.as_uuid()), &SecretString::from("value"));
        Credential { id, owner, app, kind, host: host.to_owned(), username: None, sealed }
    };
    let host = "git.example:8443";
    let of_owner = new(owner, None, CredentialKind::GitToken, host);
    let of_shop = new(owner, Some(shop), CredentialKind::GitToken, host);
    let of_stranger = new(stranger, None, CredentialKind::DeployKey, host);
    let registry = new(owner, None, CredentialKind::Registry, host);
    for credential in [&of_owner, &of_shop, &of_stranger, &registry] {
        credential_put(db, credential).await.expect("put");
    }
    let find = async |app, purpose, host: &str| {
        credential_find(db, app, purpose, host).await.expect("find").map(|found| found.id)
    };
    assert_eq!(find(shop, CredentialUse::GitHttp, host).await, Some(of_shop.id));
    assert_eq!(find(blog, CredentialUse::GitHttp, host).await, Some(of_owner.id));
    assert_eq!(find(blog, CredentialUse::Registry, host).await, Some(registry.id));
    assert_eq!(find(shop, CredentialUse::GitHttp, "git.example").await, None);
    let newer = new(owner, Some(shop), CredentialKind::GitToken, host);
    credential_put(db, &newer).await.expect("replace");
    assert_eq!(find(shop, CredentialUse::GitHttp, host).await, Some(newer.id));
    assert!(!credential_delete(db, stranger, newer.id).await.expect("not theirs"));
    assert!(credential_delete(db, owner, newer.id).await.expect("delete"));
    assert_eq!(find(shop, CredentialUse::GitHttp, host).await, Some(of_owner.id));
    let bad = new(owner, None, CredentialKind::GitToken, "Git.Example/path");
    assert_eq!(credential_put(db, &bad).await.expect_err("host").code(), Code::FieldTooLong);
    let nowhere = new(owner, Some(AppId::generate()), CredentialKind::GitToken, host);
    assert_eq!(credential_put(db, &nowhere).await.expect_err("app").code(), Code::AppUnknown);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_takes_over_every_value_and_a_dry_run_changes_none() {
    let rig = Rig::start().await;
    let claimed = Claimed::start(&rig).await;
    let (db, app) = (&rig.fleet.db, claimed.app);
    let (old, new) = (key("old"), key("new"));
    let before = Keyring::parse(&old).expect("ring");
    let both = Keyring::parse(&format!("{new},{old}")).expect("ring");
    let set: Vec<Variable> = (0..250)
        .map(|n| variable(&before, app, &format!("NAME_{n}"), &n.to_string(), VariableScope::Run))
        .collect();
    variable_put(db, app, &set).await.expect("put");
    let owner = app_plan(db, claimed.deployment).await.expect("read").expect("plan").app.owner;
    let id = CredentialId::generate();
    let credential = Credential {
        id,
        owner,
        app: None,
        kind: CredentialKind::GitToken,
        host: "git.example".to_owned(),
        username: None,
        sealed: before.seal(&Associated::credential(id.as_uuid()), &SecretString::from("token")),
    };
    credential_put(db, &credential).await.expect("put");
    let host = rig.targets(1).await.remove(0);
    let bundle = before.seal(&Associated::target(&host), &SecretString::from("tls"));
    target_connection_put(db, &host, Some("tcp://host-0:2376"), Some(&bundle)).await.expect("put");
    let release = NewRelease {
        app,
        deployment: claimed.deployment,
        image_digest: format!("sha256:{}", "0".repeat(64)),
        spec: json!({}),
    };
    release_create(db, claimed.job, claimed.attempt, &release).await.expect("release");
    let expected = [
        (SealedTable::AppVariables, 250),
        (SealedTable::ReleaseVariables, 250),
        (SealedTable::Credentials, 1),
        (SealedTable::Targets, 1),
    ];

    let plan = rotate(db, &both, true).await.expect("dry run");
    assert_eq!((plan.moved.as_slice(), plan.complete()), (expected.as_slice(), true));
    let left = sealed_list(db, SealedTable::AppVariables, "new", None, 1000).await.expect("list");
    assert_eq!(left.len(), 250);
    // One that no key opens is named and left as it is.
    let broken = Sealed { key_id: KeyId::parse("old").expect("id"), bytes: vec![1; 100] };
    assert!(sealed_replace(db, SealedTable::AppVariables, &left[0], &broken).await.expect("break"));
    assert!(!sealed_replace(db, SealedTable::AppVariables, &left[0], &broken).await.expect("too late"));
    let done = rotate(db, &both, false).await.expect("rotate");
    assert_eq!((done.stuck, done.complete()), (1, false));
    assert!(done.stuck_named[0].0.contains("NAME_"), "{done:?}");
    assert_eq!(done.moved[0], (SealedTable::AppVariables, 249));
    let after = Keyring::parse(&new).expect("ring");
    for one in variable_list(db, app).await.expect("list") {
        let opened = after.open(&Associated::variable(app, &one.name), &one.sealed);
        assert_eq!(opened.is_ok(), one.sealed.key_id.as_str() == "new", "{}", one.name);
    }
    let connection = target_connection(db, &host).await.expect("read").expect("there");
    let opened = after.open(&Associated::target(&host), &connection.sealed.expect("sealed")).expect("opens");
    assert_eq!((connection.address.as_deref(), opened.expose_secret()), (Some("tcp://host-0:2376"), "tls"));
    let again = rotate(db, &both, false).await.expect("again");
    assert_eq!(again.moved.iter().map(|(_, count)| count).sum::<u64>(), 0);
    claimed.end(&rig).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_and_its_scans_are_replaced_by_a_repeated_step_and_fenced() {
    let rig = Rig::start().await;
    let claimed = Claimed::start(&rig).await;
    let (db, job, attempt) = (&rig.fleet.db, claimed.job, claimed.attempt);
    let mut build = Build {
        builder: "classic".to_owned(),
        image_id: format!("sha256:{}", "1".repeat(64)),
        digest: None,
        size_bytes: 5,
        layers: 2,
        duration_ms: 3,
        detection: json!({ "language": "go" }),
        dockerfile: "FROM scratch".to_owned(),
        lint: json!([]),
        warnings: json!(["w"]),
    };
    let mut scan = Scan {
        kind: ScanKind::Image,
        outcome: ScanOutcome::Refused,
        code: Some(Code::SecurityGate.to_string()),
        summary: "s".repeat(5000),
        report: Some(json!({ "findings": [] })),
        verdict: json!({}),
        sbom: Some(json!({ "bomFormat": "CycloneDX" })),
        duration_ms: 1,
    };
    for other in claimed.others() {
        lost(build_write(db, job, other, &build).await);
        lost(scan_write(db, job, other, &scan).await);
    }
    assert!(build_get(db, claimed.deployment).await.expect("read").is_none());
    build_write(db, job, attempt, &build).await.expect("write");
    build.size_bytes = 6;
    build_write(db, job, attempt, &build).await.expect("again");
    assert_eq!(build_get(db, claimed.deployment).await.expect("read"), Some(build));
    scan_write(db, job, attempt, &scan).await.expect("write");
    scan.outcome = ScanOutcome::Passed;
    scan.code = None;
    scan_write(db, job, attempt, &scan).await.expect("again");
    let source = Scan { kind: ScanKind::Source, report: None, sbom: None, ..scan.clone() };
    scan_write(db, job, attempt, &source).await.expect("write");
    scan.summary.truncate(4000);
    let list = scan_list(db, claimed.deployment).await.expect("list");
    assert_eq!(list.iter().map(|one| one.kind).collect::<Vec<_>>(), [ScanKind::Source, ScanKind::Image]);
    assert_eq!(list[1], scan);
    assert_eq!(log_last(db, claimed.deployment).await.expect("last"), 0);
    let line = LogLine { seq: 7, at: Clock::system().now(), level: "info".to_owned(), line: "x".to_owned() };
    log_append(db, job, attempt, &[line]).await.expect("append");
    assert_eq!(log_last(db, claimed.deployment).await.expect("last"), 7);
    claimed.end(&rig).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_keeps_its_policy_and_what_it_lives_with() {
    let rig = Rig::start().await;
    let db = &rig.fleet.db;
    let mode = async |name: &str| {
        let name = EnvironmentName::parse(name).expect("name");
        scan_policy_get(db, &name).await.expect("read").map(|policy| policy["mode"].clone())
    };
    assert_eq!(mode("production").await, Some(json!("required")));
    assert_eq!(mode("staging").await, Some(json!("warn")));
    assert_eq!(mode("nowhere").await, None);
    let nowhere = EnvironmentName::parse("nowhere").expect("name");
    scan_policy_put(db, &production(), &json!({ "mode": "off" })).await.expect("put");
    assert_eq!(mode("production").await, Some(json!("off")));
    let refused = scan_policy_put(db, &nowhere, &json!({})).await.expect_err("no such environment");
    assert_eq!(refused.code(), Code::EnvironmentUnknown);

    let who = user(&rig, "owner").await;
    let allowance = |finding: &str, package: Option<&str>, reason: &str| Allowance {
        id: AllowanceId::generate(),
        finding: finding.to_owned(),
        package: package.map(str::to_owned),
        reason: reason.to_owned(),
        // The database keeps microseconds.
        expires_at: "2030-01-01T00:00:00Z".parse().expect("time"),
    };
    let first = allowance("CVE-2099-0001", Some("flask"), "not reachable");
    allowance_put(db, &production(), Some(who), &first).await.expect("put");
    let second = allowance("CVE-2099-0001", Some("flask"), "still not reachable");
    allowance_put(db, &production(), Some(who), &second).await.expect("replace");
    let everywhere = allowance("CVE-2099-0001", None, "r");
    allowance_put(db, &production(), None, &everywhere).await.expect("put");
    let list = allowance_list(db, &production()).await.expect("list");
    assert_eq!(list, [second.clone(), everywhere]);
    for bad in [allowance("CVE *", None, "r"), allowance("CVE-1", None, "")] {
        let refused = allowance_put(db, &production(), None, &bad).await.expect_err("malformed");
        assert_eq!(refused.code(), Code::ScanPolicyInvalid);
    }
    let refused = allowance_put(db, &nowhere, None, &first).await.expect_err("no such environment");
    assert_eq!(refused.code(), Code::EnvironmentUnknown);
    assert!(!allowance_delete(db, &nowhere, second.id).await.expect("delete"));
    assert!(allowance_delete(db, &production(), second.id).await.expect("delete"));
    assert_eq!(allowance_list(db, &production()).await.expect("list").len(), 1);
    rig.finish().await;
}
