//! From a detection to the words of a template: which image, which command, which folder, each already escaped.

use deploymind_shared::error::{Code, Error};
use serde::Serialize;

use super::bases::{self, NGINX};
use super::generate::GenerateOptions;
use super::words;
use crate::detect::model::{Detection, Language, PackageManager};

/// What the templates see. A field that a language has no use for stays empty.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    #[serde(skip)]
    pub(super) template: &'static str,
    buildkit: bool,
    cache_scope: String,
    args: Vec<String>,
    build_image: String,
    run_image: String,
    nginx_image: &'static str,
    manager: &'static str,
    locked: bool,
    framework: String,
    port: u16,
    /// Exec form of CMD.
    cmd: String,
    /// The build step, for a shell.
    build: Option<String>,
    /// What is compiled, for a shell.
    entry: Option<String>,
    /// What a program of one binary is called.
    binary: String,
    /// Only `node` itself runs it: what is for development may go.
    production: bool,
    /// Folder of finished files that a build step makes, for a shell.
    output: Option<String>,
    /// A folder of the repository, as COPY takes it; or the one that PHP serves.
    folder: String,
    /// A file of the repository that lists what to install, as COPY takes it.
    manifest: Option<String>,
    /// It includes others of a folder `requirements`.
    requirements_folder: bool,
    /// The module that reads TOML.
    toml: &'static str,
}

impl Plan {
    pub(super) fn new(detection: &Detection, options: &GenerateOptions) -> Result<Self, Error> {
        let Some(language) = detection.language else {
            return Err(Error::new(
                Code::LanguageUnknown,
                "no known language, so no Dockerfile can be written: commit one of your own",
            ));
        };
        let site = is_site(detection, language);
        // A site that is built is built by Node.js.
        let builder = if site && detection.build.is_some() { Language::Node } else { language };
        let bases = bases::bases(builder, detection.package_manager, detection.version.as_deref())?;
        let manager = detection.package_manager.map_or("", PackageManager::as_str);
        let mut plan = Self {
            template: template(language, site),
            buildkit: options.buildkit,
            cache_scope: options.cache_scope.clone(),
            args: options.build_variables.clone(),
            build_image: bases.build,
            run_image: bases.run,
            nginx_image: NGINX,
            manager,
            locked: detection.locked,
            framework: detection.framework.clone().unwrap_or_default(),
            port: detection.port.filter(|port| *port > 0).unwrap_or_else(|| default_port(language)),
            cmd: String::new(),
            build: detection
                .build
                .as_deref()
                .map(|argv| words::shell_line("build command", argv))
                .transpose()?,
            entry: None,
            binary: String::new(),
            production: false,
            output: None,
            folder: String::new(),
            manifest: None,
            requirements_folder: false,
            toml: "tomllib",
        };
        if site {
            plan.site(detection)?;
            return Ok(plan);
        }
        match language {
            Language::Node | Language::Static => plan.node(detection)?,
            Language::Python => plan.python(detection)?,
            Language::Go | Language::Rust => plan.binary(detection, language)?,
            Language::Java => plan.java(detection)?,
            Language::Ruby => {
                plan.cmd = words::exec_form("start command", &with_port(start(detection)?, plan.port))?
            }
            Language::Php => plan.php(detection)?,
            Language::Dotnet => plan.dotnet(detection)?,
        }
        Ok(plan)
    }

    fn site(&mut self, detection: &Detection) -> Result<(), Error> {
        let output = detection.output.as_deref().unwrap_or(if self.build.is_some() { "dist" } else { "." });
        let output = words::plain("folder of the finished files", output)?;
        self.output = Some(words::shell(output));
        if self.build.is_none() {
            self.folder = path("folder of the finished files", output)?;
        }
        Ok(())
    }

