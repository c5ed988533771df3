//! Every kind of app against its written-down files, and hostile words in each of its fields.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use deploymind_shared::error::Code;
use proptest::prelude::*;

use super::parse::parse;
use super::{GenerateOptions, base_images, exposed_ports, generate, lint, words};
use crate::detect::model::{Detection, Language, PackageManager};

fn cases() -> BTreeMap<String, Detection> {
    serde_json::from_str(include_str!("golden/cases.json")).expect("cases")
}

fn options(buildkit: bool) -> GenerateOptions {
    GenerateOptions { buildkit, build_variables: vec!["API_URL".into()], cache_scope: "shop".into() }
}

fn golden(name: &str, buildkit: bool) -> PathBuf {
    let builder = if buildkit { "buildkit" } else { "classic" };
    let file = format!("src/dockerfile/golden/{name}.{builder}.Dockerfile");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn keywords(text: &str) -> Vec<String> {
    parse(text).expect("a Dockerfile").instructions.into_iter().map(|it| it.keyword).collect()
}

#[test]
fn every_case_is_as_written_down() {
    let cases = cases();
    for language in Language::ALL {
        assert!(cases.values().any(|it| it.language == Some(*language)), "{language} has no case");
    }
    for (name, detection) in cases {
        for buildkit in [false, true] {
            let made = generate(&detection, &options(buildkit)).expect(&name);
            let file = golden(&name, buildkit);
            let written = fs::read_to_string(&file).expect(&name);
            assert_eq!(made.dockerfile, written, "{}", file.display());
        }
    }
}

#[test]
#[ignore = "writes the files that the test above compares with: run it by name, then read the difference"]
fn written_down_anew() {
    for (name, detection) in cases() {
        for buildkit in [false, true] {
            let made = generate(&detection, &options(buildkit)).expect(&name);
            fs::write(golden(&name, buildkit), made.dockerfile).expect(&name);
        }
    }
}

#[test]
fn what_is_generated_passes_the_lint_and_suits_its_builder() {
    for (name, detection) in cases() {
        for buildkit in [false, true] {
            let text = generate(&detection, &options(buildkit)).expect(&name).dockerfile;
            let findings = lint(&text, true).expect(&name);
            let bad: Vec<_> = findings.iter().filter(|it| it.severity != super::Severity::Info).collect();
            assert!(bad.is_empty(), "{name}: {bad:#?}");
            assert_eq!(text.contains("--mount="), buildkit && text.contains("id=deploymind-shop-"), "{name}");
            for unknown in ["# syntax", "<<", "--chmod", "--link"] {
                assert!(!text.contains(unknown), "{name} has {unknown}");
            }
            let parsed = parse(&text).expect(&name).instructions;
            let user = parsed.iter().rfind(|it| it.keyword == "USER").expect(&name);
            assert!(user.args.split(':').all(|it| it.parse::<u32>().is_ok_and(|id| id > 0)), "{name}");
            let command = parsed.iter().rfind(|it| it.keyword == "CMD").expect(&name);
            assert!(command.json().is_some(), "{name}");
            assert_eq!(exposed_ports(&text).len(), 1, "{name}");
            assert!(!base_images(&text).is_empty(), "{name}");
        }
    }
}

#[test]
fn a_site_listens_where_its_server_can() {
    let site = Detection { port: Some(80), ..cases()["static"].clone() };
    assert_eq!(exposed_ports(&generate(&site, &options(false)).expect("site").dockerfile), [8080]);
}

#[test]
fn what_cannot_be_written_is_refused_with_its_code() {
    let node = cases()["node-npm"].clone();
    let code = |detection: &Detection, options: &GenerateOptions| {
        generate(detection, options).expect_err("refused").code()
    };
    let plain = options(false);
    assert_eq!(code(&Detection { language: None, ..node.clone() }, &plain), Code::LanguageUnknown);
    assert_eq!(code(&Detection { start: None, ..node.clone() }, &plain), Code::EntryPointUnknown);
    assert_eq!(code(&Detection { start: Some(vec![]), ..node.clone() }, &plain), Code::EntryPointUnknown);
    let broken = Some(vec!["node".into(), "a\nUSER root".into()]);
    assert_eq!(code(&Detection { start: broken, ..node.clone() }, &plain), Code::EntryPointUnknown);
    let version = Some("20 AS x\nRUN evil".into());
    assert_eq!(code(&Detection { version, ..node.clone() }, &plain), Code::ManifestInvalid);
    let output = Some("../../etc".into());
    assert_eq!(code(&Detection { output, ..cases()["static"].clone() }, &plain), Code::EntryPointUnknown);
    let variables = GenerateOptions { build_variables: vec!["A=1\nUSER root".into()], ..plain.clone() };
    assert_eq!(code(&node, &variables), Code::VariableInvalid);
    let scope = GenerateOptions { cache_scope: "a,target=/".into(), ..plain };
    assert_eq!(code(&node, &scope), Code::SettingsInvalid);
}

#[test]
fn a_dockerignore_keeps_secrets_out_and_what_is_needed_in() {
    for (name, detection) in cases() {
        let text = generate(&detection, &options(true)).expect(&name).dockerignore;
        let lines: Vec<&str> = text.lines().collect();
        for pattern in [".git", "**/.env", "**/.env.*"] {
            assert!(lines.contains(&pattern), "{name} lacks {pattern}");
        }
    }
    let lines = |detection: &Detection| {
        let text = generate(detection, &options(true)).expect("files").dockerignore;
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let rust = cases()["rust"].clone();
    assert!(lines(&rust).contains(&"target".to_owned()));
    let site = Detection { output: Some("coverage".into()), ..cases()["static"].clone() };
    assert!(!lines(&site).contains(&"coverage".to_owned()), "the files that are served are left out");
    let made = Detection { entry_point: Some(".env/../server.js".into()), ..cases()["node-npm"].clone() };
    assert!(lines(&made).contains(&"**/.env".to_owned()), "an entry point cannot bring secrets back");
}

/// One field at a time is whatever a repository may say.
fn with(detection: &Detection, field: usize, text: &str) -> Detection {
    let mut hostile = detection.clone();
    match field {
        0 => hostile.entry_point = Some(text.to_owned()),
        1 => hostile.start.get_or_insert_default().push(text.to_owned()),
        2 => hostile.build.get_or_insert_with(|| vec!["make".into()]).push(text.to_owned()),
        3 => hostile.output = Some(text.to_owned()),
        4 => hostile.version = Some(text.to_owned()),
        5 => hostile.framework = Some(text.to_owned()),
        6 => hostile.start = Some(vec![text.to_owned()]),
        _ => hostile.reasons.iter_mut().for_each(|it| it.file = format!("requirements/{text}")),
    }
    hostile
}

fn count(words: &[String], word: &str) -> usize {
    words.iter().filter(|it| *it == word).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_word_of_a_repository_becomes_an_instruction(
        case in any::<prop::sample::Index>(),
        field in 0usize..8,
        buildkit in any::<bool>(),
        text in prop_oneof![
            "\\PC{0,40}",
            "(?s).{0,40}",
            Just("x\nUSER root\n".to_owned()),
            Just("x\r\nRUN evil".to_owned()),
            Just("\\".to_owned()),
            Just("'; touch /evil; '".to_owned()),
            Just("$(evil)`evil`${PORT}".to_owned()),
            Just("<<EOF".to_owned()),
            Just("a <<EOF b".to_owned()),
            Just("\"]\nRUN evil".to_owned()),
            Just("\u{2028}RUN evil".to_owned()),
            Just("--mount=type=bind".to_owned()),
        ],
    ) {
        let cases = cases();
        let (name, detection) = case.get(&cases.iter().collect::<Vec<_>>()).to_owned();
        let hostile = with(detection, field, &text);
        let options = options(buildkit);
        // The same fields with a harmless word have the same template and branches.
        let harmless = ["word", "word.js", "1", "folder/word"].map(|it| generate(&with(detection, field, it), &options));
        if let Ok(made) = generate(&hostile, &options) {
            let found = keywords(&made.dockerfile);
            let most = |word: &str| harmless.iter().flatten().map(|it| count(&keywords(&it.dockerfile), word)).max();
            for word in &found {
                prop_assert!(Some(count(&found, word)) <= most(word), "{name}: {word} in\n{}", made.dockerfile);
            }
            let parsed = parse(&made.dockerfile).expect("a Dockerfile").instructions;
            prop_assert!(parsed.iter().all(|it| it.heredocs.is_empty()));
            let command = parsed.iter().rfind(|it| it.keyword == "CMD").expect("a command");
            prop_assert!(command.json().is_some(), "{}", command.args);
            let user = parsed.iter().rfind(|it| it.keyword == "USER").expect("a user");
            prop_assert!(["10001:10001", "33:33", "101:101"].contains(&user.args.as_str()));
            if field == 1 && detection.package_manager == Some(PackageManager::Npm) && !text.contains("$") {
                let argv = command.json().unwrap_or_default();
                prop_assert_eq!(argv.last().cloned(), if detection.start.is_some() { Some(text) } else { argv.last().cloned() });
            }
        }
    }

    #[test]
    fn the_parser_survives_any_text(text in "(?s)(FROM [a-z:$]{0,9}\n)?.{0,300}") {
        let _either = lint(&text, false);
        let _ = (exposed_ports(&text), base_images(&text));
    }

    #[test]
    fn the_parser_survives_what_looks_like_a_dockerfile(
        lines in prop::collection::vec("(FROM|RUN|COPY|ENV|ARG|CMD|ONBUILD|EXPOSE|USER|#)[ \\\\a\"'\\[\\]$\\{\\}:<=,-]{0,24}", 0..30)
    ) {
        let text = format!("FROM a\n{}", lines.join("\n"));
        let _either = lint(&text, true);
        let _ = (exposed_ports(&text), base_images(&text));
    }
}

#[test]
fn a_quoted_word_comes_out_of_a_real_shell_as_it_went_in() {
    let hostile = [
        "",
        "a b",
        "'",
        "\\",
        "$(touch x)",
        "`id`",
        "\"",
        "*",
        "~",
        "!",
        "#",
        "é",
        "-n",
        "a'b'c",
        "${PORT}",
        "\t;&|<>",
    ];
    for word in hostile {
        let line = format!("printf '%s' {}", words::shell(word));
        let out = Command::new("sh").args(["-c", &line]).output().expect("sh");
        assert_eq!(String::from_utf8_lossy(&out.stdout), word, "{line}");
    }
    let argv = ["printf", "%s|", "0.0.0.0:$PORT", "a $HOME ${PORT}'"].map(str::to_owned);
    let form = words::exec_form("start command", &argv).expect("exec form");
    let argv: Vec<String> = serde_json::from_str(&form).expect("JSON");
    let out = Command::new(&argv[0]).args(&argv[1..]).env("PORT", "81").output().expect("sh");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "0.0.0.0:81|a $HOME 81'|");
}
