use std::fmt::Write as _;

use super::*;

/// Text that is nothing but looks random, the same at every run.
fn body(length: usize, alphabet: &str) -> String {
    let alphabet = alphabet.as_bytes();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = String::new();
    for _ in 0..length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(alphabet[(state >> 33) as usize % alphabet.len()]));
    }
    text
}

const MIXED: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn alphabet(length: usize) -> String {
    MIXED.chars().cycle().take(length).collect()
}

fn pem(kind: &str) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----", alphabet(60))
}

fn jwt() -> String {
    let part = |text: &str| format!("eyJ{text}{}", "A".repeat(12));
    format!("{}.{}.{}", part("a"), part("b"), "C".repeat(43))
}

#[test]
fn names_that_say_secret() {
    let names = [
        "SECRET",
        "SESSION_SECRET",
        "client_secret",
        "clientSecret",
        "AWS_SECRET_ACCESS_KEY",
        "JWT_SECRET_KEY",
        "SECRET_KEY_BASE",
        "APP_SECRETS",
        "TOKEN",
        "GITHUB_TOKEN",
        "npm_token",
        "authToken",
        "AUTHTOKEN",
        "BOT_TOKENS",
        "PASSWORD",
        "DB_PASSWORD",
        "PGPASSWORD",
        "MYSQL_ROOT_PASSWORD",
        "REDIS_PASSWD",
        "DB_PWD",
        "SMTP_PASS",
        "SSH_PASSPHRASE",
        "GOOGLE_CREDENTIALS",
        "AWS_CREDS",
        "SENTRY_DSN",
        "API_KEY",
        "APIKEY",
        "STRIPE_API_KEY_2",
        "API_KEY_PROD",
        "ENCRYPTION_KEY",
        "ENCRYPTION_KEY_BASE64",
        "PRIVATE_KEY",
        "APP_KEY",
        "SIGNING_KEY",
        "API_KEYS",
        "PASSWORD_SALT",
        "BASIC_AUTH",
        "AZURE_STORAGE_CONNECTION_STRING",
        "OPENAI_API_KEY",
        "MAIL_PASSWORD_OLD",
    ];
    for name in names {
        assert!(matches!(look(name, "correct-horse"), Some(Why::Name(_))), "{name}");
    }
    assert_eq!(look("DB_PASSWORD", "x").expect("secret").to_string(), "its name says PASSWORD");
    assert!(names.len() >= 40);
}

#[test]
fn names_that_do_not() {
    let names = [
        "MONKEY",
        "KEYBOARD_LAYOUT",
        "PUBLIC_KEY",
        "JWT_PUBLIC_KEY",
        "NEXT_PUBLIC_API_KEY",
        "VITE_TOKEN",
        "REACT_APP_API_KEY",
        "EXPO_PUBLIC_SECRET",
        "PUBLIC_TOKEN",
        "STRIPE_PUBLISHABLE_KEY",
        "RECAPTCHA_SITE_KEY",
        "TURKEY",
        "SECRETARY_NAME",
        "TOKENIZER",
        "TOKENIZERS_PARALLELISM",
        "AUTHOR",
        "COMPASS",
        "BYPASS",
        "PWD",
        "OLDPWD",
        "KEYCLOAK_REALM",
        "KEY_COLUMN",
        "SORT_KEY",
        "PARTITION_KEY",
        "CACHE_KEY",
        "CACHE_KEY_PREFIX",
        "AWS_ACCESS_KEY_ID",
        "SECRET_NAME",
        "SECRET_ARN",
        "PASSWORD_FILE",
        "PASSWORD_MIN_LENGTH",
        "TOKEN_URL",
        "TOKEN_EXPIRES_IN",
        "JWT_TOKEN_TTL",
        "MAX_TOKENS",
        "OPENAI_MAX_TOKENS",
        "AUTH_SERVICE",
        "SALT_LAKE_CITY",
        "PASS_THROUGH",
        "KEYS_PER_PAGE",
        "DATABASE_HOST",
        "NODE_ENV",
        "LOG_LEVEL",
        "PORT",
        "TZ",
        "JWT_ALGORITHM",
        "SECRETS_PROVIDER",
        "KEYSPACE",
    ];
    for name in names {
        assert_eq!(look(name, "correct-horse"), None, "{name}");
    }
    for value in ["", "true", "FALSE", "off", "1", "null"] {
        assert_eq!(look("USE_TOKEN", value), None, "{value}");
    }
    assert!(names.len() >= 40);
}

