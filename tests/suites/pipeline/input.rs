//! Bad input, each as a real deployment through a real worker: a stable code, a sentence that says what to do, a page about
//! it, a log that ends with it, and nothing left behind.

mod limits;
mod remotes;
mod start;

use deploymind_shared::db::deployments::Created;
use deploymind_shared::db::variables::{Variable, variable_put};
use deploymind_shared::domain::app::{AppSettings, VariableScope};
use deploymind_shared::secret::{Associated, KeyId, Keyring};
use deploymind_tests::delivery::{Delivery, Ended};
use deploymind_tests::git::Entry;
use secrecy::SecretString;

use crate::common::{SOON, small};

/// A deployment under way, and how it must end.
struct Case {
    name: &'static str,
    created: Created,
    code: &'static str,
    /// Words of the sentence: what it is about and what to do.
    says: &'static [&'static str],
}

impl Case {
    async fn assert(&self, delivery: &Delivery) {
        let ended = delivery.ended(&self.created, SOON).await;
        assert_refused(self.name, &ended, self.code, self.says);
    }
}

fn assert_refused(name: &str, ended: &Ended, code: &str, says: &[&str]) {
    let reason = ended.deployment.reason.as_deref().unwrap_or_default();
    println!("{name}: {}: {reason}", ended.code());
    assert_eq!((ended.status(), ended.code()), ("FAILED", code), "{name}: {reason}\n{}", ended.text());
    for word in says {
        assert!(reason.contains(word), "{name}: no {word:?} in: {reason}");
    }
    let last = ended.log.last().expect("a log");
    assert!(
        last.level == "error" && last.line.starts_with(&format!("{code}: ")),
        "{name}: the log ends with {}: {}",
        last.level,
        last.line
    );
    let page = format!("{}/../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
    assert!(std::fs::exists(&page).expect("a look at docs/errors"), "{name}: no page {page}");
}

fn dockerfile(text: impl AsRef<[u8]>) -> Vec<Entry> {
    vec![Entry::file("Dockerfile", text), Entry::file("hello", "hello\n")]
}

/// Repositories that are refused before anything is built, with what refuses them.
fn trees() -> Vec<(&'static str, Vec<Entry>, &'static str, &'static [&'static str])> {
    let mut long = String::from("FROM debian:bookworm-slim\n");
    while long.len() < 1 << 20 {
        long.push_str("# a word on nothing in particular, again and again and again\n");
    }
    let binary: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let bookworm = "FROM debian:bookworm-slim\n";
    vec![
        ("empty", vec![], "DM-4105", &["no commit", "push"]),
        (
            "link-out",
            [small(), vec![Entry::link("secrets", "../../../etc/shadow")]].concat(),
            "DM-4109",
            &["secrets"],
        ),
        ("link-absolute", [small(), vec![Entry::link("conf", "/etc/passwd")]].concat(), "DM-4109", &["conf"]),
        ("dockerfile-link-out", vec![Entry::link("Dockerfile", "/etc/passwd")], "DM-4109", &["Dockerfile"]),
        ("no-language", vec![Entry::file("notes.txt", "nothing\n")], "DM-4201", &["Dockerfile"]),
        (
            "no-start",
            vec![
                Entry::file("package.json", "{\"name\": \"x\", \"version\": \"1.0.0\"}"),
                Entry::file("lib/util.js", "1\n"),
            ],
            "DM-4202",
            &["start"],
        ),
        ("broken-manifest", vec![Entry::file("package.json", "{\"name\": ")], "DM-4203", &["package.json"]),
        ("no-from", dockerfile("RUN echo no stage\n"), "DM-4204", &["FROM"]),
        ("no-file-but-comment", dockerfile("# FROM debian:bookworm-slim\n"), "DM-4204", &["FROM"]),
        // The word stands at the begin of a line, and is no instruction.
        ("from-in-a-run", dockerfile("RUN echo \\\nFROM debian\n"), "DM-4204", &["FROM"]),
        ("from-in-an-arg", dockerfile("ARG A=1 \\\n FROM b\n"), "DM-4204", &["FROM"]),
        ("dockerfile-empty", dockerfile(""), "DM-4204", &["FROM"]),
        ("dockerfile-binary", dockerfile(binary), "DM-4204", &["text"]),
        ("dockerfile-nul", dockerfile("FROM debian:bookworm-slim\0\n"), "DM-4204", &["text"]),
        ("dockerfile-1-mb", dockerfile(long), "DM-4204", &["Dockerfile"]),
        (
            "dockerfile-folder",
            vec![Entry::file("Dockerfile/inner", "FROM debian\n")],
            "DM-4201",
            &["Dockerfile"],
        ),
        ("dockerfile-nonsense", dockerfile(format!("{bookworm}WHATEVER this\n")), "DM-4204", &["WHATEVER"]),
        (
            "exit-7",
            dockerfile(format!("{bookworm}RUN echo the reason; exit 7\n")),
            "DM-4301",
            &["exit 7", "exit code 7", "the reason"],
        ),
        ("copy-missing", dockerfile(format!("{bookworm}COPY nowhere /\n")), "DM-4301", &["nowhere"]),
        (
            "no-base",
            dockerfile("FROM 127.0.0.1:1/nobody/nothing:1\n"),
            "DM-4305",
            &["127.0.0.1:1/nobody/nothing:1"],
        ),
        ("no-local-base", dockerfile("FROM scratchy:never-made\n"), "DM-4305", &["scratchy:never-made"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_repository_ends_with_its_code_and_leaves_nothing() {
    let delivery = Delivery::start().await;
    let mut cases = Vec::new();
    for (name, files, code, says) in trees() {
        let (app, _) = delivery.app(name, &files).await;
        cases.push(Case { name, created: delivery.deploy(app).await, code, says });
    }
    cases.extend(refs(&delivery).await);
    cases.extend(settings(&delivery).await);
    let unopened = sealed_with_an_unknown_key(&delivery).await;
    let name = unopened.name;
    cases.push(unopened);

    // Deleted while its deployment is in line: nothing is left that anybody could be told about.
    let (ghost, _) = delivery.app("ghost", &small()).await;
    delivery.deploy(ghost).await;
    let gone =
        sqlx::query("DELETE FROM apps WHERE id = $1").bind(ghost.as_uuid()).execute(&delivery.rig.pool).await;
    assert_eq!(gone.expect("delete").rows_affected(), 1);

    let good = odd_but_good(&delivery).await;
    let (mut worker, _scheduler) = delivery.nodes().await;
    for case in &cases {
        case.assert(&delivery).await;
    }
    for (created, says) in good {
        let ended = delivery.ended(&created, SOON).await;
        ended.assert_released();
        assert!(ended.text().contains(says), "no {says:?} in\n{}", ended.text());
    }
    let asked = delivery.git.seen().iter().filter(|seen| seen.path.contains(name)).count();
    assert_eq!(asked, 0, "a deployment without its variables has fetched something");
    assert!(delivery.git.seen().iter().all(|seen| !seen.path.contains("ghost")));
    assert_eq!(worker.process.exit(), None);
    delivery.assert_clean(SOON).await;
    delivery.finish().await;
}

/// What does not name a commit.
async fn refs(delivery: &Delivery) -> Vec<Case> {
    let missing = delivery.app_at("missing", &delivery.git.url("missing")).await;
    let (branchless, repository) = delivery.app("branchless", &small()).await;
    repository.commit("other", "kept", &small());
    repository.delete_branch("main");
    let (forced, repository) = delivery.app("forced", &small()).await;
    let old = repository.tip("main").expect("a commit");
    repository.replace("main", "pushed over it", &[Entry::file("other", "x")]);
    let (never, _) = delivery.app("never-pushed", &small()).await;
    let unknown = Some("0123456789abcdef0123456789abcdef01234567".to_owned());
    vec![
        Case {
            name: "repository that does not exist",
            created: delivery.deploy(missing).await,
            code: "DM-4102",
            says: &["check the address"],
        },
        Case {
            name: "branch deleted",
            created: delivery.deploy(branchless).await,
            code: "DM-4106",
            says: &["main", "deleted"],
        },
        Case {
            name: "commit forced away",
            created: delivery.deploy_commit(forced, Some(old)).await,
            code: "DM-4107",
            says: &["forced away"],
        },
        Case {
            name: "commit never pushed",
            created: delivery.deploy_commit(never, unknown).await,
            code: "DM-4107",
            says: &["never pushed"],
        },
    ]
}

/// Settings that cannot be obeyed.
async fn settings(delivery: &Delivery) -> Vec<Case> {
    let (rootless, _) = delivery.app("rootless", &small()).await;
    delivery
        .settings(rootless, &AppSettings { root: Some("services/none".to_owned()), ..AppSettings::default() })
        .await;
    let (elsewhere, _) = delivery.app("dockerfile-elsewhere", &small()).await;
    let wanted = AppSettings { dockerfile: Some("deploy/Dockerfile".to_owned()), ..AppSettings::default() };
    delivery.settings(elsewhere, &wanted).await;
    let (folder, _) =
        delivery.app("dockerfile-wanted-folder", &[Entry::file("Dockerfile/inner", "FROM debian\n")]).await;
    let wanted = AppSettings { dockerfile: Some("Dockerfile".to_owned()), ..AppSettings::default() };
    delivery.settings(folder, &wanted).await;
    let mut cases = vec![
        Case {
            name: "dockerfile that is a folder",
            created: delivery.deploy(folder).await,
            code: "DM-4204",
            says: &["is not a file"],
        },
        Case {
            name: "root folder missing",
            created: delivery.deploy(rootless).await,
            code: "DM-4112",
            says: &["services/none"],
        },
        Case {
            name: "dockerfile not where the settings say",
            created: delivery.deploy(elsewhere).await,
            code: "DM-4204",
            says: &["deploy/Dockerfile", "dockerfile"],
        },
    ];
    for (name, spoiled, says) in [
        ("settings-wrong", r#"{"port": 0, "root": "../up"}"#, &["port", "root"] as &[&str]),
        ("settings-unknown", r#"{"prot": 80}"#, &["prot"]),
        ("settings-type", r#"{"port": "eighty"}"#, &["settings"]),
    ] {
        let (app, _) = delivery.app(name, &small()).await;
        let written = sqlx::query("UPDATE apps SET settings = $2::jsonb WHERE id = $1")
            .bind(app.as_uuid())
            .bind(spoiled)
            .execute(&delivery.rig.pool)
            .await;
        assert_eq!(written.expect("spoil settings").rows_affected(), 1);
        cases.push(Case { name, created: delivery.deploy(app).await, code: "DM-4701", says });
    }
    cases
}

async fn sealed_with_an_unknown_key(delivery: &Delivery) -> Case {
    let name = "unopened";
    let (app, _) = delivery.app(name, &small()).await;
    let other = KeyId::parse("elsewhere").expect("a key id");
    let stranger = Keyring::parse(&Keyring::generate_line(&other)).expect("a key");
    let sealed = stranger.seal(&Associated::variable(app, "TOKEN"), &SecretString::from("never-opened"));
    let variable = Variable { name: "TOKEN".to_owned(), scope: VariableScope::Run, secret: true, sealed };
    variable_put(&delivery.rig.fleet.db, app, &[variable]).await.expect("put");
    Case { name, created: delivery.deploy(app).await, code: "DM-4601", says: &["TOKEN", "elsewhere"] }
}

/// What looks bad and is not: each is deployed, and its log has this to say.
async fn odd_but_good(delivery: &Delivery) -> Vec<(Created, &'static str)> {
    let (names, _) =
        delivery.app("odd-names", &[small(), vec![Entry::file(b"caf\xe9.txt", "bytes\n")]].concat()).await;
    let noise =
        "FROM debian:bookworm-slim\nRUN printf 'bad \\377\\376 byte \\033[31mred\\033[0m\\n'\nUSER 1000\n";
    let (output, _) = delivery.app("odd-output", &dockerfile(noise)).await;
    vec![
        (delivery.deploy(names).await, "DM-4113"),
        (delivery.deploy(output).await, "bad \u{fffd}\u{fffd} byte red"),
    ]
}
