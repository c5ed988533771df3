use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<String, Code> {
    Address::parse(text, false).map(|address| address.to_string()).map_err(|error| error.code())
}

#[test]
fn the_usual_forms_are_taken_and_given_to_git_as_they_were() {
    for text in [
        "https://git.example.com/team/app.git",
        "http://git.example.com:8080/team/app",
        "ssh://git@git.example.com/team/app.git",
        "ssh://git@git.example.com:2222/team/app.git",
        "git@git.example.com:team/app.git",
        "https://[::1]:8443/app.git",
    ] {
        assert_eq!(parse(text).as_deref(), Ok(text), "{text}");
    }
    assert_eq!(parse("ssh://git@Git.example.com:22/app").as_deref(), Ok("ssh://git@git.example.com/app"));
    assert_eq!(parse("HTTPS://Git.example.com:443/app").as_deref(), Ok("https://git.example.com/app"));
}

#[test]
fn everything_that_could_be_an_option_a_helper_or_a_secret_is_refused() {
    for text in [
        "",
        "-uhttps://git.example.com/app",
        "--upload-pack=touch${IFS}x",
        "ext::sh -c touch% x",
        "ext::sh",
        "fd::3",
        "https://",
        "https:///app",
        "https://git.example.com",
        "https://git.example.com/",
        "https://git.example.com/-app",
        "https://user:pass@git.example.com/app",
        "https://ghp_0123456789@git.example.com/app",
        "ssh://git:secret@git.example.com/app",
        "ssh://-oProxyCommand=sh/app",
        "ssh://-oProxyCommand=sh@host/app",
        "-oProxyCommand=sh:app",
        "git@-oProxyCommand=sh:app",
        "git@host:-app",
        "git@host:",
        "ftp://git.example.com/app",
        "git://git.example.com/app",
        "file:///srv/app.git",
        "/srv/app.git",
        "../app.git",
        "app",
        "https://git.example.com/app?x=1",
        "https://git.example.com/app#x",
        "https://git.example.com/a b",
        "https://git.example.com/a\nb",
        "https://git.example.com/a\u{0}b",
        "git@ho$t:app",
        "git@`id`:app",
    ] {
        assert_eq!(parse(text), Err(Code::RepositoryAddress), "{text:?}");
    }
    assert!(Address::parse("file:///srv/app.git", true).is_ok());
    assert!(Address::parse("/srv/app.git", true).is_ok());
}

#[test]
fn a_refusal_never_repeats_the_secret_in_the_address() {
    let error =
        Address::parse("https://someone:s3cr3t-token@git.example.com/app", false).expect_err("userinfo");
    assert!(!error.chain().contains("s3cr3t"), "{}", error.chain());
    assert!(error.sentence().contains("credential"));
}

#[test]
fn submodules_are_found_relative_to_their_parent_and_only_on_its_host() {
    let parent = Address::parse("https://git.example.com/team/app.git", false).expect("valid");
    let at = |text: &str| {
        parent.relative(text).ok().and_then(|sub| parent.reached_like(&sub)).map(|a| a.to_string())
    };
    assert_eq!(at("../lib.git").as_deref(), Some("https://git.example.com/team/lib.git"));
    assert_eq!(at("../../other/lib.git").as_deref(), Some("https://git.example.com/other/lib.git"));
    assert_eq!(at("./lib").as_deref(), Some("https://git.example.com/team/app.git/lib"));
    assert_eq!(at("https://git.example.com/x/y").as_deref(), Some("https://git.example.com/x/y"));
    assert_eq!(at("git@git.example.com:x/y.git").as_deref(), Some("https://git.example.com/x/y.git"));
    assert_eq!(at("../../../../etc"), None);
    assert_eq!(at("../.."), None);
    assert_eq!(at("https://git.example.com:8443/x/y"), None);
    assert_eq!(at("http://git.example.com/x/y"), None);
    assert_eq!(at("https://evil.example.com/x"), None);
    assert_eq!(at("file:///etc"), None);
    assert_eq!(at("/etc"), None);
    assert_eq!(at("ext::sh"), None);

    let parent = Address::parse("git@git.example.com:team/app.git", false).expect("valid");
    let at = |text: &str| {
        parent.relative(text).ok().and_then(|sub| parent.reached_like(&sub)).map(|a| a.to_string())
    };
    assert_eq!(at("../lib.git").as_deref(), Some("git@git.example.com:team/lib.git"));
    assert_eq!(at("https://git.example.com/x/y").as_deref(), Some("ssh://git@git.example.com/x/y"));
}

proptest! {
    #[test]
    fn what_is_taken_is_never_an_option_and_reads_back_the_same(text in "(https://|ssh://|git@|)[-a-z@:/.%~?#\\[\\]\\\\ \\u{0}\\n]{0,30}") {
        if let Ok(address) = Address::parse(&text, false) {
            let shown = address.to_string();
            prop_assert!(!shown.starts_with('-') && !shown.chars().any(char::is_control));
            prop_assert!(!address.host.starts_with('-') && !address.host.is_empty());
            prop_assert_eq!(Address::parse(&shown, false).expect("its own text"), address);
        }
    }
}