#[test]
fn values_with_the_shape_of_a_secret() {
    let mut rows: Vec<(String, Why)> = Vec::new();
    for (prefix, length, kind) in [
        ("ghp", 36, "a GitHub token"),
        ("gho", 36, "a GitHub token"),
        ("ghs", 36, "a GitHub token"),
        ("github_pat", 60, "a GitHub token"),
        ("sk_live", 24, "a Stripe key"),
        ("rk_live", 24, "a Stripe key"),
        ("whsec", 32, "a webhook secret"),
        ("npm", 36, "an npm token"),
        ("dop_v1", 64, "a DigitalOcean token"),
        ("hf", 34, "a Hugging Face token"),
        ("shpat", 32, "a Shopify token"),
        ("dckr_pat", 27, "a Docker token"),
        ("glsa", 41, "a Grafana token"),
        ("dm", 40, "a DeployMind token"),
    ] {
        rows.push((format!("{prefix}_{}", "A".repeat(length)), Why::Token(kind)));
    }
    for (prefix, mark, length, kind) in [
        ("glpat", '-', 20, "a GitLab token"),
        ("xoxb", '-', 40, "a Slack token"),
        ("xapp", '-', 40, "a Slack token"),
        ("sk", '-', 48, "an API key"),
        ("sk-ant", '-', 48, "an Anthropic key"),
        ("pypi", '-', 60, "a PyPI token"),
        ("SG", '.', 66, "a SendGrid key"),
        ("hvs", '.', 24, "a Vault token"),
        ("ya29", '.', 60, "a Google token"),
    ] {
        rows.push((format!("{prefix}{mark}{}", "A".repeat(length)), Why::Token(kind)));
    }
    rows.push((format!("Bearer ghp_{}", "A".repeat(36)), Why::Token("a GitHub token")));
    rows.push((format!("AI{}{}", "za", "A".repeat(35)), Why::Token("a Google key")));
    rows.push((
        format!("https://hooks.slack.com/services/{}", "A".repeat(30)),
        Why::Token("a Slack webhook"),
    ));
    for kind in ["RSA", "EC", "OPENSSH", "ENCRYPTED"] {
        rows.push((pem(&format!("{kind} PRIVATE KEY")), Why::PrivateKey));
    }
    rows.push((pem("PRIVATE KEY").replace('\n', "\\n"), Why::PrivateKey));
    rows.push((jwt(), Why::Jwt));
    rows.push((format!("Bearer {}", jwt()), Why::Jwt));
    for url in [
        "postgres://app:hunter2@db:5432/app",
        "redis://:hunter2@cache:6379/0",
        "mongodb+srv://app:hunter2@a.example,b.example/app?w=1",
        "amqp://app:hunter2@queue/%2f",
        "https://app:hunter2@example.com/feed",
        "jdbc:postgresql://app:hunter2@db/app",
    ] {
        rows.push((url.to_owned(), Why::UrlPassword));
    }
    for text in [
        "Server=db;Database=app;User Id=app;Password=hunter2;",
        "host=db user=app password=hunter2",
        "jdbc:postgresql://db/app?user=app&password=hunter2",
        "DefaultEndpointsProtocol=https;AccountName=app;AccountKey=aHVudGVyMg==;",
        "https://api.example.com/v1?api_key=hunter2",
    ] {
        rows.push((text.to_owned(), Why::ConnectionString));
    }
    rows.push((body(32, MIXED), Why::Random));
    rows.push((body(64, "0123456789abcdef"), Why::Random));
    rows.push((body(44, &format!("{MIXED}+/")), Why::Random));
    rows.push((body(40, "abcdefghijklmnopqrstuvwxyz0123456789"), Why::Random));
    for (value, why) in &rows {
        assert_eq!(look("SETTING", value), Some(*why), "{value}");
        let mut shown = String::new();
        write!(shown, "{why} {why:?}").expect("write");
        assert!(!shown.contains(value.as_str()));
    }
    assert!(rows.len() >= 40, "{}", rows.len());
}

