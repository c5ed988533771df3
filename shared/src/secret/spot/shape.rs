//! What the shape of a value says.

use super::Why;

/// A prefix, the least length of what follows, and what it is. Ordered so that the longer prefix comes first.
const TOKENS: [(&str, usize, &str); 40] = [
    ("ghp_", 30, "a GitHub token"),
    ("gho_", 30, "a GitHub token"),
    ("ghu_", 30, "a GitHub token"),
    ("ghs_", 30, "a GitHub token"),
    ("ghr_", 30, "a GitHub token"),
    ("github_pat_", 30, "a GitHub token"),
    ("glpat-", 20, "a GitLab token"),
    ("glrt-", 20, "a GitLab token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("xoxa-", 20, "a Slack token"),
    ("xoxr-", 20, "a Slack token"),
    ("xoxs-", 20, "a Slack token"),
    ("xapp-", 20, "a Slack token"),
    ("https://hooks.slack.com/services/", 20, "a Slack webhook"),
    ("https://discord.com/api/webhooks/", 30, "a Discord webhook"),
    ("sk_live_", 16, "a Stripe key"),
    ("sk_test_", 16, "a Stripe key"),
    ("rk_live_", 16, "a Stripe key"),
    ("whsec_", 16, "a webhook secret"),
    ("sk-ant-", 20, "an Anthropic key"),
    ("sk-", 20, "an API key"),
    ("SG.", 40, "a SendGrid key"),
    ("npm_", 30, "an npm token"),
    ("pypi-", 40, "a PyPI token"),
    ("dop_v1_", 40, "a DigitalOcean token"),
    ("hf_", 30, "a Hugging Face token"),
    ("shpat_", 30, "a Shopify token"),
    ("sq0csp-", 30, "a Square secret"),
    ("dckr_pat_", 20, "a Docker token"),
    ("hvs.", 20, "a Vault token"),
    ("glsa_", 30, "a Grafana token"),
    ("lin_api_", 30, "a Linear key"),
    ("ntn_", 30, "a Notion token"),
    ("dp.st.", 30, "a Doppler token"),
    ("AGE-SECRET-KEY-1", 40, "an age key"),
    ("sbp_", 30, "a Supabase token"),
    ("nvapi-", 40, "an NVIDIA key"),
    ("ya29.", 30, "a Google token"),
    ("dm_", 30, "a DeployMind token"),
];
/// Parameters whose value is a secret, in connection strings and queries.
const PARAMETERS: [&str; 11] = [
    "password",
    "pwd",
    "passwd",
    "sslpassword",
    "accountkey",
    "sharedaccesskey",
    "sharedsecret",
    "access_token",
    "api_key",
    "apikey",
    "client_secret",
];
/// Beyond this nobody writes a token, and the search costs time.
const RANDOM_MAX: usize = 4096;

/// Shapes that are a secret whatever the name, even one that is written into a public page.
pub(super) fn certain(value: &str) -> Option<Why> {
    if value.contains("-----BEGIN ") && value.contains("PRIVATE KEY") {
        return Some(Why::PrivateKey);
    }
    let bare = ["Bearer ", "bearer ", "Basic ", "token "]
        .iter()
        .find_map(|scheme| value.strip_prefix(scheme))
        .unwrap_or(value)
        .trim_start();
    let token = TOKENS.iter().find(|(prefix, least, _)| {
        bare.strip_prefix(prefix).is_some_and(|body| {
            body.len() >= *least && body.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./=+".contains(&c))
        })
    });
    token.map(|(_, _, kind)| Why::Token(kind)).or_else(|| has_url_password(value).then_some(Why::UrlPassword))
}

/// Shapes that are a secret unless the name says that everybody may have it.
pub(super) fn usual(value: &str) -> Option<Why> {
    let google =
        value.strip_prefix("AIza").is_some_and(|body| body.len() == 35 && body.bytes().all(is_url_safe));
    if google {
        Some(Why::Token("a Google key"))
    } else if is_jwt(value.strip_prefix("Bearer ").unwrap_or(value)) {
        Some(Why::Jwt)
    } else {
        has_secret_parameter(value).then_some(Why::ConnectionString)
    }
}

/// Long enough, without spaces, and changing between letters and digits far more often than words do.
pub(super) fn random(value: &str) -> Option<Why> {
    let bytes = value.as_bytes();
    if !(24..=RANDOM_MAX).contains(&bytes.len()) || is_uuid(bytes) {
        return None;
    }
    let random = if bytes.iter().all(u8::is_ascii_hexdigit) {
        bytes.len() >= 32 && entropy(bytes) >= 3.0 && bytes.iter().any(u8::is_ascii_alphabetic)
    } else {
        let inside = |c: &u8| is_url_safe(*c) || b"+/=".contains(c);
        // Of random letters and digits about half the neighbours are of different kinds; of words one in ten.
        // Capitals alone also change often in a class name, so without a digit more is asked for.
        let least = if bytes.iter().any(u8::is_ascii_digit) { 0.25 } else { 0.4 };
        bytes.iter().all(inside)
            && entropy(bytes) >= 3.7
            && changes(bytes) as f64 >= least * bytes.len() as f64
    };
    random.then_some(Why::Random)
}

fn is_url_safe(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'-' || c == b'_'
}

/// `scheme://user:password@host`, also with several hosts and with no user. A placeholder is no password.
fn has_url_password(value: &str) -> bool {
    value.match_indices("://").any(|(place, mark)| {
        let scheme = value[..place].bytes().next_back().is_some_and(|c| c.is_ascii_alphanumeric());
        let rest = &value[place + mark.len()..];
        let end = rest.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c)).unwrap_or(rest.len());
        let password = rest[..end].rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
        scheme && password.is_some_and(|(_, password)| !is_placeholder(password))
    })
}

fn has_secret_parameter(value: &str) -> bool {
    value.split([';', '&', '?', ' ']).any(|part| {
        part.split_once('=').is_some_and(|(name, value)| {
            let name = name.trim().to_ascii_lowercase();
            PARAMETERS.contains(&name.as_str()) && !is_placeholder(value.trim())
        })
    })
}

fn is_placeholder(text: &str) -> bool {
    text.is_empty()
        || text.starts_with(['<', '{'])
        || text.starts_with("${")
        || text.bytes().all(|c| c == b'*')
}

/// Three parts of base64url, of which the first two are JSON objects.
fn is_jwt(value: &str) -> bool {
    let parts: Vec<&str> = value.splitn(4, '.').collect();
    parts.len() == 3
        && parts.iter().all(|part| part.len() >= 8 && part.bytes().all(is_url_safe))
        && parts[..2].iter().all(|part| part.starts_with("eyJ"))
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(place, c)| match place {
            8 | 13 | 18 | 23 => *c == b'-',
            _ => c.is_ascii_hexdigit(),
        })
}

/// Shannon's, in bits for each byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let total = bytes.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|p| -p * p.log2())
        .sum()
}

/// How often neighbours are of different kinds: small letters, capitals, digits. Separators do not count.
fn changes(bytes: &[u8]) -> usize {
    let kind = |c: u8| match c {
        b'a'..=b'z' => Some(0),
        b'A'..=b'Z' => Some(1),
        b'0'..=b'9' => Some(2),
        _ => None,
    };
    bytes
        .windows(2)
        .filter(|pair| matches!((kind(pair[0]), kind(pair[1])), (Some(a), Some(b)) if a != b))
        .count()
}
