//! Keys: how they are made, when a worker refuses them, and how sealed values move to a new one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use deploymind_shared::config::EXIT_CONFIG;
use deploymind_shared::db::apps::{NewApp, app_create};
use deploymind_shared::db::users::user_create;
use deploymind_shared::db::variables::{Variable, variable_list, variable_put};
use deploymind_shared::domain::app::VariableScope;
use deploymind_shared::ids::AppId;
use deploymind_shared::secret::{Associated, KeyId, Keyring, Sealed};
use deploymind_tests::free_port;
use deploymind_tests::process::{Proc, ProcBuilder, workspace_binary};
use deploymind_tests::redis::base_redis_url;
use deploymind_tests::rig::{Rig, production};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;

use super::{SOON, ended};

const FILE: &str = "DEPLOYMIND_KEYS_FILE";
const KEYS: &str = "DEPLOYMIND_KEYS";

/// The program with no key at all.
fn bare() -> ProcBuilder {
    Proc::builder("deploymind", workspace_binary("deploymind"))
}

/// What it printed to stdout and to stderr.
async fn generate(id: &str) -> (Option<i32>, String, String) {
    let mut process = bare().args(["keys", "generate", id]).start();
    let status = process.wait_exit(SOON).await;
    (status.code(), process.stdout(), process.stderr())
}

async fn key(id: &str) -> String {
    generate(id).await.1.trim().to_owned()
}

fn write(folder: &TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("write");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
    path
}

/// Everything right but, perhaps, the keys; nothing that it would have to wait for.
fn worker(folder: &TempDir) -> ProcBuilder {
    bare()
        .args(["worker", "--environment", "production"])
        .env("DEPLOYMIND_DATABASE_URL", format!("postgres://postgres@127.0.0.1:{}/x", free_port()))
        .env("DEPLOYMIND_REDIS_URL", base_redis_url())
        .env("DEPLOYMIND_ADMIN_ADDR", format!("127.0.0.1:{}", free_port()))
        .env("DEPLOYMIND_WORK_DIR", folder.path().join("work"))
}

#[tokio::test]
async fn a_key_is_printed_alone_on_stdout_and_is_another_each_time() {
    let (code, line, advice) = generate("2026-01").await;
    assert_eq!(code, Some(0), "{advice}");
    assert_eq!(line.lines().count(), 1, "{line}");
    let ring = Keyring::parse(&line).expect("a key");
    assert_eq!(ring.current().as_str(), "2026-01");
    assert!(advice.contains(FILE) && advice.contains(KEYS) && advice.contains("600"), "{advice}");
    let encoded = line.trim().split_once(':').expect("id:base64").1;
    assert!(!advice.contains(encoded), "the key is on stderr, too");
    assert_ne!(generate("2026-01").await.1, line);
    for wrong in ["", "Prod", "a b", "a:b", &"x".repeat(33)] {
        let (code, line, said) = generate(wrong).await;
        assert_eq!((code, line.as_str()), (Some(i32::from(EXIT_CONFIG)), ""), "{said}");
        assert!(said.contains("DM-4602"), "{said}");
    }
}

#[tokio::test]
async fn a_worker_does_not_start_with_keys_it_cannot_use_and_shows_none_of_them() {
    let folder = tempfile::tempdir().expect("folder");
    let line = key("main").await;
    let secret = line.split_once(':').expect("id:base64").1;
    let short = "bWFpbjpzaG9ydA==";
    let good = write(&folder, "good", &line, 0o600);
    let open = write(&folder, "open", &line, 0o644);
    let garbage = write(&folder, "garbage", &format!("main={secret}\n"), 0o600);
    let twice = write(&folder, "twice", &format!("{line}\nother:{secret}\n"), 0o600);
    let folder_path = folder.path().to_owned();
    let file = |path: &Path| worker(&folder).env(FILE, path);
    let cases: [(&str, ProcBuilder, &str, &str); 9] = [
        ("others can read it", file(&open), "DM-4602", "chmod 600"),
        ("no key", file(&garbage), "DM-4602", "id:base64"),
        ("one key twice", file(&twice), "DM-4602", "another id"),
        ("no file", file(&folder.path().join("gone")), "DM-4602", "gone"),
        ("a folder", file(&folder_path), "DM-4602", "not a regular file"),
        ("an empty file", file(&write(&folder, "empty", "# none yet\n", 0o600)), "DM-4602", "no key"),
        ("a short key", worker(&folder).env(KEYS, format!("main:{short}")), "DM-4602", "32 bytes"),
        ("both", file(&good).env(KEYS, &line), "DM-1001", "is set together with"),
        ("neither", worker(&folder), "DM-1001", "is not set, nor is"),
    ];
    for (what, process, page, word) in cases {
        let (code, log) = ended(process).await;
        assert_eq!(code, Some(i32::from(EXIT_CONFIG)), "{what}: {log}");
        assert!(log.contains(&format!("docs/errors/{page}.md")) && log.contains(word), "{what}: {log}");
        assert!(!log.contains(secret) && !log.contains(short), "{what}: a key is shown:\n{log}");
    }
    // And neither does the program show the keys that it can use.
    for process in [file(&good), worker(&folder).env(KEYS, &line)] {
        let (code, log) = ended(process.arg("--print-config")).await;
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains(secret), "{log}");
    }
}

