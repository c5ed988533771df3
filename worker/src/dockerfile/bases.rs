//! The base images, all in one place, and what a version must look like to become part of a tag.

use deploymind_shared::error::{Code, Error};

use crate::detect::model::{Language, PackageManager};
use crate::detect::versions::supported;

/// Where a program is built, and where it runs. A language without a version of its own has fixed tags.
pub(super) struct Bases {
    pub(super) build: String,
    pub(super) run: String,
}

/// Build image, run image. `{}` is the version.
const TABLE: &[(Language, &str, &str)] = &[
    (Language::Node, "node:{}-bookworm-slim", "node:{}-bookworm-slim"),
    (Language::Python, "python:{}-slim-bookworm", "python:{}-slim-bookworm"),
    (Language::Go, "golang:{}-bookworm", DEBIAN),
    (Language::Java, "maven:3.9-eclipse-temurin-{}", "eclipse-temurin:{}-jre"),
    (Language::Ruby, "ruby:{}-slim-bookworm", "ruby:{}-slim-bookworm"),
    (Language::Rust, "rust:{}-slim-bookworm", DEBIAN),
    (Language::Php, "composer:2", "php:{}-apache-bookworm"),
    (Language::Dotnet, "mcr.microsoft.com/dotnet/sdk:{}", "mcr.microsoft.com/dotnet/aspnet:{}"),
    (Language::Static, NGINX, NGINX),
];

const DEBIAN: &str = "debian:bookworm-slim";
pub(super) const NGINX: &str = "nginxinc/nginx-unprivileged:1.29-bookworm";
const GRADLE: &str = "gradle:8-jdk{}";
const BUN: &str = "oven/bun:1-debian";

pub(super) fn bases(
    language: Language,
    manager: Option<PackageManager>,
    version: Option<&str>,
) -> Result<Bases, Error> {
    let Some((_, build, run)) = TABLE.iter().find(|row| row.0 == language) else {
        return Err(Error::new(
            Code::LanguageUnknown,
            format!("no base image is known for {language}: commit a Dockerfile of your own"),
        ));
    };
    let default = supported(language).map_or("", |known| known.default);
    let version = version.unwrap_or(default);
    if !default.is_empty() && !is_version(version) {
        return Err(Error::new(
            Code::ManifestInvalid,
            format!(
                "the {language} version that the repository pins is not numbers and dots: pin one like {default}"
            ),
        ));
    }
    let (build, run) = match (language, manager) {
        (Language::Java, Some(PackageManager::Gradle)) => (GRADLE, *run),
        (Language::Node, Some(PackageManager::Bun)) => (BUN, BUN),
        _ => (*build, *run),
    };
    Ok(Bases { build: build.replace("{}", version), run: run.replace("{}", version) })
}

/// One to three numbers of up to four digits.
fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() <= 3
        && parts
            .iter()
            .all(|part| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_its_images() {
        for language in Language::ALL {
            let found = bases(*language, None, None).unwrap();
            assert!(found.build.contains(':') && found.run.contains(':'), "{language}");
            assert!(!found.build.contains('{') && !found.run.contains('{'), "{language}");
        }
        let gradle = bases(Language::Java, Some(PackageManager::Gradle), Some("17")).unwrap();
        assert_eq!(
            (gradle.build.as_str(), gradle.run.as_str()),
            ("gradle:8-jdk17", "eclipse-temurin:17-jre")
        );
    }

    #[test]
    fn a_version_is_numbers_and_dots() {
        for good in ["22", "3.12", "1.24.3", "8.0"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", ".", "3.", "22\nUSER root", "latest", "3.12 AS x", "1.2.3.4", "12345", "٣"] {
            assert!(!is_version(bad), "{bad:?}");
        }
    }
}
