//! Which versions of each language an image is made for, and how a constraint of a manifest becomes one of them.

use super::model::Language;

/// The versions of one language, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Supported {
    pub language: Language,
    /// Where the repository pins nothing.
    pub default: &'static str,
    pub versions: &'static [&'static str],
}

/// The one place to add a version. A pin to another one is passed on as it is; a range ends at the newest of these.
pub const SUPPORTED: &[Supported] = &[
    Supported { language: Language::Node, default: "22", versions: &["18", "20", "22", "24"] },
    Supported {
        language: Language::Python,
        default: "3.12",
        versions: &["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"],
    },
    Supported {
        language: Language::Go,
        default: "1.24",
        versions: &["1.21", "1.22", "1.23", "1.24", "1.25"],
    },
    Supported { language: Language::Java, default: "21", versions: &["8", "11", "17", "21", "25"] },
    Supported { language: Language::Ruby, default: "3.3", versions: &["3.1", "3.2", "3.3", "3.4"] },
    Supported {
        language: Language::Rust,
        default: "1.95",
        versions: &["1.85", "1.86", "1.87", "1.88", "1.89", "1.90", "1.91", "1.92", "1.93", "1.94", "1.95"],
    },
    Supported { language: Language::Php, default: "8.3", versions: &["8.1", "8.2", "8.3", "8.4"] },
    Supported { language: Language::Dotnet, default: "8.0", versions: &["6.0", "8.0", "9.0", "10.0"] },
];

/// `None`: the language has no version (static files).
pub fn supported(language: Language) -> Option<&'static Supported> {
    SUPPORTED.iter().find(|it| it.language == language)
}

type Version = [u32; 3];
const END: Version = [u32::MAX; 3];

/// From `from`, up to but without `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: Version,
    to: Version,
}

impl Span {
    fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), to: self.to.min(other.to) }
    }

    fn is_empty(self) -> bool {
        self.from >= self.to
    }
}

const ANY: Span = Span { from: [0; 3], to: END };

/// Reduces a pin or a constraint (`20.11.1`, `>=18 <21`, `^3.11`, `~> 3.3`, `8.2.*`) to a tag. `None`: it pins nothing.
pub fn reduce(language: Language, text: &str) -> Option<String> {
    let supported = supported(language)?;
    let text = text.trim().trim_matches(['"', '\'']);
    if text.len() > 200 {
        return None;
    }
    let spans: Vec<Span> = text
        .split('|')
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .filter_map(|it| all_of(language, it))
        .collect();
    if spans.is_empty() || spans.contains(&ANY) {
        return None;
    }
    let inside = |version: &str| {
        number(version).is_some_and(|(from, parts)| {
            let whole = Span { from, to: after(from, parts) };
            spans.iter().any(|span| !span.and(whole).is_empty())
        })
    };
    // A JDK builds for every older release, so the oldest image that can is the closest one.
    if language == Language::Java {
        let least = spans.iter().map(|it| it.from).min()?;
        return Some(
            match supported.versions.iter().find(|it| number(it).is_some_and(|(v, _)| v[0] >= least[0])) {
                Some(version) => (*version).to_owned(),
                None => least[0].to_string(),
            },
        );
    }
    let newest = supported.versions.iter().rev().find(|it| inside(it));
    newest.map(|it| (*it).to_owned()).or_else(|| {
        let least = spans.iter().map(|it| it.from).min().filter(|it| *it != [0; 3])?;
        Some(if language == Language::Node {
            least[0].to_string()
        } else {
            format!("{}.{}", least[0], least[1])
        })
    })
}

fn all_of(language: Language, text: &str) -> Option<Span> {
    if let Some((from, to)) = text.split_once(" - ") {
        let ((from, _), (to, parts)) = (number(from)?, number(to)?);
        return Some(Span { from, to: after(to, parts) }).filter(|it| !it.is_empty());
    }
    let mut rest = text;
    let mut span = None;
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        if rest.is_empty() {
            return span.filter(|it: &Span| !it.is_empty());
        }
        let (operator, after_operator) = split_at(rest, |it| !"<>=!^~".contains(it));
        let (version, left) = split_at(after_operator.trim_start(), |it| it == ' ' || it == ',');
        rest = left;
        if operator.starts_with('!') {
            continue;
        }
        let one = one(language, operator, version)?;
        span = Some(span.unwrap_or(ANY).and(one));
    }
}

