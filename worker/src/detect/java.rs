//! Java: Maven or Gradle, and the jar they make.

use std::sync::LazyLock;

use deploymind_shared::error::Error;
use regex::Regex;
use roxmltree::{Document, Node};

use super::draft::{Draft, Look, argv};
use super::manifest;
use super::model::{Language, PackageManager};
use super::ports::{self, pattern};
use super::tree::{Tree, clip};

const POM: &str = "pom.xml";
const GRADLE: &[&str] = &["build.gradle.kts", "build.gradle"];
/// Modules of a Maven build that are read at most.
const MODULES: usize = 32;
/// How far an element is looked for among others, so that no pom takes time in the square of its size.
const WIDTH: usize = 1_000;
/// Dependencies and plugins that are looked at.
const NEEDS: usize = 2_000;
/// Elements around a dependency, of which a real pom has six.
const DEPTH: usize = 12;

static TOOLCHAIN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:JavaLanguageVersion\.of\(\s*|jvmToolchain\(\s*|(?:source|target)Compatibility\s*=?\s*['"]?(?:JavaVersion\.VERSION_)?(?:1[._])?)(\d{1,2})\b"#,
    )
});
static PROJECT: LazyLock<Regex> = LazyLock::new(|| pattern(r#"rootProject\.name\s*=\s*['"]([\w.-]+)['"]"#));
static VERSION: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?m)^\s*version\s*=?\s*['"]([\w.-]+)['"]"#));

pub(super) fn look(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let tree = look.tree;
    if let Some(pom) = pom(tree, POM)? {
        return maven(look, pom).map(Some);
    }
    let Some(file) = tree.first(GRADLE) else { return Ok(None) };
    let text = tree.text(file)?.unwrap_or_default();
    Ok(Some(gradle(look, file, &text)))
}

fn pinned_elsewhere(tree: &Tree, draft: &mut Draft) {
    let tool = manifest::tool_version(tree, &["java"]);
    let tool = tool.map(|it| it.trim_start_matches(|it: char| !it.is_ascii_digit()).to_owned());
    let system = tree
        .line("system.properties")
        .and_then(|it| Some(it.strip_prefix("java.runtime.version=")?.to_owned()));
    let pins = [
        (".java-version", tree.line(".java-version")),
        (".tool-versions", tool),
        ("system.properties", system),
    ];
    if let Some((file, Some(pinned))) = pins.into_iter().find(|it| it.1.is_some()) {
        draft.version(file, pinned.strip_prefix("1.").unwrap_or(&pinned));
    }
}

#[derive(Default)]
struct Pom {
    packaging: Option<String>,
    java: Option<String>,
    /// Framework and what says so.
    framework: Option<(&'static str, String)>,
    /// The build makes a jar that runs by itself.
    runs: bool,
    jar: String,
    modules: Vec<String>,
}

fn pom(tree: &Tree, file: &str) -> Result<Option<Pom>, Error> {
    manifest::xml(tree, file, read_pom)
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().take(WIDTH).find(|it| it.tag_name().name() == name)
}

fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text().map(str::trim).filter(|it| !it.is_empty())
}

fn read_pom(document: &Document<'_>) -> Pom {
    let project = document.root_element();
    let properties = child(project, "properties");
    let property = |name: &str| text(properties?, name);
    // One step: a property that names another one is rare, and a circle would never end.
    let value = |text: &str| -> String {
        let named = text.strip_prefix("${").and_then(|it| it.strip_suffix('}'));
        named.and_then(property).unwrap_or(text).to_owned()
    };
    let mut pom = Pom::default();
    let release =
        ["maven.compiler.release", "java.version", "maven.compiler.target", "maven.compiler.source"];
    let configured = || {
        project
            .descendants()
            .find(|it| it.tag_name().name() == "release" && it.text().is_some_and(|it| it.len() < 20))?
            .text()
    };
    pom.java = release.iter().find_map(|it| property(it)).or_else(configured).map(value);
    pom.packaging = text(project, "packaging").map(str::to_owned);
    for node in project.descendants().filter(|it| it.tag_name().name() == "groupId").take(NEEDS) {
        let Some(parent) = node.parent_element() else { continue };
        // What a parent only manages is not used yet.
        if parent
            .ancestors()
            .take(DEPTH)
            .any(|it| matches!(it.tag_name().name(), "dependencyManagement" | "pluginManagement"))
        {
            continue;
        }
        let group = node.text().unwrap_or_default().trim();
        let artifact = text(parent, "artifactId").unwrap_or_default();
        let version = text(parent, "version").map(value).unwrap_or_default();
        let framework = if group == "org.springframework.boot" {
            Some("spring-boot")
        } else if group.starts_with("io.quarkus") {
            Some("quarkus")
        } else if group.starts_with("io.micronaut") {
            Some("micronaut")
        } else {
            None
        };
        if let Some(framework) = framework {
            pom.framework.get_or_insert((framework, format!("uses {} {}", clip(artifact), clip(&version))));
            let plugin = parent.tag_name().name() == "plugin";
            pom.runs |= plugin || artifact.contains("maven-plugin");
        }
        let packs = matches!(artifact, "maven-shade-plugin" | "maven-assembly-plugin");
        pom.runs |= packs && parent.tag_name().name() == "plugin";
    }
    let plain =
        |it: &String| it.chars().all(|it| it.is_ascii_alphanumeric() || "._-".contains(it)) && !it.is_empty();
    let final_name = child(project, "build").and_then(|it| text(it, "finalName")).map(value).filter(plain);
    let versioned = || {
        let artifact = text(project, "artifactId").map(value).filter(plain)?;
        let version = text(project, "version").or_else(|| text(child(project, "parent")?, "version"));
        let version = version.map(value).filter(plain)?;
        Some(format!("{artifact}-{version}"))
    };
    let extension = if pom.packaging.as_deref() == Some("war") { "war" } else { "jar" };
    pom.jar = match pom.framework {
        Some(("quarkus", _)) => "quarkus-app/quarkus-run.jar".into(),
        _ => format!("{}.{extension}", final_name.or_else(versioned).unwrap_or_else(|| "*".into())),
    };
    let modules = child(project, "modules").into_iter().flat_map(|it| it.children());
    pom.modules = modules
        .filter_map(|it| Some(it.text()?.trim().to_owned()))
        .filter(|it| !it.is_empty())
        .take(MODULES)
        .collect();
    pom
}

fn maven(look: &Look<'_>, root: Pom) -> Result<Draft, Error> {
    let tree = look.tree;
    let mut draft = Draft::new(Language::Java);
    draft.because(POM, "is the manifest of a Maven build");
    draft.found.package_manager = Some(PackageManager::Maven);
    let java = root.java.clone();
    let wrapper = tree.is_file("mvnw") && tree.is_file(".mvn/wrapper/maven-wrapper.properties");
    if wrapper {
        draft.because("mvnw", "brings its own Maven");
    }
    let program = if wrapper { "./mvnw" } else { "mvn" };

    let (mut folder, mut chosen) = (String::new(), root);
    if chosen.packaging.as_deref() == Some("pom") {
        for module in std::mem::take(&mut chosen.modules) {
            if module.contains("..") {
                continue;
            }
            let file = format!("{module}/{POM}");
            if let Some(it) = pom(tree, &file)?.filter(|it| it.runs) {
                folder = format!("{module}/");
                chosen = it;
                break;
            }
        }
    }
    let file = format!("{folder}{POM}");
    match chosen.java.or(java) {
        Some(pinned) if !pinned.starts_with('$') => {
            draft.version(&file, pinned.strip_prefix("1.").unwrap_or(&pinned))
        }
        _ => pinned_elsewhere(tree, &mut draft),
    }
    draft.found.build = Some(match folder.trim_end_matches('/') {
        "" => argv(&[program, "-B", "-DskipTests", "package"]),
        module => argv(&[program, "-B", "-DskipTests", "-pl", module, "-am", "package"]),
    });
    if let Some((name, says)) = chosen.framework {
        draft.framework(name, &file, says.trim_end());
    }
    let jar = format!("{folder}target/{}", chosen.jar);
    finish(look, &mut draft, &folder, file, chosen.runs.then_some(jar));
    Ok(draft)
}

fn gradle(look: &Look<'_>, file: &str, text: &str) -> Draft {
    let tree = look.tree;
    let mut draft = Draft::new(Language::Java);
    draft.because(file, "is the manifest of a Gradle build");
    draft.found.package_manager = Some(PackageManager::Gradle);
    draft.found.locked = tree.is_file("gradle.lockfile");
    if let Some(version) = TOOLCHAIN.captures(text).and_then(|it| it.get(1)) {
        draft.version(file, version.as_str());
    } else {
        pinned_elsewhere(tree, &mut draft);
    }
    let wrapper = tree.is_file("gradlew") && tree.is_file("gradle/wrapper/gradle-wrapper.properties");
    if wrapper {
        draft.because("gradlew", "brings its own Gradle");
    }
    let program = if wrapper { "./gradlew" } else { "gradle" };
    let settings = tree.first(&["settings.gradle.kts", "settings.gradle"]).and_then(|it| tree.source(it));
    let name = settings.and_then(|it| Some(PROJECT.captures(&it)?.get(1)?.as_str().to_owned()));
    let version = VERSION.captures(text).and_then(|it| it.get(1)).map(|it| it.as_str());
    let jar = match (name, version) {
        (Some(name), Some(version)) => format!("build/libs/{name}-{version}.jar"),
        (Some(name), None) => format!("build/libs/{name}.jar"),
        // Without a name, Gradle takes that of the folder it runs in.
        (None, _) => "build/libs/*.jar".into(),
    };
    let (task, jar) = if text.contains("org.springframework.boot") {
        draft.framework("spring-boot", file, "applies the plugin org.springframework.boot");
        ("bootJar", Some(jar))
    } else if text.contains("io.quarkus") {
        draft.framework("quarkus", file, "applies the plugin io.quarkus");
        ("quarkusBuild", Some("build/quarkus-app/quarkus-run.jar".to_owned()))
    } else if text.contains("com.github.johnrengelman.shadow") || text.contains("com.gradleup.shadow") {
        ("shadowJar", Some("build/libs/*-all.jar".to_owned()))
    } else {
        ("assemble", text.contains("Main-Class").then_some(jar))
    };
    draft.found.build = Some(argv(&[program, "--no-daemon", task]));
    finish(look, &mut draft, "", file.to_owned(), jar);
    draft
}

fn finish(look: &Look<'_>, draft: &mut Draft, folder: &str, file: String, jar: Option<String>) {
    draft.port(look, ports::in_java_configuration(look.tree, folder), Some(8080));
    draft.found.entry_point = jar.clone();
    draft.start(look, jar.map(|it| (file, argv(&["java", "-jar", &it]))));
}
