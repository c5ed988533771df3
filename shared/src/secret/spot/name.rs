//! What the words of a name say. Whole words count: MONKEY is no KEY.

/// Words that mean a secret wherever they stand.
const SECRET: [&str; 23] = [
    "SECRET",
    "SECRETS",
    "TOKEN",
    "TOKENS",
    "PASSWORD",
    "PASSWORDS",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "DSN",
    "APIKEY",
    "PWD",
    "PEPPER",
    "SALT",
    "HMAC",
    "KEY",
    "KEYS",
    "PEM",
    "JWT",
    "AUTH",
];
/// Ends of words that are written together: PGPASSWORD, AUTHTOKEN.
const ENDINGS: [&str; 7] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "APIKEY", "SECRETKEY", "ACCESSKEY"];
/// A last word that says the value is about a secret and is none.
const ABOUT: [&str; 58] = [
    "ID",
    "IDS",
    "NAME",
    "NAMES",
    "FILE",
    "PATH",
    "DIR",
    "URL",
    "URI",
    "HOST",
    "PORT",
    "TTL",
    "EXPIRY",
    "EXPIRES",
    "EXPIRATION",
    "IN",
    "TIMEOUT",
    "LENGTH",
    "LEN",
    "SIZE",
    "LIMIT",
    "COUNT",
    "TYPE",
    "ALG",
    "ALGO",
    "ALGORITHM",
    "ENABLED",
    "DISABLED",
    "REQUIRED",
    "HEADER",
    "PREFIX",
    "SUFFIX",
    "ARN",
    "VERSION",
    "ISSUER",
    "AUDIENCE",
    "ENDPOINT",
    "FORMAT",
    "MIN",
    "MAX",
    "ROUNDS",
    "COST",
    "POLICY",
    "FIELD",
    "LABEL",
    "REGION",
    "SECONDS",
    "MINUTES",
    "HOURS",
    "DAYS",
    "AGE",
    "PROVIDER",
    "METHOD",
    "MODE",
    "STRATEGY",
    "BACKEND",
    "DRIVER",
    "LAYOUT",
];
/// A word before KEY that makes it a public or an ordinary one.
const ORDINARY_KEY: [&str; 20] = [
    "PUBLIC",
    "PUB",
    "PUBLISHABLE",
    "SITE",
    "SORT",
    "PARTITION",
    "FOREIGN",
    "CACHE",
    "ROUTING",
    "OBJECT",
    "GROUP",
    "IDEMPOTENCY",
    "ROW",
    "INDEX",
    "LOOKUP",
    "SHARD",
    "CONFIG",
    "REGISTRY",
    "HOT",
    "KNOWN",
];
/// Beginnings of names that front-end tools write into the page that everybody loads.
const PUBLIC: [&[&str]; 8] = [
    &["NEXT", "PUBLIC"],
    &["NUXT", "PUBLIC"],
    &["EXPO", "PUBLIC"],
    &["VITE"],
    &["REACT", "APP"],
    &["VUE", "APP"],
    &["GATSBY"],
    &["PUBLIC"],
];
/// Words of values that look random and are only names of things.
const IDENTIFIER: [&str; 20] = [
    "COMMIT",
    "SHA",
    "SHA256",
    "DIGEST",
    "CHECKSUM",
    "HASH",
    "REVISION",
    "REV",
    "VERSION",
    "ETAG",
    "UUID",
    "GUID",
    "ID",
    "IDS",
    "BUILD",
    "INTEGRITY",
    "PUBLIC",
    "FINGERPRINT",
    "TAG",
    "ARN",
];

/// The words of a name in capitals, cut at everything that is no letter or digit and at inner capitals.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(name.len());
    let mut before = ' ';
    for c in name.chars() {
        if before.is_ascii_lowercase() && c.is_ascii_uppercase() {
            spaced.push(' ');
        }
        spaced.push(if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { ' ' });
        before = c;
    }
    spaced.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

pub(super) fn is_public(words: &[String]) -> bool {
    PUBLIC
        .iter()
        .any(|begin| words.len() > begin.len() && begin.iter().zip(words).all(|(one, other)| one == other))
}

pub(super) fn is_identifier(words: &[String]) -> bool {
    words.iter().any(|word| IDENTIFIER.contains(&word.as_str()))
}

/// The word that says so.
pub(super) fn secret_word(words: &[String]) -> Option<&'static str> {
    if words.last().is_some_and(|last| ABOUT.contains(&last.as_str())) {
        return None;
    }
    if words.windows(2).any(|pair| pair[0] == "CONNECTION" && (pair[1] == "STRING" || pair[1] == "STR")) {
        return Some("CONNECTION_STRING");
    }
    let has = |word: &str| words.iter().any(|other| other == word);
    (0..words.len()).find_map(|place| {
        let (word, first, last) = (words[place].as_str(), place == 0, place + 1 == words.len());
        let before = if first { "" } else { words[place - 1].as_str() };
        let known = SECRET.iter().find(|known| **known == word).copied();
        match word {
            // Only at the end: KEY_COLUMN, SALT_LAKE_CITY and AUTH_SERVICE are about something else.
            "KEY" if !ends_here(words, place) || ORDINARY_KEY.contains(&before) => None,
            "KEYS"
                if !last
                    || !["API", "SECRET", "PRIVATE", "ENCRYPTION", "SIGNING", "ACCESS"].contains(&before) =>
            {
                None
            }
            "SALT" | "PEPPER" | "PASS" | "PEM" | "JWT" | "HMAC" if !last => None,
            "AUTH" if !last || before != "BASIC" => None,
            // PWD alone is the working directory.
            "PWD" if first => None,
            "PEM" | "TOKEN" if ["PUBLIC", "CERT", "CERTIFICATE", "CA"].contains(&before) => None,
            "TOKENS" if has("MAX") || has("MIN") || has("NUM") || has("TOTAL") => None,
            _ => known.or_else(|| ENDINGS.iter().find(|ending| word.ends_with(**ending)).copied()),
        }
    })
}

/// Last, or followed only by which one of several it is: `API_KEY_2`, `API_KEY_PROD`, `KEY_BASE64`, `SECRET_KEY_BASE`.
fn ends_here(words: &[String], place: usize) -> bool {
    const WHICH: [&str; 14] = [
        "PROD",
        "PRODUCTION",
        "STAGING",
        "DEV",
        "TEST",
        "LIVE",
        "OLD",
        "NEW",
        "CURRENT",
        "PREVIOUS",
        "BASE64",
        "B64",
        "BASE",
        "HEX",
    ];
    words[place + 1..]
        .iter()
        .all(|word| WHICH.contains(&word.as_str()) || word.bytes().all(|byte| byte.is_ascii_digit()))
}