/// An app with variables sealed by `ring`.
async fn app(rig: &Rig, ring: &Keyring, names: &[&str]) -> AppId {
    let db = &rig.fleet.db;
    let new = NewApp {
        owner: user_create(db, "owner", None).await.expect("create user").id,
        name: "shop".to_owned(),
        repository: "https://git.example/shop.git".to_owned(),
        branch: "main".to_owned(),
        environment: production(),
        targets: Vec::new(),
    };
    let app = app_create(db, &new).await.expect("create app");
    for name in names {
        let sealed =
            ring.seal(&Associated::variable(app, name), &SecretString::from(format!("hunter2-{name}")));
        put(rig, app, name, sealed).await;
    }
    app
}

async fn put(rig: &Rig, app: AppId, name: &str, sealed: Sealed) {
    let variable = Variable { name: name.to_owned(), scope: VariableScope::Run, secret: true, sealed };
    variable_put(&rig.fleet.db, app, &[variable]).await.expect("set variable");
}

/// Of each variable of the app.
async fn key_ids(rig: &Rig, app: AppId) -> Vec<String> {
    let variables = variable_list(&rig.fleet.db, app).await.expect("list");
    variables.iter().map(|variable| variable.sealed.key_id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_move_to_the_first_key_and_those_that_do_not_open_are_named() {
    let rig = Rig::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let (old, new) = (key("old").await, key("new").await);
    let ring = Keyring::parse(&old).expect("a key");
    let app = app(&rig, &ring, &["A_TOKEN", "B_TOKEN", "C_TOKEN"]).await;
    let file = write(&folder, "keys", &format!("{new}\n# until nothing needs it\n{old}\n"), 0o600);
    let rotate = async |file: &Path, arguments: &[&str]| {
        let process = bare()
            .args(["keys", "rotate"])
            .args(arguments)
            .env("DEPLOYMIND_DATABASE_URL", &rig.stores.database)
            .env(FILE, file);
        let (code, log) = ended(process).await;
        for line in [&old, &new] {
            assert!(!log.contains(line.split_once(':').expect("id:base64").1), "{log}");
        }
        assert!(!log.contains("hunter2"), "{log}");
        (code, log)
    };
    let moved = |log: &str, count: u64| {
        log.lines().any(|line| line.starts_with("variables of apps") && line.ends_with(&format!(" {count}")))
    };

    let (code, log) = rotate(&file, &["--dry-run"]).await;
    println!("{log}");
    assert!(code == Some(0) && moved(&log, 3) && log.contains("Nothing was written"), "{log}");
    assert_eq!(key_ids(&rig, app).await, ["old", "old", "old"]);

    // Without the key that sealed them they are stuck, in a dry run as in a real one.
    let without = write(&folder, "without", &new, 0o600);
    for arguments in [&["--dry-run"][..], &[]] {
        let (code, log) = rotate(&without, arguments).await;
        assert!(code == Some(1) && moved(&log, 0), "{log}");
        assert!(log.contains("A_TOKEN") && log.contains("DM-4601") && log.contains("key old"), "{log}");
    }
    assert_eq!(key_ids(&rig, app).await, ["old", "old", "old"]);

    // One that was damaged stays as it is; the others move.
    let damaged = Sealed { key_id: KeyId::parse("old").expect("id"), bytes: vec![1; 105] };
    put(&rig, app, "B_TOKEN", damaged).await;
    let (code, log) = rotate(&file, &[]).await;
    assert!(code == Some(1) && moved(&log, 2) && log.contains("B_TOKEN"), "{log}");
    assert!(log.contains("Keep every key"), "{log}");
    assert_eq!(key_ids(&rig, app).await, ["new", "old", "new"]);

    // Set again, it moves like any other, and the old key may go.
    let sealed = ring.seal(&Associated::variable(app, "B_TOKEN"), &SecretString::from("hunter2-again"));
    put(&rig, app, "B_TOKEN", sealed).await;
    let (code, log) = rotate(&file, &[]).await;
    println!("{log}");
    assert!(code == Some(0) && moved(&log, 1) && log.contains("may be removed: old"), "{log}");
    let (code, log) = rotate(&without, &["--dry-run"]).await;
    assert!(code == Some(0) && moved(&log, 0), "{log}");
    let after = Keyring::parse(&new).expect("a key");
    for (variable, value) in variable_list(&rig.fleet.db, app).await.expect("list").iter().zip([
        "hunter2-A_TOKEN",
        "hunter2-again",
        "hunter2-C_TOKEN",
    ]) {
        let opened = after.open(&Associated::variable(app, &variable.name), &variable.sealed).expect("opens");
        assert_eq!(opened.expose_secret(), value);
    }

    // Another key under the name of the one that sealed: a dry run sees it, although nothing is to be moved.
    let impostor = write(&folder, "impostor", &key("new").await, 0o600);
    let (code, log) = rotate(&impostor, &["--dry-run"]).await;
    assert!(code == Some(1) && log.contains("does not open with key new"), "{log}");
    rig.finish().await;
}