    fn node(&mut self, detection: &Detection) -> Result<(), Error> {
        let mut start = start(detection)?;
        let bun = detection.package_manager == Some(PackageManager::Bun);
        let words: Vec<&str> = start.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["node", ..] if bun => start[0] = "bun".into(),
            // The image that runs has npm; it runs a script in the same way, and the others only for downloading.
            ["yarn" | "pnpm", "run", _, ..] => start[0] = "npm".into(),
            ["yarn" | "pnpm", "start"] => start = vec!["npm".into(), "run".into(), "start".into()],
            // The program itself gets the signals; its folder is on the path.
            ["npx", program, ..] if !program.starts_with('-') => {
                start.remove(0);
            }
            _ => {}
        }
        self.production = start[0] == "node";
        self.cmd = words::exec_form("start command", &start)?;
        Ok(())
    }

    fn python(&mut self, detection: &Detection) -> Result<(), Error> {
        let start = match (&detection.start, detection.entry_point.as_deref()) {
            (None, Some(entry)) if entry.ends_with(".py") => vec!["python".to_owned(), entry.to_owned()],
            _ => start(detection)?,
        };
        self.cmd = words::exec_form("start command", &with_port(start, self.port))?;
        let minor = detection.version.as_deref().and_then(|it| it.split('.').nth(1)?.parse::<u32>().ok());
        if minor.is_some_and(|minor| minor < 11) {
            self.toml = "pip._vendor.tomli";
        }
        let named = |wanted: &str| detection.reasons.iter().any(|reason| reason.file == wanted);
        let inside =
            detection.reasons.iter().map(|it| it.file.as_str()).find(|it| it.starts_with("requirements/"));
        self.requirements_folder = inside.is_some();
        self.manifest = if named("requirements.txt") {
            Some("requirements.txt".to_owned())
        } else if let Some(inside) = inside {
            path("list of requirements", inside).ok()
        } else {
            ["pyproject.toml", "setup.py"].into_iter().find(|it| named(it)).map(str::to_owned)
        };
        Ok(())
    }

    fn binary(&mut self, detection: &Detection, language: Language) -> Result<(), Error> {
        let entry = detection.entry_point.as_deref();
        if let Some(entry) = entry {
            words::plain("entry point", entry)?;
        }
        self.entry = match language {
            Language::Rust => entry.filter(|it| is_name(it)).map(str::to_owned),
            // `--`-less `go build` would take a leading dash for a flag.
            _ => Some(entry.filter(|it| !it.starts_with('-')).map_or_else(|| ".".to_owned(), words::shell)),
        };
        let name = entry.and_then(|it| it.rsplit('/').next()).filter(|it| is_name(it));
        let said = detection.start.as_deref().unwrap_or_default();
        let program = said.first().and_then(|it| it.rsplit('/').next()).unwrap_or_default();
        let (name, argv): (&str, Option<Vec<String>>) = match program {
            "sh" | "bash" | "dash" => (name.unwrap_or("server"), Some(said.to_vec())),
            "go" | "cargo" | "" => (name.unwrap_or("server"), None),
            program => {
                let name = name.or_else(|| is_name(program).then_some(program)).unwrap_or("server");
                let program = std::iter::once(format!("/app/{name}"));
                (name, Some(program.chain(said[1..].iter().cloned()).collect()))
            }
        };
        let argv = argv.unwrap_or_else(|| vec![format!("/app/{name}")]);
        name.clone_into(&mut self.binary);
        self.cmd = words::exec_form("start command", &argv)?;
        Ok(())
    }

    fn java(&mut self, detection: &Detection) -> Result<(), Error> {
        let gradle = detection.package_manager == Some(PackageManager::Gradle);
        let fallback = match (gradle, self.framework == "quarkus") {
            (true, true) => "build/quarkus-app/quarkus-run.jar",
            (true, false) => "build/libs/*.jar",
            (false, true) => "target/quarkus-app/quarkus-run.jar",
            (false, false) => "target/*.jar",
        };
        let jar = words::plain("entry point", detection.entry_point.as_deref().unwrap_or(fallback))?;
        let (folder, file) = jar.rsplit_once('/').unwrap_or((".", jar));
        self.output = Some(words::shell(folder));
        // The image brings Maven; the repository's own script would only download it again.
        if let Some(argv) = &detection.build
            && argv.first().is_some_and(|it| it == "./mvnw")
        {
            let argv: Vec<String> = std::iter::once("mvn".into()).chain(argv[1..].iter().cloned()).collect();
            self.build = Some(words::shell_line("build command", &argv)?);
        }
        let said = detection.start.as_deref().unwrap_or_default();
        self.cmd = match said {
            [java, flag, _] if java == "java" && flag == "-jar" => self.java_command(folder, file),
            [] => self.java_command(folder, file),
            other => words::exec_form("start command", other)?,
        };
        Ok(())
    }

    fn java_command(&self, folder: &str, file: &str) -> String {
        // A part that only the build knows is left to the shell; the template copies one jar.
        let quoted = |part: &str| if part.is_empty() { String::new() } else { words::shell(part) };
        let file = file.split('*').map(quoted).collect::<Vec<_>>().join("*");
        let options = match self.framework.as_str() {
            "spring-boot" => r#"-Dserver.port="${PORT}" "#,
            "quarkus" => r#"-Dquarkus.http.host=0.0.0.0 -Dquarkus.http.port="${PORT}" "#,
            "micronaut" => r#"-Dmicronaut.server.port="${PORT}" "#,
            _ => "",
        };
        let folder = words::shell(folder);
        words::json(&[
            "sh",
            "-c",
            &format!("exec java -XX:MaxRAMPercentage=75.0 {options}-jar {folder}/{file}"),
        ])
    }

    fn php(&mut self, detection: &Detection) -> Result<(), Error> {
        let said: Vec<&str> = detection.start.iter().flatten().map(String::as_str).collect();
        let apache = matches!(said.as_slice(), [] | ["php", "-S", ..] | ["php", "artisan", "serve", ..])
            || said[0].contains("heroku-php");
        self.cmd = match apache {
            true => words::json(&["apache2-foreground"]),
            false => words::exec_form("start command", &start(detection)?)?,
        };
        let public = matches!(self.framework.as_str(), "laravel" | "symfony").then_some("public");
        let index = detection.entry_point.as_deref();
        let folder = index.and_then(|it| it.rsplit_once('/')).map(|it| it.0);
        let folder = detection.output.as_deref().or(folder).or(if index.is_none() { public } else { None });
        if let Some(folder) = folder.filter(|it| *it != ".") {
            self.folder = path("folder that is served", folder)?;
        }
        Ok(())
    }

    fn dotnet(&mut self, detection: &Detection) -> Result<(), Error> {
        let start = words::shell_line("start command", &start(detection)?)?;
        let line = format!(r#"ASPNETCORE_URLS="http://0.0.0.0:${{PORT}}" exec {start}"#);
        let shell = detection.start.as_ref().is_some_and(|it| it[0] == "sh");
        self.cmd = match shell {
            true => words::exec_form("start command", &self::start(detection)?)?,
            false => words::json(&["sh", "-c", &line]),
        };
        if let Some(project) = detection.entry_point.as_deref() {
            self.entry = Some(words::shell(words::plain("entry point", project)?));
            self.manifest = path("project", project).ok();
        }
        Ok(())
    }
}

