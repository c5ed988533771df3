use super::*;

const EXPRESS: (&str, &str) =
    ("package.json", r#"{"dependencies":{"express":"4"},"scripts":{"start":"node server.js"}}"#);
const FLASK: (&str, &str) = ("requirements.txt", "flask\n");
const FLASK_APP: (&str, &str) = ("app.py", "from flask import Flask\napp = Flask('x')\n");

#[test]
fn a_dockerfile_stands_beside_the_language_and_names_the_port() {
    let dockerfile = "ARG PORT=7001\nFROM a AS b\nEXPOSE 1\nFROM c\nEXPOSE ${PORT}/tcp\n";
    let found = detected(&[("Dockerfile", dockerfile), EXPRESS, (".dockerignore", "")]);
    assert_eq!(found.dockerfile.as_deref(), Some("Dockerfile"));
    assert_eq!(found.language, Some(Language::Node));
    assert_eq!(found.port, Some(7001));
    assert!(found.has_dockerignore);
    assert_eq!(found.reasons[0].file, "Dockerfile");
}

#[test]
fn a_dockerfile_needs_no_language() {
    let found = detected(&[("Dockerfile", "FROM x\n")]);
    assert_eq!((found.language, found.port, found.start), (None, None, None));
    let found = detected(&[("Dockerfile", "FROM x\n"), ("package.json", "{ broken")]);
    assert_eq!(found.language, None);
    assert!(found.reasons.iter().any(|it| it.says.contains("package.json, line 1")), "{:?}", found.reasons);
    // A language without a way to start it is no reason to stop either.
    assert!(detected(&[("Dockerfile", "FROM x\n"), ("package.json", "{}")]).start.is_none());
}

#[test]
fn a_named_dockerfile_must_be_there_and_be_one() {
    let named = |path: &str| DetectSettings { dockerfile: Some(path.into()), ..DetectSettings::default() };
    let files: &[(&str, &str)] = &[
        ("docker/api.Dockerfile", "FROM x\nEXPOSE 99\n"),
        ("docker/api.Dockerfile.dockerignore", ""),
        ("text", "hello"),
    ];
    let found = with(files, named("./docker/api.Dockerfile")).expect("found");
    assert_eq!((found.dockerfile.as_deref(), found.port), (Some("docker/api.Dockerfile"), Some(99)));
    assert!(found.has_dockerignore);
    for path in ["missing", "docker", "../Dockerfile", "/etc/hostname", "text", "a\0b"] {
        let error = with(files, named(path)).expect_err(path);
        assert_eq!(error.code(), Code::DockerfileInvalid, "{path}");
    }
}

#[test]
fn settings_win() {
    let settings = DetectSettings {
        port: Some(9999),
        start: Some(vec!["node".into(), "other.js".into()]),
        ..DetectSettings::default()
    };
    let found = with(
        &[EXPRESS, ("Dockerfile", "FROM x\nEXPOSE 1\n"), ("Procfile", "web: node p.js\n")],
        settings.clone(),
    )
    .expect("found");
    assert_eq!(found.port, Some(9999));
    assert_eq!(found.start, settings.start);
    let found = with(&[FLASK, FLASK_APP], DetectSettings { port: Some(9999), ..DetectSettings::default() })
        .expect("found");
    assert!(
        found.start.expect("start").contains(&"9999".to_owned()),
        "the command listens where the settings say"
    );
}

#[test]
fn the_procfile_starts() {
    let found = detected(&[EXPRESS, ("Procfile", "worker: x\r\nweb: node web.js --quiet\r\n")]);
    assert_eq!(found.start.expect("start"), ["node", "web.js", "--quiet"]);
    let found = detected(&[EXPRESS, ("Procfile", "web: node web.js --port $PORT\n")]);
    assert_eq!(found.start.expect("start"), ["sh", "-c", "exec node web.js --port $PORT"]);
}

#[test]
fn between_languages_the_stronger_sign_wins() {
    let language = |files: &[(&str, &str)]| detected(files).language.expect("a language").as_str();
    let bare = ("package.json", r#"{"devDependencies":{"tailwindcss":"3"}}"#);
    let assets = ("package.json", r#"{"devDependencies":{"vite":"5"},"scripts":{"build":"vite build"}}"#);
    assert_eq!(language(&[bare, FLASK, FLASK_APP]), "python");
    assert_eq!(language(&[assets, FLASK, FLASK_APP]), "python");
    assert_eq!(language(&[EXPRESS, ("requirements.txt", "requests\n")]), "node");
    assert_eq!(language(&[EXPRESS, FLASK, FLASK_APP]), "python");
    assert_eq!(language(&[EXPRESS, FLASK, FLASK_APP, ("Procfile", "web: npm start\n")]), "node");
    assert_eq!(language(&[bare, ("index.html", "")]), "static");
    assert_eq!(language(&[assets, ("index.html", "")]), "node");
    let both = detected(&[bare, FLASK, FLASK_APP]);
    assert!(
        both.reasons.iter().any(|it| it.file == "package.json" && it.says.contains("stronger")),
        "{:?}",
        both.reasons
    );
}

#[test]
fn several_lock_files() {
    let found = detected(&[EXPRESS, ("yarn.lock", ""), ("package-lock.json", "{}")]);
    assert_eq!(found.package_manager, Some(PackageManager::Yarn));
    assert!(found.reasons.iter().any(|it| it.file == "package-lock.json"));
}

#[test]
fn a_monorepo_says_which_root_to_set() {
    let files: &[(&str, &str)] = &[
        ("README.md", ""),
        ("services/api/package.json", EXPRESS.1),
        ("web/index.html", ""),
        ("web/sub/go.mod", ""),
    ];
    let error = refused(files);
    assert_eq!(error.code(), Code::LanguageUnknown);
    assert!(error.sentence().contains("set `root` of the app to \"web\" or \"services/api\""), "{error}");
    assert!(error.sentence().contains("package.json"), "{error}");
    let rooted =
        |root: &str| with(files, DetectSettings { root: Some(root.into()), ..DetectSettings::default() });
    assert_eq!(rooted("services/api/").expect("found").language, Some(Language::Node));
    assert_eq!(rooted("./web/../web").expect("found").language, Some(Language::Static));
    for root in ["/etc", "..", "../..", "missing", "README.md", "a\0b"] {
        assert_eq!(rooted(root).expect_err(root).code(), Code::RootMissing, "{root:?}");
    }
}

#[test]
fn nothing_to_start_says_what_to_add() {
    for (files, hint) in [
        (&[("package.json", "{}")][..], "`start` script"),
        (
            &[
                ("requirements.txt", "fastapi\n"),
                ("main.py", "from fastapi import FastAPI\napp = FastAPI()\n"),
            ][..],
            "uvicorn",
        ),
        (&[("go.mod", "module m\n"), ("lib.go", "package m\n")][..], "package main"),
        (&[("Cargo.toml", "[package]\nname='m'\n"), ("src/lib.rs", "")][..], "binary"),
        (&[("pom.xml", "<project/>")][..], "Spring Boot"),
        (&[("Gemfile", "")][..], "config.ru"),
        (&[("composer.json", "{}")][..], "index.php"),
        (&[("x.csproj", "<Project Sdk=\"Microsoft.NET.Sdk\"/>")][..], "Sdk.Web"),
    ] {
        let error = refused(files);
        assert_eq!(error.code(), Code::EntryPointUnknown, "{files:?}");
        assert!(error.sentence().contains(hint), "{error}");
        let settings = DetectSettings { start: Some(vec!["./run".into()]), ..DetectSettings::default() };
        assert_eq!(with(files, settings).expect("started by its settings").start.expect("start"), ["./run"]);
    }
}

#[test]
fn of_several_programs_the_settings_choose() {
    let files: &[(&str, &str)] = &[
        ("go.mod", "module m\n"),
        ("cmd/one/main.go", "package main\nfunc main() {}\n"),
        ("cmd/two/main.go", "package main\nfunc main() {}\n"),
    ];
    assert!(refused(files).sentence().contains("./cmd/one, ./cmd/two"));
    let settings = DetectSettings { start: Some(vec!["/bin/two".into()]), ..DetectSettings::default() };
    assert_eq!(with(files, settings).expect("found").entry_point.as_deref(), Some("./cmd/two"));
}
