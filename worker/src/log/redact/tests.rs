use proptest::prelude::*;

use super::*;

fn redactor(secrets: &[(&str, &str)]) -> Redactor {
    Redactor::new(secrets.iter().copied()).expect("small")
}

/// Kinds of value a deployment has, and how each is told from other text in a test.
const KINDS: &[&str] = &[
    "hunter22",
    "pässwörd-Grün",
    "correct horse battery staple",
    "p@ss/w0rd?x=1&y=2#z",
    "it's \"quoted\" $HOME `id` \\n",
    "<script>alert('x')</script>",
    "-----BEGIN-OF-SOMETHING-----",
    "postgres://user:hunter22@db.internal:5432/app?sslmode=require",
    "redis://:s3cr3tpass@cache:6379/0",
    "amqp://guest:gu3stpass@mq/%2f",
    "{\"type\":\"service_account\",\"key\":\"abc/def+ghi==\"}",
    "first line of it\nsecond line of it\nthird line of it",
    "tab\tinside\tvalue",
    "ends-with-space ",
    "3f786850e387550fdab836ed7e6dc881de23001b",
    "550e8400-e29b-41d4-a716-446655440000",
    "AAAAB3NzaC1yc2EAAAADAQABAAABgQC7",
    "dGhpcyBpcyBhbHJlYWR5IGJhc2U2NA==",
    "xyzzy!#%&*()[]{};:,.<>?|~^",
    "日本語のパスワード",
    "🔑🔒🔓🗝️🔏",
    "0123456789",
    "a+b=c d%20e",
    "SG.aaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbb",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "xoxb-1234567890-abcdefghijkl",
    "sk_live_abcdefghijklmnopqrstuvwx",
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "glpat-abcdefghijklmnopqrst",
    "github_pat_11ABCDEFG0abcdefghijkl",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
    "5WdA1",
    "\\\\server\\share\\key",
    "\u{1b}[31mred-value\u{1b}[0m",
    "zero\u{200b}width-value",
    "per%cent%25value",
    "$2b$12$abcdefghijklmnopqrstuv",
];

fn forms_of(value: &str) -> Vec<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    let json = serde_json::to_string(value).expect("text");
    let mut forms = vec![
        value.to_owned(),
        json.clone(),
        serde_json::to_string(&json).expect("text"),
        format!("'{}'", value.replace('\'', "'\\''")),
        format!("{value:?}"),
        url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        value.bytes().map(|c| format!("%{c:02x}")).collect(),
        value.bytes().map(|c| format!("{c:02x}")).collect(),
        value.bytes().map(|c| format!("{c:02X}")).collect(),
    ];
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        for around in ["", "u", "us", "user:"] {
            forms.push(engine.encode(format!("{around}{value}")));
            forms.push(engine.encode(format!("{around}{value}\n{around}")));
        }
    }
    forms
}

#[test]
fn forty_kinds_of_secret_are_hidden_in_every_form() {
    assert_eq!(KINDS.len(), 40);
    for value in KINDS {
        let redactor = redactor(&[("NAME", value)]);
        for form in forms_of(value) {
            let text = format!("before {form} after");
            let hidden = redactor.redact_text(&text);
            assert!(hidden.contains("[REDACTED:NAME]"), "{value:?} as {form:?}: {hidden}");
            assert!(!hidden.contains(form.trim_matches(['"', '\''])), "{value:?} as {form:?}: {hidden}");
            assert!(hidden.starts_with("before ") && hidden.ends_with(" after"), "{hidden}");
            // What is left of an encoded form beside the marker: at most a few characters of what surrounded the value.
            assert!(
                hidden.len() < "before [REDACTED:NAME] after".len() + 24,
                "{value:?} as {form:?}: {hidden}"
            );
        }
    }
}

