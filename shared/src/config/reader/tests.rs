//! Tests of collecting, redacting and recording.

use super::*;
use crate::config::MapSource;
use secrecy::ExposeSecret;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn all_mistakes_are_collected_and_placeholders_returned() {
    let source = MapSource::from([("N", "500"), ("D", "5"), ("S", "hunter2")]);
    let mut reader = Reader::new(&source);
    assert_eq!(reader.number("N", 10_u32, 1..=200, "n"), 10);
    assert_eq!(reader.duration("D", SECOND, SECOND..=SECOND * 60, "d"), SECOND);
    let secret = reader.required_secret("S", "postgres://host/db", "s", |_| Err("is not a URL"));
    assert_eq!(secret.expose_secret(), "");
    assert_eq!(reader.required("R", "x", "r", |text| Ok(text.to_owned())), None);
    let errors = reader.finish().expect_err("four mistakes").to_string();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        [
            r#"N is wrong: "500" is not a whole number from 1 to 200; for example N=10"#,
            r#"D is wrong: "5" is not a duration from 1s to 1m; for example D=1s"#,
            "S is not a URL; for example S=postgres://host/db",
            "R is not set; for example R=x",
        ]
    );
    assert!(!errors.contains("hunter2"));
}

#[test]
fn the_rendering_redacts_secrets_and_marks_defaults() {
    let source = MapSource::from([("S", " hunter2\n"), ("D", "2m"), ("T", "two\nlines"), ("W", "no")]);
    let mut reader = Reader::new(&source);
    let secret = reader.required_secret("S", "x", "s", |_| Ok(()));
    assert_eq!(secret.expose_secret(), "hunter2", "a newline at the end of a secret file is not part of it");
    reader.duration("D", SECOND, SECOND..=SECOND * 600, "d");
    reader.duration("E", SECOND, SECOND..=SECOND * 600, "e");
    reader.optional("O", "x", "o", |text| Ok(text.to_owned()));
    reader.optional("T", "x", "t", |text| Ok(text.to_owned()));
    reader.number("W", 1_u8, 0..=9, "w");
    assert_eq!(
        reader.print_config(),
        "S=[redacted]\nD=2m\nE=1s # default\n# O is not set\nT=two\\nlines\n# W is wrong\n"
    );
}

#[test]
fn a_url_never_shows_what_may_be_a_token() {
    let source = MapSource::from([
        ("GOOD", "https://host/path?token=hunter2"),
        ("USER", "https://me:hunter2@host/"),
        ("SCHEME", "ftp://host/hunter2"),
    ]);
    let mut reader = Reader::new(&source);
    for key in ["GOOD", "USER", "SCHEME"] {
        let url = reader.optional_url(key, &["http", "https"], "https://host", "u");
        assert_eq!(url.is_some(), key == "GOOD");
    }
    let shown = reader.print_config();
    assert!(shown.contains("GOOD=https://host/path\n"), "{shown}");
    let errors = reader.finish().expect_err("two are wrong").to_string();
    assert!(!shown.contains("hunter2") && !errors.contains("hunter2"), "{shown}{errors}");
    assert_eq!(errors.lines().count(), 2);
}

#[test]
fn a_key_read_twice_is_recorded_and_refused_once() {
    let source = MapSource::from([("N", "no")]);
    let mut reader = Reader::new(&source);
    reader.number("N", 1_u8, 0..=9, "n");
    reader.number("N", 1_u8, 0..=9, "n");
    assert_eq!(reader.settings().len(), 1);
    assert_eq!(reader.finish().expect_err("one mistake").mistakes().len(), 1);
}
