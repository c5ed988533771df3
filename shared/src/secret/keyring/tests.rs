use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::ids::AppId;
use uuid::Uuid;

fn line(id: &str) -> Zeroizing<String> {
    Keyring::generate_line(&KeyId::parse(id).expect("id"))
}

fn ring(lines: &[&str]) -> Keyring {
    Keyring::parse(&lines.join("\n")).expect("ring")
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn code_of<T>(result: Result<T, Error>) -> (Code, String) {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(error) => (error.code(), error.chain()),
    }
}

#[test]
fn what_is_sealed_opens_and_never_looks_the_same_twice() {
    let ring = ring(&[&line("k1")]);
    let place = Associated::variable(AppId::generate(), "DATABASE_URL");
    for text in ["", "x", "hunter2", "é\n\"'$", &"a".repeat(64 * 1024)] {
        let (one, two) = (ring.seal(&place, &secret(text)), ring.seal(&place, &secret(text)));
        assert_eq!(ring.open(&place, &one).expect("opens").expose_secret(), text);
        assert_ne!(one.bytes, two.bytes);
        assert_eq!(one.key_id.as_str(), "k1");
    }
}

#[test]
fn lengths_are_hidden_to_the_block() {
    let ring = ring(&[&line("k1")]);
    let place = Associated::credential(Uuid::now_v7());
    let sizes: Vec<usize> = [0, 1, 20, 56, 57, 120, 121]
        .map(|length| ring.seal(&place, &secret(&"a".repeat(length))).bytes.len())
        .to_vec();
    let bare = 1 + NONCE + TAG;
    assert_eq!(sizes, [64, 64, 64, 64, 128, 128, 192].map(|body| bare + body));
}

#[test]
fn no_byte_may_change_and_none_may_be_missing() {
    let ring = ring(&[&line("k1")]);
    let place = Associated::variable(AppId::generate(), "TOKEN");
    let sealed = ring.seal(&place, &secret("hunter2-hunter2"));
    for index in 0..sealed.bytes.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed.bytes[index] ^= 1 << bit;
            let (code, text) = code_of(ring.open(&place, &changed));
            assert_eq!(code, Code::SecretUndecryptable, "byte {index}");
            assert!(text.contains("\"TOKEN\"") && text.contains("k1") && !text.contains("hunter2"), "{text}");
        }
        let short = Sealed { key_id: sealed.key_id.clone(), bytes: sealed.bytes[..index].to_vec() };
        assert_eq!(code_of(ring.open(&place, &short)).0, Code::SecretUndecryptable);
    }
    let mut long = sealed.clone();
    long.bytes.push(0);
    assert!(ring.open(&place, &long).is_err());
    assert!(ring.open(&place, &sealed).is_ok());
}

#[test]
fn a_value_opens_in_its_own_place_only() {
    let ring = ring(&[&line("k1")]);
    let app = AppId::generate();
    let sealed = ring.seal(&Associated::variable(app, "A"), &secret("v"));
    for other in [
        Associated::variable(AppId::generate(), "A"),
        Associated::variable(app, "B"),
        Associated::variable(app, "a"),
        Associated::variable(app, ""),
        Associated::credential(app.as_uuid()),
    ] {
        assert_eq!(code_of(ring.open(&other, &sealed)).0, Code::SecretUndecryptable, "{other}");
    }
}

#[test]
fn another_key_under_the_same_id_does_not_open() {
    let place = Associated::credential(Uuid::now_v7());
    let sealed = ring(&[&line("k1")]).seal(&place, &secret("v"));
    let (code, text) = code_of(ring(&[&line("k1")]).open(&place, &sealed));
    assert_eq!(code, Code::SecretUndecryptable);
    assert!(text.contains("does not open with key k1"), "{text}");
}