#[test]
fn every_line_of_a_key_is_hidden_on_its_own() {
    let body: Vec<String> = (0..8u32).map(|n| format!("MIIEvQ{:058}", n * 7_919)).collect();
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", body.join("\n"));
    let redactor = redactor(&[("DEPLOY_KEY", &key)]);
    for line in &body {
        assert_eq!(redactor.redact_text(line), "[REDACTED:DEPLOY_KEY]");
    }
    assert!(!redactor.redact_text(&key).contains("MIIEvQ"));
}

#[test]
fn what_is_too_short_or_too_common_is_named_and_left() {
    let redactor = redactor(&[
        ("PIN", "1234"),
        ("FLAG", "true"),
        ("STAGE", "Production"),
        ("DASHES", "-----"),
        ("EMPTY", ""),
    ]);
    let text = "1234 true Production -----";
    assert_eq!(redactor.redact_text(text), text);
    let named: Vec<String> = redactor.exposed().iter().map(ToString::to_string).collect();
    assert_eq!(named.len(), 4);
    assert_eq!(named[0], "PIN is too short to be hidden in logs: give it at least 5 characters");
    assert!(named.iter().all(|sentence| !sentence.contains("1234")));
}

#[test]
fn secrets_that_overlap_are_hidden_together() {
    let redactor = redactor(&[("A", "abcdefgh"), ("B", "efghijkl"), ("C", "cdefg")]);
    assert_eq!(redactor.redact_text("xabcdefghijklx"), "x[REDACTED:A]x");
}

#[test]
fn a_marker_never_shows_what_it_hides() {
    for value in ["REDACTED", "[REDACTED]", "STRIPE_KEY", "REDACTED:STRIPE_KEY", "GitHub token", "token"] {
        let redactor = redactor(&[("STRIPE_KEY", value)]);
        for text in [value.to_owned(), format!("ghp_{} {value}", "a".repeat(36))] {
            assert!(!redactor.redact_text(&text).contains(value), "{value}");
        }
    }
    // The marker completes another secret.
    let redactor = redactor(&[("A", "hunter22"), ("B", "x[REDACTED:A]y"), ("C", "x[REDACTED]y")]);
    assert_eq!(redactor.redact_text("xhunter22y"), "x***y");
}

#[test]
fn credentials_of_a_known_look_need_no_list() {
    let redactor = Redactor::shapes_only();
    let secret = "Zx8".repeat(12);
    for text in [
        format!("ghp_{secret}"),
        format!("github_pat_{secret}"),
        format!("export TOKEN=gho_{secret};"),
        format!("Authorization: Bearer {secret}"),
        format!("\"Authorization\": \"Basic {secret}\""),
        format!("curl -H 'authorization: token {secret}'"),
        format!("bearer {secret}"),
        format!("https://user:{secret}@host/path"),
        format!("https://user:{secret}@@host/path"),
        format!("https://{secret}@host/path"),
        format!("AWS_SECRET_ACCESS_KEY={secret}abcd"),
        format!("glpat-{secret}"),
        format!("npm_{secret}"),
        format!("xoxb-{secret}"),
        format!("eyJhbGciOiJI.eyJ{secret}.{secret}"),
        format!("-----BEGIN RSA PRIVATE KEY-----\\n{secret}\\n-----END RSA PRIVATE KEY-----"),
    ] {
        let hidden = redactor.redact_text(&text);
        assert!(!hidden.contains("Zx8") && hidden.contains("[REDACTED"), "{text}: {hidden}");
    }
    assert_eq!(redactor.redact_text("AKIAIOSFODNN7EXAMPLE"), "[REDACTED:AWS access key]");
    for harmless in [
        "https://host:8080/a@b",
        "npm_config_loglevel=warn",
        "Basic configuration",
        "sk-learn",
        "ask-me-anything",
    ] {
        assert_eq!(redactor.redact_text(harmless), harmless);
    }
}

