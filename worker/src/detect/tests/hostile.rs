use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;

use proptest::prelude::*;

use super::*;

const MANIFESTS: &[&str] = &[
    "package.json",
    "requirements.txt",
    "pyproject.toml",
    "Pipfile",
    "manage.py",
    "app.py",
    "go.mod",
    "main.go",
    "pom.xml",
    "build.gradle",
    "Gemfile",
    "Cargo.toml",
    "composer.json",
    "app.csproj",
    "Procfile",
    "Dockerfile",
    ".nvmrc",
    "rust-toolchain.toml",
    ".tool-versions",
    "global.json",
    "src/main/resources/application.yml",
];

#[test]
fn a_broken_manifest_names_file_and_line() {
    for (file, text, place) in [
        ("package.json", "{\n\"a\": 1,\n}", "package.json, line 3"),
        ("package.json", "[]", "package.json, line 1"),
        ("package.json", "", "package.json, line 1"),
        ("pyproject.toml", "[project]\nname = = 1\n", "pyproject.toml, line 2"),
        ("Cargo.toml", "\n[package\n", "Cargo.toml, line 2"),
        ("pom.xml", "<project>\n<a></b></project>", "pom.xml, line 2"),
        ("pom.xml", "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "pom.xml, line 1"),
        ("app.csproj", "no xml", "app.csproj, line 1"),
        ("composer.json", "{", "composer.json, line 1"),
    ] {
        let error = refused(&[(file, text)]);
        assert_eq!(error.code(), Code::ManifestInvalid, "{file} {text:?}");
        assert!(error.sentence().contains(place), "{error}");
    }
}

#[test]
fn not_utf8_and_too_large() {
    let folder = tree(&[]);
    fs::write(folder.path().join("go.mod"), b"module m\n\xff\n").expect("written");
    let error = detect(folder.path(), &DetectSettings::default()).expect_err("refused");
    assert!(error.sentence().contains("go.mod, line 2"), "{error}");
    fs::write(folder.path().join("go.mod"), vec![b' '; 2 << 20]).expect("written");
    let error = detect(folder.path(), &DetectSettings::default()).expect_err("refused");
    assert_eq!(error.code(), Code::ManifestInvalid);
    assert!(error.sentence().contains("larger than 1024 KiB"), "{error}");
}

#[test]
fn windows_text() {
    let mut utf16 = vec![0xff, 0xfe];
    utf16.extend("flask\r\ngunicorn\r\n".encode_utf16().flat_map(u16::to_le_bytes));
    let folder = tree(&[("app.py", "from flask import Flask\r\napp = Flask('x')\r\n")]);
    fs::write(folder.path().join("requirements.txt"), utf16).expect("written");
    let found = detect(folder.path(), &DetectSettings::default()).expect("detected");
    assert_eq!(found.start.expect("start"), ["gunicorn", "--bind", "0.0.0.0:5000", "app:app"]);
    let package = "\u{feff}{\r\n\"scripts\": {\"start\": \"node a.js\"}}\r\n";
    assert_eq!(detected(&[("package.json", package)]).start.expect("start"), ["node", "a.js"]);
}

#[test]
fn nesting_without_end() {
    for (file, text) in [
        ("package.json", "[".repeat(200_000)),
        ("package.json", "{\"a\":".repeat(100_000)),
        ("pyproject.toml", format!("a = {}", "[".repeat(200_000))),
        ("Cargo.toml", format!("[{}a]", "a.".repeat(100_000))),
        ("pom.xml", "<a>".repeat(200_000)),
        ("app.csproj", format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000))),
    ] {
        let error = refused(&[(file, &text)]);
        assert!(matches!(error.code(), Code::ManifestInvalid | Code::EntryPointUnknown), "{file}: {error}");
        assert!(error.sentence().len() < 2000);
    }
}