#[test]
fn values_that_only_look_busy() {
    let hex = body(40, "0123456789abcdef");
    let values = [
        "production",
        "8080",
        "0.0.0.0:8080",
        "info,sqlx=warn",
        "eu-west-1",
        "https://example.com/path?page=2",
        "postgres://db:5432/app",
        "postgres://app@db/app",
        "postgres://app:<password>@db/app",
        "postgres://app:${DB_PASSWORD}@db/app",
        "redis://cache:6379/0",
        "https://example.com/a:b@2x.png",
        "https://github.com/example/shop.git",
        "git@github.com:example/shop.git",
        "docker.io/library/postgres:16.4",
        "/var/lib/app/data/uploads/2024/images",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
        "com.example.shop.checkout.PaymentService",
        "ExampleShopCheckoutPaymentServiceFactory",
        "my-very-long-service-name-in-production-2024",
        "MY_VERY_LONG_CONSTANT_NAME_WITH_VERSION_2",
        "018f3a5e-7b1c-7c3d-9e4f-5a6b7c8d9e0f",
        "The quick brown fox jumps over the lazy dog",
        "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t",
        "{\"level\":\"info\",\"json\":true,\"fields\":[1,2,3]}",
        "00000000000000000000000000000000",
        "11111111111111111111111111111111111",
        "12345678901234567890123456789012",
        "2024-02-29T12:30:00.000+01:00",
        "arn:aws:iam::123456789012:role/deploy-role",
        "s3://example-bucket/prefix/",
        "*.example.com,localhost,127.0.0.1,::1,10.0.0.0/8",
        "smtp.example.com",
        "no-reply@example.com",
        "Example Shop <no-reply@example.com>",
        "--max-old-space-size=4096 --enable-source-maps",
        "0 3 * * 1-5",
        "application/json; charset=utf-8",
        "en-GB,en;q=0.9,de;q=0.8",
        "sk-short",
        "ghp_short",
        "eyJhbGciOiJub25lIn0",
        "a.b.c",
        "Server=db;Database=app;Password=;",
        "xoxb-",
        "UTC+02:00/Europe/Amsterdam/Default",
    ];
    for value in values {
        assert_eq!(look("SETTING", value), None, "{value}");
    }
    for kind in ["CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY"] {
        assert_eq!(look("SETTING", &pem(kind)), None, "{kind}");
    }
    for name in ["GIT_COMMIT", "IMAGE_DIGEST", "BUILD_SHA", "TENANT_ID", "NEXT_PUBLIC_SENTRY_RELEASE"] {
        assert_eq!(look(name, &hex), None, "{name}");
    }
    assert!(values.len() >= 40);
}

#[test]
fn a_public_name_does_not_excuse_what_is_certainly_secret() {
    assert_eq!(look("NEXT_PUBLIC_X", &jwt()), None);
    assert_eq!(look("NEXT_PUBLIC_X", &body(40, MIXED)), None);
    assert_eq!(look("NEXT_PUBLIC_X", "postgres://app:hunter2@db/app"), Some(Why::UrlPassword));
    assert_eq!(
        look("NEXT_PUBLIC_X", &format!("sk_live_{}", "A".repeat(24))),
        Some(Why::Token("a Stripe key"))
    );
}

proptest::proptest! {
    #[test]
    fn any_text_is_looked_at(name in ".{0,40}", value in ".{0,400}") {
        look(&name, &value);
    }
}