#[test]
fn a_key_told_line_by_line_is_followed_to_its_end() {
    let redactor = Redactor::shapes_only();
    let mut block = KeyBlock::default();
    let shown: Vec<String> = [
        "#8 0.1 -----BEGIN OPENSSH PRIVATE KEY-----",
        "#8 0.1 b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE",
        "Step 2/3 : another step talks",
        "#8 0.1 bm9uZQ==",
        "#8 0.1 -----END OPENSSH PRIVATE KEY-----",
        "#8 0.1 b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE",
    ]
    .into_iter()
    .map(|line| {
        let also = block.follow(line);
        redactor.redact_with(line, also).into_owned()
    })
    .collect();
    assert_eq!(shown[1], "#8 0.1 [REDACTED:private key]");
    assert_eq!(shown[2], "Step 2/3 : another step talks");
    assert_eq!(shown[3], "#8 0.1 [REDACTED:private key]");
    assert_eq!(shown[5], "#8 0.1 b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE");
}

#[test]
fn every_text_of_a_json_value_is_hidden() {
    let redactor = redactor(&[("NAME", "hunter22"), ("PIN", "90210555")]);
    let mut value = serde_json::json!({
        "a": ["x hunter22", { "hunter22": 1, "deep": "aHVudGVyMjI=" }], "n": 90_210_555, "ok": true, "kept": 7
    });
    redactor.redact_json(&mut value);
    let text = value.to_string();
    assert!(
        !text.contains("hunter22") && !text.contains("aHVudGVyMj") && !text.contains("90210555"),
        "{text}"
    );
    assert_eq!((value["kept"].as_i64(), value["ok"].as_bool()), (Some(7), Some(true)));
}

#[test]
fn values_of_any_size_are_hidden_or_refused() {
    let value: String = (0..1_200).map(|n| format!("{n:x}-")).collect();
    let redactor = redactor(&[("LONG", &value)]);
    assert_eq!(redactor.redact_text(&format!("a {value} b")), "a [REDACTED:LONG] b");
    assert!(redactor.reach() <= forms::LONGEST + BASE64_EDGES);
    let giant: String = (0..20_000).map(|n| format!("{n:x}-")).collect();
    assert_eq!(Redactor::new([("GIANT", giant)]).expect_err("too large").code(), Code::SettingsInvalid);
}

#[test]
fn debugging_shows_no_value() {
    assert!(!format!("{:?}", redactor(&[("NAME", "hunter22")])).contains("hunter"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_value_survives_whatever_stands_around_it(
        values in prop::collection::vec("[ab\\[\\]:REDACTEDx*é'\"%=]{5,12}", 1..5),
        text in prop::collection::vec((any::<prop::sample::Index>(), "[abx\\[\\]:*é]{0,6}"), 0..8),
    ) {
        let named: Vec<(String, &String)> = values.iter().enumerate().map(|(n, v)| (format!("N{n}"), v)).collect();
        let redactor = Redactor::new(named).expect("small");
        let text: String = text.iter().map(|(index, between)| format!("{}{between}", index.get(&values))).collect();
        let hidden = redactor.redact_text(&text);
        let exposed: Vec<&str> = redactor.exposed().iter().map(|e| e.name.as_str()).collect();
        for (n, value) in values.iter().enumerate() {
            let left = exposed.contains(&format!("N{n}").as_str());
            prop_assert!(left || !hidden.contains(value.as_str()), "{value:?} in {hidden:?}");
        }
    }

    #[test]
    fn base64_of_anything_around_a_value_is_hidden(value in "[ -~]{6,40}", before in "[ -~]{0,20}", after in "[ -~]{0,20}") {
        use base64::Engine as _;
        let redactor = Redactor::new([("NAME", &value)]).expect("small");
        prop_assume!(redactor.exposed().is_empty());
        for engine in [&base64::engine::general_purpose::STANDARD, &base64::engine::general_purpose::URL_SAFE_NO_PAD] {
            let text = engine.encode(format!("{before}{value}{after}"));
            let hidden = redactor.redact_text(&text).into_owned();
            prop_assert!(hidden.contains("[REDACTED:NAME]"), "{value:?}: {hidden}");
        }
    }
}