#[test]
fn a_missing_key_is_named() {
    let place = Associated::variable(AppId::generate(), "A");
    let sealed = ring(&[&line("old")]).seal(&place, &secret("v"));
    let (code, text) = code_of(ring(&[&line("new")]).open(&place, &sealed));
    assert_eq!(code, Code::SecretUndecryptable);
    assert!(text.contains("key old, which this process does not have"), "{text}");
}

/// A change of the form would leave every stored value unreadable: it needs a new version byte, and this still opens.
#[test]
fn what_was_sealed_with_version_one_opens_for_ever() {
    let bytes: Vec<u8> =
        (0..32u8).map(|n| n.wrapping_mul(n).wrapping_mul(n).wrapping_add(n ^ 0x5a)).collect();
    let ring = ring(&[&format!("k1:{}", STANDARD.encode(bytes))]);
    let app = AppId::from_uuid(Uuid::from_u128(7));
    let stored = "AfxbCtcjrp65XehtpU55pVsLrCsKh3lryS/uKfeSMHGTVPy+LNDCacfQDZcBOSKMnK0aPrxhrDLQxJ3+kCJIUQNcR9qTF7759cih9b5Bvbs/Wm7W2G6Nfww1aELQlg/RPgOXRhTd6joF";
    let sealed = Sealed { key_id: ring.current().clone(), bytes: STANDARD.decode(stored).expect("base64") };
    let opened = ring.open(&Associated::variable(app, "A"), &sealed).expect("opens");
    assert_eq!(opened.expose_secret(), "as it was");
}

#[test]
fn rotation_moves_a_value_to_the_first_key_once() {
    let (old, new) = (line("old"), line("new"));
    let place = Associated::variable(AppId::generate(), "A");
    let first = ring(&[&old]).seal(&place, &secret("v"));
    let both = ring(&[&new, &old]);
    assert_eq!(both.current().as_str(), "new");
    assert_eq!(both.ids().map(KeyId::as_str).collect::<Vec<_>>(), ["new", "old"]);
    let moved = both.reseal(&place, &first).expect("opens").expect("is on the old key");
    assert_eq!(moved.key_id.as_str(), "new");
    assert_eq!(both.reseal(&place, &moved).expect("is current"), None);
    assert_eq!(ring(&[&new]).open(&place, &moved).expect("opens").expose_secret(), "v");
    assert!(ring(&[&old]).open(&place, &moved).is_err());
    let elsewhere = Associated::variable(AppId::generate(), "A");
    assert!(both.reseal(&elsewhere, &first).is_err(), "rotation must not bless a moved value");
}

