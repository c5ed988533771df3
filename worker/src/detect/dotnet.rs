//! .NET: the project of the web SDK among the project files.

use std::sync::LazyLock;

use deploymind_shared::error::Error;
use regex::Regex;
use roxmltree::Document;

use super::draft::{Draft, Look, argv};
use super::manifest;
use super::model::{Language, PackageManager};
use super::ports::{self, pattern};
use super::tree::{Tree, clip};

/// Project files that are read at most.
const PROJECTS: usize = 32;

static TARGET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^net(?:coreapp)?(\d{1,2}\.\d)"));

struct Project {
    file: String,
    web: bool,
    runs: bool,
    target: Option<String>,
    assembly: String,
}

pub(super) fn look(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let tree = look.tree;
    let files: Vec<&str> = tree
        .files()
        .iter()
        .map(String::as_str)
        .filter(|it| it.ends_with(".csproj") || it.ends_with(".fsproj") || it.ends_with(".vbproj"))
        .take(PROJECTS)
        .collect();
    // Projects deep inside of another language's repository do not make it one of .NET.
    let solution =
        tree.files().iter().any(|it| !it.contains('/') && (it.ends_with(".sln") || it.ends_with(".slnx")));
    let near = files.iter().any(|it| !it.contains('/'));
    if files.is_empty() || !(solution || near) {
        return Ok(None);
    }
    let mut projects = Vec::new();
    for file in files {
        projects.extend(manifest::xml(tree, file, |document| read(document, file))?);
    }
    let mut draft = Draft::new(Language::Dotnet);
    draft.found.package_manager = Some(PackageManager::Nuget);
    let Some(project) = choose(&projects, look.wanted()) else {
        let names: Vec<&str> =
            projects.iter().filter(|it| it.web || it.runs).map(|it| it.file.as_str()).take(5).collect();
        let first = projects.first().map(|it| it.file.clone()).unwrap_or_default();
        let says = if names.is_empty() {
            "is a library".to_owned()
        } else {
            format!("is not the only program: {}", clip(&names.join(", ")))
        };
        draft.because(&first, says);
        draft.port(look, None, Some(8080));
        draft.start(look, None);
        return Ok(Some(draft));
    };
    draft.because(&project.file, "is the project that starts");
    let folder = project.file.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    draft.found.locked = tree.is_file(&format!("{folder}packages.lock.json"));
    version(tree, project, &mut draft)?;
    if project.web {
        draft.framework("aspnetcore", &project.file, "is of Microsoft.NET.Sdk.Web");
    }
    let program = format!("{folder}Program.cs");
    let said = ports::in_source(tree, Language::Dotnet, &[&program]);
    draft.port(look, said, Some(8080));
    draft.found.entry_point = Some(project.file.clone());
    draft.found.build = Some(argv(&["dotnet", "publish", &project.file, "-c", "Release"]));
    let start = argv(&["dotnet", &format!("{}.dll", project.assembly)]);
    draft.start(look, Some((project.file.clone(), start)));
    Ok(Some(draft))
}

fn version(tree: &Tree, project: &Project, draft: &mut Draft) -> Result<(), Error> {
    let shared = "Directory.Build.props";
    let number = |it: &str| Some(TARGET.captures(it)?.get(1)?.as_str().to_owned());
    if let Some(target) = project.target.as_deref().and_then(number) {
        draft.version(&project.file, &target);
    } else if let Some(Some(target)) = manifest::xml(tree, shared, target)? {
        draft.version(shared, &number(&target).unwrap_or_default());
    } else if let Some(sdk) = manifest::json(tree, "global.json")?
        .and_then(|it| Some(it.get("sdk")?.get("version")?.as_str()?.to_owned()))
    {
        draft.version("global.json", &sdk);
    }
    Ok(())
}

fn property<'a>(document: &'a Document<'_>, name: &str) -> Option<&'a str> {
    let node = document.descendants().find(|it| it.tag_name().name() == name)?;
    node.text().map(str::trim).filter(|it| !it.is_empty() && !it.contains('$'))
}

fn target(document: &Document<'_>) -> Option<String> {
    if let Some(one) = property(document, "TargetFramework") {
        return Some(one.to_owned());
    }
    let number = |it: &str| TARGET.captures(it)?.get(1)?.as_str().parse::<f32>().ok();
    let all = property(document, "TargetFrameworks")?.split(';').map(str::trim);
    let all = all.filter_map(|it| Some((number(it)?, it)));
    all.max_by(|a, b| a.0.total_cmp(&b.0)).map(|it| it.1.to_owned())
}

fn read(document: &Document<'_>, file: &str) -> Project {
    let root = document.root_element();
    let named =
        root.children().filter(|it| it.tag_name().name() == "Sdk").find_map(|it| it.attribute("Name"));
    let web = root.attribute("Sdk").or(named).is_some_and(|it| it.starts_with("Microsoft.NET.Sdk.Web"));
    let test = property(document, "IsTestProject") == Some("true")
        || document.descendants().any(|it| it.attribute("Include") == Some("Microsoft.NET.Test.Sdk"));
    let runs = property(document, "OutputType").is_some_and(|it| it.eq_ignore_ascii_case("exe"));
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.rsplit_once('.').map_or(name, |(name, _)| name);
    Project {
        file: file.to_owned(),
        web: web && !test,
        runs: runs && !test,
        target: target(document),
        assembly: property(document, "AssemblyName").unwrap_or(name).to_owned(),
    }
}

fn choose<'a>(projects: &'a [Project], wanted: Option<&str>) -> Option<&'a Project> {
    let only = |chosen: Vec<&'a Project>| (chosen.len() == 1).then(|| chosen[0]);
    let wanted = wanted.map(|it| it.strip_suffix(".dll").unwrap_or(it));
    wanted
        .and_then(|name| projects.iter().find(|it| it.assembly == name))
        .or_else(|| only(projects.iter().filter(|it| it.web && !it.file.contains('/')).collect()))
        .or_else(|| only(projects.iter().filter(|it| it.web).collect()))
        .or_else(|| {
            projects.iter().all(|it| !it.web).then(|| only(projects.iter().filter(|it| it.runs).collect()))?
        })
}