fn split_at(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

fn one(language: Language, operator: &str, text: &str) -> Option<Span> {
    if matches!(text.trim_start_matches('v'), "*" | "x" | "X" | "latest") {
        return Some(ANY);
    }
    let (version, parts) = number(text)?;
    let next = after(version, parts);
    Some(match operator {
        ">" => Span { from: if parts < 3 { next } else { version }, to: END },
        ">=" => Span { from: version, to: END },
        "<" => Span { from: [0; 3], to: version },
        "<=" => Span { from: [0; 3], to: next },
        "^" => {
            let kept = version.iter().position(|it| *it > 0).map_or(1, |it| it + 1);
            Span { from: version, to: after(version, kept) }
        }
        // npm and poetry keep the minor when there is one; the others may raise the last part that is given.
        "~" if matches!(language, Language::Node | Language::Python | Language::Rust) => {
            Span { from: version, to: after(version, parts.min(2)) }
        }
        "~" | "~>" | "~=" => Span { from: version, to: after(version, parts.saturating_sub(1).max(1)) },
        "" | "=" | "==" | "===" => Span { from: version, to: next },
        _ => return None,
    })
}

/// The numbers, and how many of them were given.
fn number(text: &str) -> Option<(Version, usize)> {
    let text = text.trim();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let mut version = [0; 3];
    let mut parts = 0;
    for (slot, part) in version.iter_mut().zip(text.split('.')) {
        let digits = &part[..part.find(|it: char| !it.is_ascii_digit()).unwrap_or(part.len())];
        let Ok(value) = digits.parse::<u32>() else { break };
        *slot = value.min(1_000_000);
        parts += 1;
        if digits.len() != part.len() {
            break;
        }
    }
    (parts > 0).then_some((version, parts))
}

/// The first version that differs in one of the first `parts` numbers.
fn after(version: Version, parts: usize) -> Version {
    match parts {
        1 => [version[0] + 1, 0, 0],
        2 => [version[0], version[1] + 1, 0],
        _ => [version[0], version[1], version[2] + 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_become_tags() {
        use Language::{Dotnet, Go, Java, Node, Php, Python, Ruby, Rust};
        for (language, text, tag) in [
            (Node, "v20.11.1", Some("20")),
            (Node, "16", Some("16")),
            (Node, ">=18 <21", Some("20")),
            (Node, ">=18.0.0", Some("24")),
            (Node, "^18 || ^20", Some("20")),
            (Node, "18 - 20", Some("20")),
            (Node, "20.x", Some("20")),
            (Node, "<21", Some("20")),
            (Node, ">22", Some("24")),
            (Node, "*", None),
            (Node, "latest", None),
            (Node, "", None),
            (Node, "~18.1", Some("18")),
            (Node, ">= 18, < 20", Some("18")),
            (Node, ">30 <20", None),
            (Python, "3.12.4", Some("3.12")),
            (Python, ">=3.10,<3.13", Some("3.12")),
            (Python, "^3.11", Some("3.14")),
            (Python, "~3.11", Some("3.11")),
            (Python, "~=3.11.2", Some("3.11")),
            (Python, ">=3.9,!=3.14.1", Some("3.14")),
            (Python, "2.7", Some("2.7")),
            (Go, "1.22.3", Some("1.22")),
            (Java, "1.8", Some("8")),
            (Java, "16", Some("17")),
            (Java, "21", Some("21")),
            (Java, "30", Some("30")),
            (Ruby, "~> 3.2", Some("3.4")),
            (Ruby, "~> 3.2.1", Some("3.2")),
            (Rust, ">=1.80", Some("1.95")),
            (Rust, "1.90.0", Some("1.90")),
            (Php, "^8.1", Some("8.4")),
            (Php, "~8.2.0", Some("8.2")),
            (Php, "8.2.*|8.3.*", Some("8.3")),
            (Php, ">=7.4", Some("8.4")),
            (Dotnet, "8.0", Some("8.0")),
        ] {
            let text_for_java = if language == Java { text.strip_prefix("1.").unwrap_or(text) } else { text };
            assert_eq!(reduce(language, text_for_java).as_deref(), tag, "{language} {text:?}");
        }
    }

    #[test]
    fn the_default_is_a_supported_one() {
        for it in SUPPORTED {
            assert!(it.versions.contains(&it.default), "{}", it.language);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[v0-9.<>=!^~|*x, -]{0,40}") {
            for language in Language::ALL {
                reduce(*language, &text);
            }
        }
    }
}