#[test]
fn links_do_not_lead_out() {
    let outside = tree(&[("package.json", r#"{"main":"a.js"}"#), ("a.js", ""), ("Dockerfile", "FROM x\n")]);
    let folder = tree(&[("real/package.json", r#"{"scripts":{"start":"node b.js"}}"#)]);
    let at = |path: &str| folder.path().join(path);
    symlink(outside.path().join("package.json"), at("package.json")).expect("link");
    symlink(outside.path().join("Dockerfile"), at("Dockerfile")).expect("link");
    symlink(outside.path(), at("out")).expect("link");
    symlink("loop", at("loop")).expect("link");
    let go = |root: Option<&str>| {
        detect(folder.path(), &DetectSettings { root: root.map(str::to_owned), ..DetectSettings::default() })
    };
    let error = go(None).expect_err("both are as good as missing");
    assert_eq!(error.code(), Code::LanguageUnknown);
    assert!(error.sentence().contains("\"real\""), "{error}");
    for root in ["out", "loop", "real/../out"] {
        assert_eq!(go(Some(root)).expect_err(root).code(), Code::RootMissing);
    }
    // A link that stays inside is a file like others.
    fs::remove_file(at("package.json")).expect("removed");
    symlink("real/package.json", at("package.json")).expect("link");
    assert_eq!(go(None).expect("detected").language, Some(Language::Node));
}

#[test]
fn neither_pipes_nor_folders_nor_strange_names_are_read() {
    let folder = tree(&[("index.html", ""), ("go.mod/x", "")]);
    for name in ["package.json", "Dockerfile", "requirements.txt", "x.csproj", "main.go"] {
        let made = Command::new("mkfifo").arg(folder.path().join(name)).status().expect("mkfifo");
        assert!(made.success());
    }
    fs::write(folder.path().join(OsStr::from_bytes(b"\xff\xfe.csproj")), "<").expect("written");
    fs::create_dir(folder.path().join(OsStr::from_bytes(b"\xff"))).expect("made");
    let found = detect(folder.path(), &DetectSettings::default()).expect("detected");
    assert_eq!(found.language, Some(Language::Static));
}

#[test]
fn no_line_break_reaches_a_command() {
    let main = r#"{"main":"a.js\nRUN evil","scripts":{"start":"node a.js\nRUN evil","build":"x"}}"#;
    let found = detect(tree(&[("package.json", main), ("a.js", "")]).path(), &DetectSettings::default());
    if let Ok(found) = found {
        let all = format!("{:?}{:?}{:?}", found.start, found.entry_point, found.reasons);
        assert!(!all.contains("\\n"), "{all}");
    }
    for name in ["a\\nb", "a b", "$(x)", ""] {
        let text = format!("[package]\nname=\"{name}\"\n");
        if let Ok(found) =
            detect(tree(&[("Cargo.toml", &text), ("src/main.rs", "")]).path(), &DetectSettings::default())
        {
            assert!(!found.entry_point.unwrap_or_default().contains('\n'));
        }
    }
}

/// What is cheap to write must not be expensive to read.
#[test]
fn size_costs_no_more_than_its_size() {
    let many = |count: usize, each: fn(usize) -> String| (0..count).map(each).collect::<String>();
    for (file, text) in [
        ("pom.xml", format!("<a {}/>", many(80_000, |it| format!("a{it}='' ")))),
        ("pom.xml", many(60_000, |it| format!("<a xmlns:b{it}='c'>"))),
        ("pom.xml", format!("<project>{}</project>", "<groupId>io.quarkus</groupId>".repeat(34_000))),
        ("pom.xml", format!("<project>{}</project>", "<groupId>a</groupId>".repeat(45_000))),
        (
            "pom.xml",
            format!("{}{}{}", "<a>".repeat(70_000), "<groupId/>".repeat(40_000), "</a>".repeat(70_000)),
        ),
        ("requirements.txt", many(100_000, |it| format!("-r {it}\n"))),
        (
            "Dockerfile",
            format!(
                "FROM a\n{}{}",
                many(30_000, |it| format!("ENV A{it}=b\n")),
                "EXPOSE $B\n".repeat(40_000)
            ),
        ),
        ("Cargo.toml", many(50_000, |it| format!("a{it}.b=1\n"))),
        ("Cargo.toml", many(30_000, |it| format!("[[bin]]\nname='b{it}'\n"))),
        ("package.json", format!("{{{}\"z\":1}}", many(60_000, |it| format!("\"k{it}\":1,")))),
        ("src/main/resources/application.yml", "server:\n  a: b\n".repeat(60_000)),
        ("main.py", "app = ".repeat(20_000)),
        ("Gemfile", "gem 'rails', ".repeat(70_000)),
    ] {
        let folder = tree(&[(file, &text), ("build.gradle", ""), ("requirements.txt", "flask")]);
        fs::write(folder.path().join(file), &text).expect("written");
        let begun = std::time::Instant::now();
        drop(detect(folder.path(), &DetectSettings::default()));
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(5), "{file} {:?}: {took:?}", &text[..40]);
    }
}

#[test]
fn a_port_of_a_database_is_not_the_app_s() {
    let package = ("package.json", r#"{"dependencies":{"express":"4"}}"#);
    let found =
        detected(&[package, ("server.js", "connect({ port: 5432 });\n// listen(4)\napp.listen(3100)")]);
    assert_eq!(found.port, Some(3100));
    let go = ("go.mod", "module m\nrequire github.com/gin-gonic/gin v1\n");
    let main = "package main\nfunc main() {\nredis.Options{Addr: \"localhost:6380\"}\nr.Run(\":8081\")\n}\n";
    assert_eq!(detected(&[go, ("main.go", main)]).port, Some(8081));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn random_bytes_never_panic(
        picks in prop::collection::vec((0..MANIFESTS.len(), prop::collection::vec(any::<u8>(), 0..300)), 1..6)
    ) {
        let folder = tree(&[]);
        for (index, bytes) in &picks {
            let path = folder.path().join(MANIFESTS[*index]);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, bytes).expect("written");
        }
        if let Err(error) = detect(folder.path(), &DetectSettings::default()) {
            prop_assert!(error.sentence().len() < 4000);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn random_values_never_panic(value in "[ -~\n]{0,60}", other in "\\PC{0,40}") {
        let json = serde_json::json!({
            "dependencies": {"express": value, "next": [other]}, "engines": {"node": value}, "main": other,
            "packageManager": other, "scripts": {"start": value, "build": other}, "require": {"php": value},
        }).to_string();
        let toml = format!("[project]\nrequires-python={value:?}\ndependencies=[{value:?}]\n[package]\nname={value:?}\n");
        let xml = format!("<project><packaging>pom</packaging><modules><module><![CDATA[{other}]]></module></modules></project>");
        let text = format!("{value}\nweb: {other}\ngo {value}\nruby '{other}'\nEXPOSE {value}\nFROM x");
        for (file, content) in MANIFESTS.iter().flat_map(|file| [&json, &toml, &xml, &text].map(|it| (file, it))) {
            // Whatever it is, it is an answer or an error with a code.
            let folder = tree(&[(file, content), ("src/main.rs", "")]);
            let found = detect(folder.path(), &DetectSettings::default());
            if let Ok(found) = found {
                let words = found.start.into_iter().flatten().chain(found.build.into_iter().flatten());
                for word in words.chain(found.entry_point) {
                    prop_assert!(!word.chars().any(char::is_control));
                }
            }
        }
    }
}