#[test]
fn rings_are_read_from_lines_and_commas() {
    let (a, b, c) = (line("a"), line("b"), line("c"));
    let text = format!("# the keys\r\n\r\n  {} \r\n{},{}\n", *a, *b, *c);
    let ring = Keyring::parse(&text).expect("ring");
    assert_eq!(ring.ids().map(KeyId::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn wrong_rings_are_refused_without_repeating_them() {
    let good = line("a");
    let body = good.split_once(':').expect("id:key").1.to_owned();
    let encode = |bytes: &[u8]| STANDARD.encode(bytes);
    let ramp: Vec<u8> = (0..32).collect();
    let wrong = BTreeMap::from([
        (String::new(), "no key"),
        ("# only a comment".into(), "no key"),
        (body.clone(), "key 1 is not written as id:base64"),
        (format!("{body}:a"), "key 1 has an id"),
        (format!("A:{body}"), "key 1 has an id"),
        (format!(":{body}"), "key 1 has an id"),
        (format!("{}:{body}", "a".repeat(33)), "key 1 has an id"),
        (format!("a:{}!", &body[..43]), "key 1 is not base64"),
        (format!("a:{}", body.replace('=', "")), "key 1 is not base64"),
        (format!("a:{}", encode(&[7; 31])), "key 1 does not decode to 32 bytes"),
        ("a:".into(), "key 1 does not decode to 32 bytes"),
        (format!("a:{}", encode(&[0; 32])), "key 1 is not random"),
        (format!("a:{}", encode(&ramp)), "key 1 is not random"),
        (format!("a:{}", encode(&[1, 2].repeat(16))), "key 1 is not random"),
        (format!("a:{}", encode(b"correct horse battery staple 123")), "key 1 is not random"),
        (format!("a:{}", encode(b"0123456789abcdef0123456789abcdef")), "key 1 is not random"),
        (format!("{}\n{}", *good, *line("a")), "key 2 has the same id as key 1"),
        (format!("{}\nb:{body}", *good), "key 2 is key 1 under another id"),
        ((0..33).map(|n| line(&format!("k{n}")).to_string()).collect::<Vec<_>>().join(","), "more than 32"),
    ]);
    for (text, expected) in wrong {
        let (code, chain) = code_of(Keyring::parse(&text));
        assert_eq!(code, Code::SecretKey);
        assert!(chain.contains(expected), "{expected}: {chain}");
        for part in text.split([':', '\n', ',']).filter(|part| part.len() > 8 && !part.starts_with('#')) {
            assert!(!chain.contains(part), "{expected} repeats key material");
        }
    }
}

#[test]
fn debug_shows_ids_only() {
    let text = line("k1");
    let shown = format!("{:?}", ring(&[&text]));
    assert!(shown.contains("k1") && shown.contains("[redacted]"), "{shown}");
    assert!(!shown.contains(text.split_once(':').expect("id:key").1), "{shown}");
}

#[cfg(unix)]
#[test]
fn a_key_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("keys");
    std::fs::write(&path, format!("{}\n", *line("k1"))).expect("write");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    for open in [0o644, 0o640, 0o604, 0o620, 0o601] {
        mode(open);
        let (code, text) = code_of(Keyring::from_file(&path));
        assert_eq!(code, Code::SecretKey);
        assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
    }
    for closed in [0o600, 0o400] {
        mode(closed);
        assert_eq!(Keyring::from_file(&path).expect("ring").current().as_str(), "k1");
    }
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("link");
    assert!(Keyring::from_file(&link).is_ok(), "mounted secrets are links");
}

#[cfg(unix)]
#[test]
fn what_is_no_key_file_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let (_, text) = code_of(Keyring::from_file(folder.path()));
    assert!(text.contains("not a regular file"), "{text}");
    let (_, text) = code_of(Keyring::from_file(Path::new("/dev/zero")));
    assert!(text.contains("not a regular file"), "{text}");
    let (_, text) = code_of(Keyring::from_file(&folder.path().join("none")));
    assert!(text.contains("cannot be read"), "{text}");
    let path = folder.path().join("keys");
    for (content, expected) in [
        ("#".repeat(64 * 1024 + 1).into_bytes(), "larger than 64 KiB"),
        (vec![0xff; 40], "cannot be read"),
        (b"a:b".to_vec(), "key 1"),
    ] {
        std::fs::write(&path, content).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        let (code, text) = code_of(Keyring::from_file(&path));
        assert_eq!(code, Code::SecretKey);
        assert!(text.contains(expected), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_survives(text in any::<String>(), name in any::<String>()) {
        let ring = ring(&[&line("k1")]);
        let place = Associated::variable(AppId::generate(), &name);
        let sealed = ring.seal(&place, &secret(&text));
        let opened = ring.open(&place, &sealed).expect("opens");
        prop_assert_eq!(opened.expose_secret(), text.as_str());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let ring = ring(&[&line("k1")]);
        let sealed = Sealed { key_id: ring.current().clone(), bytes };
        prop_assert!(ring.open(&Associated::credential(Uuid::nil()), &sealed).is_err());
    }

    #[test]
    fn any_ring_text_is_read_or_refused(text in any::<String>()) {
        prop_assert!(Keyring::parse(&text).is_err());
    }
}