fn start(detection: &Detection) -> Result<Vec<String>, Error> {
    detection.start.clone().filter(|it| !it.is_empty()).ok_or_else(|| {
        Error::new(
            Code::EntryPointUnknown,
            "nothing says how the program starts: set the start command in the app's settings, or add a Procfile",
        )
    })
}

/// The port that the command names becomes the variable, so that whoever runs the image may choose another.
fn with_port(argv: Vec<String>, port: u16) -> Vec<String> {
    let port = port.to_string();
    let fixed = |word: &str| {
        let rest = word.strip_suffix(&port)?;
        (rest.is_empty() || rest.ends_with(':')).then(|| format!("{rest}$PORT"))
    };
    argv.into_iter().map(|word| fixed(&word).unwrap_or(word)).collect()
}

/// Files for a browser and nothing that runs.
fn is_site(detection: &Detection, language: Language) -> bool {
    let files = detection.output.is_some() && detection.start.is_none();
    language == Language::Static || (language == Language::Node && files)
}

fn template(language: Language, site: bool) -> &'static str {
    match language {
        _ if site => "site.j2",
        Language::Node | Language::Static => "node.j2",
        Language::Python => "python.j2",
        Language::Go => "go.j2",
        Language::Java => "java.j2",
        Language::Ruby => "ruby.j2",
        Language::Rust => "rust.j2",
        Language::Php => "php.j2",
        Language::Dotnet => "dotnet.j2",
    }
}

fn default_port(language: Language) -> u16 {
    match language {
        Language::Node | Language::Ruby => 3000,
        Language::Python => 8000,
        _ => 8080,
    }
}

/// What a binary, a package or a folder may be called where nothing is quoted.
fn is_name(text: &str) -> bool {
    let body = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
    text.len() <= 128
        && text.bytes().next().is_some_and(|it| it.is_ascii_alphanumeric())
        && text.bytes().all(body)
}

/// A path inside of the repository, as COPY takes it unquoted: it expands variables, wildcards and blanks.
fn path(what: &str, text: &str) -> Result<String, Error> {
    let text = text.trim_end_matches('/');
    let text = text.strip_prefix("./").unwrap_or(text);
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"._-/+@".contains(&it);
    let inside = text.split('/').all(|part| !part.is_empty() && part != "..") && !text.starts_with('-');
    if !inside || text.len() > 1024 || !text.bytes().all(plain) {
        return Err(Error::new(
            Code::EntryPointUnknown,
            format!(
                "the {what} is not a path of letters, digits and ._-+@ inside of the repository: \
                 rename it, or commit a Dockerfile of your own"
            ),
        ));
    }
    Ok(text.to_owned())
}
